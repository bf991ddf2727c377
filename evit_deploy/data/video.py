# SPDX-License-Identifier: Apache-2.0
"""Frames of a video file, decoded by OpenCV."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from evit_deploy.data.frames import file_identity
from evit_deploy.data.images import Frame
from evit_deploy.errors import UsageError, extra


class Video:
    """A video.

    Frames are counted by going through all of them: what the file's header says is often wrong.

    Args:
        path: The file.

    Raises:
        UsageError: It holds no frame that can be decoded.
        MissingExtraError: OpenCV is not installed.
    """

    sequence = True

    def __init__(self, path: Path) -> None:
        self.words, self._path = str(path), path
        self.notes: tuple[str, ...] = ()
        self._count = self._counted()

    def __len__(self) -> int:
        """How many frames can be decoded."""
        return self._count

    def name(self, index: int) -> str:
        """File name and number."""
        return f"{self._path.name}#{index}"

    def read(self, chosen: Sequence[int]) -> Iterator[Frame]:
        """Decode frames; those in between are passed over, which is exact where seeking is not."""
        capture, at = self._open(), 0
        try:
            for index in chosen:
                while at < index and capture.grab():
                    at += 1
                done, image = capture.read()
                at += 1
                if not done:
                    raise UsageError(f"{self._path} breaks off", found=f"{at - 1} frames", expected=f"{self._count}")
                yield Frame(self.name(index), np.ascontiguousarray(image[:, :, ::-1]))
        finally:
            capture.release()

    def content(self, chosen: Sequence[int]) -> str:
        """Identity of the file, and which frames of it."""
        return f"{file_identity(self._path)} {list(chosen)}"

    def _counted(self) -> int:
        capture, count = self._open(), 0
        while capture.grab():
            count += 1
        capture.release()
        if not count:
            raise UsageError(
                f"{self._path} cannot be decoded as a video", found="no frame",
                fix="ffmpeg -i VIDEO -c:v mjpeg video.avi makes one that can be",
            )  # fmt: skip
        return count

    def _open(self) -> Any:
        with extra("images", "Reading a video"):
            import cv2
        return cv2.VideoCapture(str(self._path))
