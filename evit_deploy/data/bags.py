# SPDX-License-Identifier: Apache-2.0
"""Frames of a camera in a recorded bag: ROS 1 (.bag), ROS 2 (.db3, .mcap, or their folder), without ROS installed.

Messages: sensor_msgs/Image in RGB, BGR, with or without alpha, or grey, and sensor_msgs/CompressedImage.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from evit_deploy.data.frames import file_identity
from evit_deploy.data.images import Frame, decode_image
from evit_deploy.errors import EvitError, UsageError, extra, first_line

MOST_PIXELS = 100_000_000

_RAW, _COMPRESSED = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"
_CHANNELS = {
    "rgb8": (3, [0, 1, 2]), "bgr8": (3, [2, 1, 0]), "rgba8": (4, [0, 1, 2]), "bgra8": (4, [2, 1, 0]),
    "mono8": (1, [0, 0, 0]), "8UC1": (1, [0, 0, 0]), "8UC3": (3, [2, 1, 0]),
}  # fmt: skip
"""Channels of a pixel and which of them are red, green and blue; OpenCV's own names mean BGR."""


class Bag:
    """One camera of a bag.

    Args:
        path: The bag.
        topic: The camera's topic; None where there is one camera only.

    Raises:
        UsageError: The bag cannot be read, or has no such camera, or several.
        MissingExtraError: rosbags is not installed.
    """

    sequence = True

    def __init__(self, path: Path, topic: str | None = None) -> None:
        self._path = path
        self.notes: tuple[str, ...] = ()
        counts = Counter[str]()
        with self._open() as reader:
            for one in _images(reader):  # several publishers of a topic are several connections
                counts[one.topic] += one.msgcount
        self._topic = _camera(path, topic, counts)
        self.words, self._count = f"{path}#{self._topic}", counts[self._topic]

    def __len__(self) -> int:
        """How many messages the topic has."""
        return self._count

    def name(self, index: int) -> str:
        """Topic and number."""
        return f"{self._topic}#{index}"

    def read(self, chosen: Sequence[int]) -> Iterator[Frame]:
        """Read frames."""
        wanted = list(reversed(chosen))
        with self._open() as reader:
            messages = reader.messages([one for one in _images(reader) if one.topic == self._topic])
            for index in range(self._count):
                if not wanted:
                    return
                with self._damage(index):
                    connection, _, data = next(messages)
                    if index != wanted[-1]:
                        continue
                    message = reader.deserialize(data, connection.msgtype)
                    image = _pixels(message, connection.msgtype, self.name(index))
                wanted.pop()
                yield Frame(self.name(index), image)

    def content(self, chosen: Sequence[int]) -> str:
        """Identity of the bag, the topic, and which frames of it."""
        return f"{file_identity(self._path)} {self._topic} {list(chosen)}"

    @contextmanager
    def _damage(self, index: int) -> Iterator[None]:
        """Say where a bag is damaged, or breaks off."""
        try:
            yield
        except EvitError:
            raise
        except Exception as error:  # rosbags and numpy have many kinds
            found = f"only {index} messages" if isinstance(error, StopIteration) else first_line(error)
            raise UsageError(
                f"the frame {self.name(index)} of {self._path} cannot be read", found=found,
                expected=f"{self._count} messages, as the bag says", fix="ros2 bag reindex, or leave the bag out",
            ) from error  # fmt: skip

    def _open(self) -> Any:
        with extra("bag", "Reading a recorded bag"):
            from rosbags.highlevel import AnyReader
            from rosbags.typesys import Stores, get_typestore
        try:
            reader = AnyReader([self._path], default_typestore=get_typestore(Stores.ROS2_HUMBLE))
            reader.open()
        except Exception as error:  # rosbags has many kinds
            raise UsageError(f"{self._path} cannot be read as a bag", found=first_line(error)) from error
        return closing(reader)


def _images(reader: Any) -> list[Any]:
    """Connections that carry images."""
    return [one for one in reader.connections if one.msgtype in (_RAW, _COMPRESSED)]


def _camera(path: Path, topic: str | None, counts: Mapping[str, int]) -> str:
    names = ", ".join(sorted(counts)) or "none"
    if topic is None and len(counts) > 1:
        raise UsageError(
            f"{path} has several cameras", found=names, expected="one of them", fix=f"{path}#{sorted(counts)[0]}"
        )
    chosen = topic or next(iter(counts), None)
    if chosen is None or not counts.get(chosen):
        raise UsageError(
            f"{path} has no images" + (f" on '{topic}'" if topic else ""), found=f"topics with images: {names}",
            expected=f"messages of {_RAW} or {_COMPRESSED}",
        )  # fmt: skip
    return chosen


def _pixels(message: Any, kind: str, name: str) -> npt.NDArray[np.uint8]:
    """RGB pixels of a message."""
    if kind == _COMPRESSED:
        return decode_image(bytes(message.data), name, MOST_PIXELS)
    if message.encoding not in _CHANNELS:
        raise UsageError(
            f"the frame {name} is encoded as '{message.encoding}'", expected=f"one of {', '.join(_CHANNELS)}",
            fix="record sensor_msgs/CompressedImage, or convert the topic",
        )  # fmt: skip
    channels, order = _CHANNELS[message.encoding]
    rows = np.frombuffer(message.data, np.uint8).reshape(message.height, message.step)
    pixels = rows[:, : message.width * channels].reshape(message.height, message.width, channels)
    return np.ascontiguousarray(pixels[:, :, order])
