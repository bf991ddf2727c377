# SPDX-License-Identifier: Apache-2.0
"""Recorded frames, whatever they were recorded as: a folder of images, a video, a bag of ROS messages.

All three are counted when they are opened and read as a stream, so that memory holds one frame.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

from evit_deploy.data.images import SUFFIXES, Frame, inspect_image, list_images, read_image
from evit_deploy.errors import UsageError

VIDEOS = (".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v")
BAGS = (".mcap", ".db3", ".bag")


class FrameSource(Protocol):
    """Frames of one recording, in order.

    Attributes:
        words: What it is, for manifests and reports.
        sequence: Whether neighbours show nearly the same: a film, not a collection.
        notes: What a user must know of it.
    """

    words: str
    sequence: bool
    notes: tuple[str, ...]

    def __len__(self) -> int:
        """How many frames there are."""

    def name(self, index: int) -> str:
        """Name of a frame."""

    def read(self, chosen: Sequence[int]) -> Iterator[Frame]:
        """Frames by their numbers, which ascend.

        Raises:
            UsageError: One cannot be read.
        """

    def content(self, chosen: Sequence[int]) -> str:
        """Hash of what these frames are."""


def open_frames(source: str) -> FrameSource:
    """Open a folder of images, one image, a video or a recorded bag.

    Args:
        source: Its path; "PATH#TOPIC" names one camera of a bag.

    Raises:
        UsageError: There is nothing, or nothing that holds frames.
        MissingExtraError: What reads it is not installed.
    """
    path = Path(source)
    bag = Path(source.partition("#")[0])
    if _is_bag(bag):
        from evit_deploy.data.bags import Bag

        return Bag(bag, source.partition("#")[2] or None)
    if path.is_file() and path.suffix.lower() in VIDEOS:
        from evit_deploy.data.video import Video

        return Video(path)
    if path.is_file() and path.suffix.lower() in SUFFIXES:
        return Images(str(path), [path])
    if path.is_dir():
        return Images(str(path), list_images(path))
    raise UsageError(
        f"there are no frames in '{source}'", found="no such file or folder" if not path.exists() else path.suffix,
        expected=f"a folder of images, a video ({', '.join(VIDEOS)}) or a recorded bag ({', '.join(BAGS)})",
    )  # fmt: skip


class Images:
    """Image files.

    Args:
        words: What they are.
        paths: The files.
    """

    sequence = False

    def __init__(self, words: str, paths: Sequence[Path]) -> None:
        self.words, self._paths = words, list(paths)
        self.notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        """How many."""
        return len(self._paths)

    def name(self, index: int) -> str:
        """File name."""
        return self._paths[index].name

    def read(self, chosen: Sequence[int]) -> Iterator[Frame]:
        """Read images, turned as their EXIF tags say."""
        for index in chosen:
            yield Frame(self.name(index), read_image(self._paths[index]))

    def content(self, chosen: Sequence[int]) -> str:
        """Hash of the files' bytes, each looked at on the way: what is no image is found before hours of work.

        Raises:
            UsageError: Files that are no images, by name.
        """
        digest, broken, sizes = hashlib.sha256(), [], Counter[tuple[int, int]]()
        for index in chosen:
            try:
                data = self._paths[index].read_bytes()
                sizes[inspect_image(data)] += 1
                digest.update(hashlib.sha256(data).digest())
            except (OSError, ValueError):
                broken.append(str(self._paths[index]))
        if broken:
            raise UsageError(
                f"{len(broken)} of {len(chosen)} files in {self.words} cannot be read as images",
                found=", ".join(broken[:3]) + (", …" if len(broken) > 3 else ""), fix="take them out of the folder",
            )  # fmt: skip
        if len(sizes) > 1:
            (most, count), *_ = sizes.most_common()
            self.notes = (
                f"frames of {len(sizes)} sizes ({count} of {len(chosen)} are {most[0]}x{most[1]}): each is fitted by "
                "itself, as the engine does it",
            )
        return digest.hexdigest()


def file_identity(path: Path) -> str:
    """Name, size and time of a file or of the files of a folder: recordings are too large to read them twice."""
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    stats = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    return hashlib.sha256(repr(stats).encode()).hexdigest()


def _is_bag(path: Path) -> bool:
    return (path.suffix.lower() in BAGS and path.exists()) or (path / "metadata.yaml").is_file()
