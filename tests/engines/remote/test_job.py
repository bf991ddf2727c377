# SPDX-License-Identifier: Apache-2.0
"""One build on a device, without a host."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import time
from pathlib import Path

from evit_deploy.engines.remote.job import Job
from tests.devices import wait_until
from tests.manifest.sample import entries


def events(job: Job) -> list[dict[str, object]]:
    return [json.loads(line) for line in job.events.read_text().splitlines()]


def test_one_process_at_a_time(lowered_engine: Path, tmp_path: Path) -> None:
    job = Job(tmp_path / "job")
    assert job.start(lowered_engine, compiler=None, arch="sm80", level=None)
    assert job.running()
    assert not job.start(lowered_engine, compiler=None, arch="sm80", level=None)
    wait_until(lambda: not job.running(), 60)
    assert events(job)[-1] == {"event": "end", "written": True}
    assert [event["event"] for event in events(job)].count("start") == 1
    assert job.start(lowered_engine, compiler=None, arch="sm80", level=None)
    wait_until(lambda: not job.running(), 60)
    assert events(job)[-1] == {"event": "end", "written": False}


def test_what_a_killed_build_left_is_swept(lowered_engine: Path, tmp_path: Path) -> None:
    job = Job(tmp_path / "job")
    (job.folder / ".engine.tmp-abc").mkdir(parents=True)
    assert job.start(tmp_path / "nowhere", compiler=None, arch="sm80", level=None)
    wait_until(lambda: not job.running(), 60)
    assert ".engine.tmp-abc" not in entries(job.folder)
    error = events(job)[-1]["error"]
    assert isinstance(error, dict)
    assert error["kind"] == "UsageError"


def test_a_process_that_does_not_listen_is_killed(tmp_path: Path) -> None:
    job = Job(tmp_path / "job")
    (job.folder / ".engine.tmp-abc").mkdir(parents=True)
    lock = os.open(job.folder / "lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(lock, fcntl.LOCK_EX)
    code = "import signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN); print(flush=True); time.sleep(60)"
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdout=subprocess.PIPE, pass_fds=(lock,), start_new_session=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        os.close(lock)
        assert job.running()
        start = time.monotonic()
        job.cancel(process.pid)
        assert time.monotonic() - start < 12
        assert not job.running()
        assert process.wait() == -9
    assert entries(job.folder) == ["lock"]
