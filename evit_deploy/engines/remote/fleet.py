# SPDX-License-Identifier: Apache-2.0
"""Several devices at once: each builds for itself, and one that fails does not stop the others."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evit_deploy.engines.remote.build import build_bundle_remote, build_remote
from evit_deploy.engines.remote.ssh import Cancelled
from evit_deploy.errors import EvitError
from evit_deploy.manifest import Bundle, Manifest, is_bundle
from evit_deploy.progress import Progress, named, silent

_TICK = 0.1  # s


@dataclass(frozen=True)
class Outcome:
    """How a build on one device ended.

    Attributes:
        host: The device, as the user named it.
        folder: Where its engine is.
        manifest: Of the engine; None after an error.
        written: False if the folder held exactly this engine.
        error: What went wrong, or None.
    """

    host: str
    folder: Path
    manifest: Manifest | Bundle | None = None
    written: bool = False
    error: EvitError | None = None


def build_on_all(
    lowered: Path, folders: Mapping[str, Path], *, progress: Progress = silent, **options: Any
) -> list[Outcome]:
    """Compile a lowered engine on several devices at once.

    Args:
        lowered: Folder of an engine for a GPU, of one part or several, lowered or compiled.
        folders: Where to write, for each host.
        progress: Told about every step of every device, the host's name in front; called from several threads.
        options: Of `build_remote`.

    Returns:
        How it ended on every device, in the order of `folders`.

    Raises:
        KeyboardInterrupt: Ctrl-C; the builds on all devices were ended.
        Exception: A fault of this program, once the others have ended.
    """
    cancelled = Cancelled()
    tasks = [
        _Task(lowered, host, folder, named(progress, host), {**options, "cancelled": cancelled})
        for host, folder in folders.items()
    ]
    try:
        for task in tasks:
            task.start()
        while any(task.is_alive() for task in tasks):
            for task in tasks:
                task.join(_TICK)
    except KeyboardInterrupt:
        cancelled.set()
        for task in filter(_Task.is_alive, tasks):
            task.join()
        raise
    for task in tasks:
        if task.fault is not None:
            raise task.fault
    return [task.outcome for task in tasks]


class _Task(threading.Thread):
    """The build on one device."""

    def __init__(self, lowered: Path, host: str, folder: Path, progress: Progress, options: dict[str, Any]) -> None:
        super().__init__(name=f"build on {host}", daemon=True)
        self._lowered, self._progress, self._options = lowered, progress, options
        self.outcome = Outcome(host, folder)
        self.fault: BaseException | None = None

    def run(self) -> None:
        host, folder = self.outcome.host, self.outcome.folder
        try:
            build = build_bundle_remote if is_bundle(self._lowered) else build_remote
            manifest, written = build(self._lowered, folder, host, progress=self._progress, **self._options)
            self.outcome = Outcome(host, folder, manifest, written)
        except EvitError as error:
            self.outcome = Outcome(host, folder, error=error)
        except BaseException as fault:  # raised again by who waits
            self.fault = fault
