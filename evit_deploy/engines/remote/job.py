# SPDX-License-Identifier: Apache-2.0
"""One build on a device: a process of its own, so that neither a lost link nor a killed agent ends it.

A job is a folder: ``lock`` is held while it is under way, ``events`` says how far it is, ``log`` is what libraries
print, ``engine`` the result. The process that started it may be long gone; any other one can follow it.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from evit_deploy.engines.remote.events import EventWriter
from evit_deploy.manifest.store import replace_file

ENGINE, PROFILE = "engine", "profile.json"
_GRACE = 3.0  # s between asking a build to end and ending it: libraries may not listen
_TRIES, _PAUSE = 25, 0.02


class Job:
    """The folder of a build, seen by those who start, follow or cancel it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.engine = folder / ENGINE
        self.events = folder / "events"
        self.log = folder / "log"

    def start(self, source: Path, **options: Any) -> bool:
        """Start the build unless it is under way; return whether it was started.

        Args:
            source: The lowered engine.
            options: Of `compile_engine`.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = self._lock(_TRIES)
        if lock is None:
            return False
        try:
            self.sweep()
            replace_file(self.events, b"")
            replace_file(self.folder / "job.json", json.dumps({"source": str(source), **options}).encode())
            with self.log.open("wb") as log:
                worker = subprocess.Popen(
                    [sys.executable, "-m", "evit_deploy.engines.remote.worker", str(self.folder)],
                    stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder,
                    pass_fds=(lock,), start_new_session=True,
                )  # fmt: skip
            events = EventWriter(self.events)
            events.write("start", pid=worker.pid)
            events.close()
        finally:
            os.close(lock)  # the worker holds it on
        return True

    def running(self) -> bool:
        """Whether its process lives."""
        lock = self._lock(1)
        if lock is not None:
            os.close(lock)
        return lock is None

    def cancel(self, pid: int) -> None:
        """End the process of the build, and what it left half-written.

        Args:
            pid: From the event "start"; while the lock is held it is the build's.
        """
        for number, patience in ((signal.SIGINT, _GRACE), (signal.SIGKILL, 10.0)):
            deadline = time.monotonic() + patience
            if self.running():
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(pid, number)
            while self.running() and time.monotonic() < deadline:
                time.sleep(_PAUSE)
        self.sweep()

    def sweep(self) -> None:
        """Remove what a killed build left half-written."""
        for path in self.folder.glob(f".{ENGINE}.tmp-*"):
            shutil.rmtree(path, ignore_errors=True)

    def last_words(self) -> str:
        """The last line that libraries printed."""
        lines = self.log.read_text(errors="replace").strip().splitlines() if self.log.exists() else []
        return lines[-1].strip() if lines else ""

    def _lock(self, tries: int) -> int | None:
        """Take the lock, or None; the file descriptor holds it, and so do its copies in other processes."""
        handle = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        for left in reversed(range(tries)):
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return handle
            except BlockingIOError:
                time.sleep(_PAUSE if left else 0)  # another one may just be looking
        os.close(handle)
        return None
