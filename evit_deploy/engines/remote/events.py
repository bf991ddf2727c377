# SPDX-License-Identifier: Apache-2.0
"""How long work on a device tells a host about itself: lines in a file, read by whoever follows.

A file outlives a link: who comes back reads it from its beginning.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

from evit_deploy.engines.remote.protocol import Message
from evit_deploy.progress import Progress, Step


class EventWriter:
    """Appends events to a file; it is a progress as well."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a", buffering=1, encoding="utf-8")
        self._steps = 0

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def write(self, event: str, **values: Any) -> None:
        """Append one event."""
        self._file.write(json.dumps({"event": event, **values}) + "\n")

    @contextmanager
    def progress(self, name: str, total: int | None = None) -> Iterator[Step]:
        """One step of the work."""
        self._steps += 1
        number = self._steps
        self.write("step", step=number, name=name, total=total)
        yield _Written(self, number)
        self.write("done", step=number)


class _Written:
    def __init__(self, events: EventWriter, number: int) -> None:
        self._events, self._number = events, number

    def advance(self) -> None:
        """One more of the step's items is done."""
        self._events.write("advance", step=self._number)


class EventReader:
    """Reads the events of a file as they come; one that takes its place is read from its beginning.

    Attributes:
        last: The last event read, or nothing.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._file = path, path.open("rb")
        self._pending = b""
        self.last: Message = {}

    def __enter__(self) -> EventReader:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file."""
        self._file.close()

    def read(self) -> list[Message]:
        """The events since the last call; a line still being written waits for the next one."""
        if not os.path.samestat(os.fstat(self._file.fileno()), self._path.stat()):
            self._file.close()
            self._file, self._pending, self.last = self._path.open("rb"), b"", {}
        *lines, self._pending = (self._pending + self._file.read()).split(b"\n")
        events = [json.loads(line) for line in lines]
        self.last = events[-1] if events else self.last
        return events


class Replay:
    """Shows the events of a device as steps of a progress here."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._open: dict[int, tuple[AbstractContextManager[Step], Step]] = {}

    def __enter__(self) -> Replay:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the steps that have not ended."""
        while self._open:
            _, (context, _step) = self._open.popitem()
            context.__exit__(kind, error, trace)

    def show(self, event: Message) -> None:
        """Show one event."""
        number = event.get("step", 0)
        if event["event"] == "step":
            context = self._progress(event["name"], event["total"]) if event["total"] else self._progress(event["name"])
            self._open[number] = (context, context.__enter__())
        elif event["event"] == "advance" and number in self._open:
            self._open[number][1].advance()
        elif event["event"] == "done" and number in self._open:
            self._open.pop(number)[0].__exit__(None, None, None)
