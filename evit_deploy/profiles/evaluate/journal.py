# SPDX-License-Identifier: Apache-2.0
"""What an evaluation has found so far, on disk, so that an interrupted one goes on where it stopped.

A journal is a text file of JSON lines: what is evaluated, then one line per item, with the state its files were in.
Lines are only ever added, a few seconds' worth at a time. What a crash or a full disk leaves behind is a beginning of
the file, so a reader takes the lines up to the first that is not whole, and the items after it are evaluated again.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO

from evit_deploy.errors import UsageError
from evit_deploy.manifest import content_key
from evit_deploy.profiles.evaluate.listing import Stamp, stamp
from evit_deploy.profiles.evaluate.task import Item, Outcome
from evit_deploy.profiles.files import plain

if TYPE_CHECKING:
    from typing_extensions import Self

INTERVAL_S = 2.0
_SUFFIX = ".journal"


class Journal:
    """The outcomes of one evaluation. Open it with ``with``; leaving writes what is still in memory."""

    def __init__(self, path: Path, identity: Mapping[str, Any]) -> None:
        """Read a journal, or begin one.

        Args:
            path: The file; made if missing, begun anew if it is of something else.
            identity: What is evaluated: everything that all outcomes depend on, as JSON values.

        Raises:
            UsageError: The file cannot be read or written.
        """
        self.path = path
        self._lines: dict[str, tuple[Stamp, int]] = {}  # of each item: its files' state, and where its line begins
        self._seen: dict[str, Stamp] = {}
        self._head = _line({"journal": 1, **identity})
        self._waiting: list[bytes] = []
        self._written = time.monotonic()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file: BinaryIO = path.open("a+b")
            self._end = self._read()
            self._file.truncate(self._end)
        except OSError as error:
            raise _unwritable(path, error) from error
        if self._end == 0:
            self._append(self._head)

    def __len__(self) -> int:
        return len(self._lines)

    def knows(self, item: Item) -> bool:
        """Whether it holds an outcome of the item, of the files as they are now."""
        seen = self._seen[item.name] = stamp(item)
        kept, _ = self._lines.get(item.name, (None, 0))
        return kept is not None and kept == seen

    def add(self, item: Item, outcome: Outcome) -> None:
        """Keep an outcome; on disk within `INTERVAL_S`, if more are added meanwhile.

        It is of the files as `knows` last saw them: one that changes while it is read is read again next time.

        Raises:
            UsageError: The disk is full, or gone.
        """
        seen = self._seen.get(item.name) or stamp(item)
        self._lines[item.name] = seen, self._end
        self._append(_line({"item": item.name, "files": seen, "outcome": outcome}))
        if time.monotonic() - self._written >= INTERVAL_S:
            self.write()

    def write(self) -> None:
        """Bring everything to disk.

        Raises:
            UsageError: The disk is full, or gone.
        """
        content, self._waiting = b"".join(self._waiting), []
        try:
            self._file.write(content)
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise _unwritable(self.path, error) from error
        self._written = time.monotonic()

    def outcomes(self, items: Iterable[Item]) -> Iterator[tuple[str, Outcome]]:
        """The outcomes of those items that it knows, with their names, read from disk one at a time."""
        self.write()
        with self.path.open("rb") as file:
            for item in items:
                if self.knows(item):
                    file.seek(self._lines[item.name][1])
                    yield item.name, json.loads(file.readline())["outcome"]

    def remove(self) -> None:
        """Delete the file, when what it held is in a record."""
        self._waiting.clear()
        self._file.close()
        self.path.unlink(missing_ok=True)

    def _append(self, line: bytes) -> None:
        self._waiting.append(line)
        self._end += len(line)

    def _read(self) -> int:
        """Take in what the file holds; the number of bytes that are whole and of this evaluation."""
        self._file.seek(0)
        if self._file.readline() != self._head:
            return 0
        end = len(self._head)
        for line in self._file:
            entry = _entry(line)
            if entry is None:
                break
            self._lines[entry[0]] = entry[1], end
            end += len(line)
        return end

    def __enter__(self) -> Self:
        """Return the journal itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Write what is left, and close the file; one that holds nothing is deleted."""
        if self._file.closed:
            return
        if not self._lines:
            self.remove()
            return
        try:
            self.write()
        finally:
            with suppress(OSError):  # of what a full disk did not take, which was said already
                self._file.close()


def journal_path(folder: Path, kind: str, identity: Mapping[str, Any]) -> Path:
    """Where the journal of an evaluation is kept: each identity has a file of its own, so that none is lost."""
    return folder / f".evaluation.{kind}.{content_key(**identity)[:12]}{_SUFFIX}"


def other_journals(path: Path) -> list[Path]:
    """Journals of interrupted evaluations of the same kind with another identity."""
    kind = path.name.removesuffix(_SUFFIX).rpartition(".")[0]
    return sorted(other for other in path.parent.glob(f"{kind}.*{_SUFFIX}") if other != path)


def _line(value: Any) -> bytes:
    return json.dumps(plain(value), ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode() + b"\n"


def _entry(line: bytes) -> tuple[str, Stamp] | None:
    """The item that a line is about, and its files' state; None of a line that is not whole."""
    if not line.endswith(b"\n"):
        return None
    try:
        entry = json.loads(line)
        return (str(entry["item"]), entry["files"]) if isinstance(entry["outcome"], dict) else None
    except (ValueError, KeyError, TypeError):
        return None


def _unwritable(path: Path, error: OSError) -> UsageError:
    return UsageError(
        f"cannot write {path}",
        found=error.strerror,
        expected="a writable folder with enough free space",
        fix="free some space, or choose another place with --workspace DIR; then run the command again: it goes on",
    )
