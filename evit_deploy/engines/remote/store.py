# SPDX-License-Identifier: Apache-2.0
"""Files by their SHA-256, received in pieces: what is there is never sent again, what broke off goes on.

A piece is written at its own place, and equal names mean equal bytes. So a sender whose link is dead and one that took
over cannot harm each other, and nothing needs a lock.
"""

from __future__ import annotations

import os
import re
import time
from pathlib import Path
from types import TracebackType

from evit_deploy.errors import ArtifactError
from evit_deploy.manifest.store import sha256_of
from evit_deploy.targets import machine

_PART = ".part"
_KEPT = 30 * 86400  # s


def cache_folder() -> Path:
    """Where this machine keeps what remote builds need."""
    return machine.cache_folder() / "remote"


class Store:
    """A folder of such files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, sha256: str) -> Path:
        """Where the file of a hash is, or will be.

        Raises:
            ArtifactError: Not a hash.
        """
        if not re.fullmatch(r"[0-9a-f]{64}", sha256):
            raise ArtifactError(f"'{sha256}' is no SHA-256")
        return self.folder / sha256

    def find(self, sha256: str) -> Path | None:
        """The file of a hash, if it is here and still whole; a damaged one is removed."""
        path = self.path(sha256)
        if not path.is_file():
            return None
        if sha256_of(path) != sha256:
            path.unlink(missing_ok=True)
            return None
        os.utime(path)
        return path

    def receive(self, sha256: str, size: int) -> Incoming:
        """Go on with a file where it broke off, or begin."""
        return Incoming(self.path(sha256), sha256, size)

    def sweep(self) -> None:
        """Remove what nobody asked for in a long time."""
        for path in old_entries(self.folder):
            path.unlink(missing_ok=True)


def old_entries(folder: Path) -> list[Path]:
    """What is in a folder and was not used for a month."""
    limit = time.time() - _KEPT
    return [path for path in folder.iterdir() if path.stat().st_mtime < limit] if folder.is_dir() else []


class Incoming:
    """A file on its way in.

    Attributes:
        offset: How many bytes are here.
    """

    def __init__(self, path: Path, sha256: str, size: int) -> None:
        self._path, self._part = path, path.with_name(path.name + _PART)
        self._sha256, self._size = sha256, size
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(self._part, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self.offset = os.fstat(self._file).st_size
        if self.offset > size:
            self.restart()

    def __enter__(self) -> Incoming:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file; what is here stays for the next time."""
        empty = not os.fstat(self._file).st_size
        os.close(self._file)
        if empty:
            self._part.unlink(missing_ok=True)

    @property
    def whole(self) -> bool:
        """Whether all bytes are here."""
        return self.offset >= self._size

    def write(self, data: bytes) -> None:
        """Add the next bytes."""
        rest = memoryview(data)[: self._size - self.offset]
        while rest:
            count = os.pwrite(self._file, rest, self.offset)
            self.offset, rest = self.offset + count, rest[count:]

    def restart(self) -> None:
        """Forget what is here."""
        os.ftruncate(self._file, 0)
        self.offset = 0

    def finish(self) -> Path:
        """Put the whole file in its place.

        Raises:
            ArtifactError: It is not the file of that hash; what is here is forgotten.
        """
        found = sha256_of(self._part) if self._part.exists() else ""
        if found != self._sha256 and not self._path.is_file():
            self.restart()
            raise ArtifactError(
                "a file arrived damaged",
                found=f"SHA-256 {found[:16]}…",
                expected=f"SHA-256 {self._sha256[:16]}…",
                fix="run the same command again: it is sent anew",
            )
        if found == self._sha256:
            os.fsync(self._file)  # after a power cut, a name must not stand for a file of zeros
            try:
                self._part.replace(self._path)
            except FileNotFoundError:
                if not self._path.is_file():  # else another sender of the same file was faster
                    raise
        return self._path
