# SPDX-License-Identifier: Apache-2.0
"""Recordings made on the spot: videos and bags whose frames say their number."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

SIDE = (48, 64)
COUNT = 12


def picture(index: int) -> np.ndarray:
    """A frame that says its number by its grey, with a red corner."""
    image = np.full((*SIDE, 3), 20 * index, np.uint8)
    image[:16, :16] = (200, 0, 0)
    return image


def number_of(image: np.ndarray) -> int:
    return round(float(image[30:, 30:].mean()) / 20)


def write_video(path: Path, count: int = COUNT) -> Path:
    cv2 = pytest.importorskip("cv2")
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10, (SIDE[1], SIDE[0]))
    for index in range(count):
        writer.write(picture(index)[:, :, ::-1].copy())
    writer.release()
    return path


def write_bag(path: Path, encoding: str = "bgr8", topics: tuple[str, ...] = ("/front",)) -> Path:
    pytest.importorskip("rosbags")
    from rosbags.rosbag2 import StoragePlugin, Writer
    from rosbags.typesys import Stores, get_typestore

    store = get_typestore(Stores.ROS2_HUMBLE)
    kind = "CompressedImage" if encoding == "jpeg" else "Image"
    message_type = store.types[f"sensor_msgs/msg/{kind}"]
    header = store.types["std_msgs/msg/Header"](store.types["builtin_interfaces/msg/Time"](0, 0), "camera")
    with Writer(path, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        connections = [writer.add_connection(topic, message_type.__msgtype__, typestore=store) for topic in topics]
        for index in range(COUNT):
            for connection in connections:
                message = message_type(header, **_message(encoding, picture(index)))
                data = store.serialize_cdr(message, message_type.__msgtype__)
                writer.write(connection, index * 1_000_000, data)
    return path


def write_ros1_bag(path: Path, publishers: int = 1) -> Path:
    """A bag of ROS 1, in which every publisher of a topic is a connection."""
    pytest.importorskip("rosbags")
    from rosbags.rosbag1 import Writer
    from rosbags.typesys import Stores, get_typestore

    store = get_typestore(Stores.ROS1_NOETIC)
    message_type = store.types["sensor_msgs/msg/Image"]
    header = store.types["std_msgs/msg/Header"](0, store.types["builtin_interfaces/msg/Time"](0, 0), "camera")
    with Writer(path) as writer:
        connections = [
            writer.add_connection("/front", message_type.__msgtype__, typestore=store, callerid=f"/camera{index}")
            for index in range(publishers)
        ]
        for index in range(COUNT):
            message = message_type(header, **_message("bgr8", picture(index)))
            data = store.serialize_ros1(message, message_type.__msgtype__)
            writer.write(connections[index % publishers], index * 1_000_000, data)
    return path


def _message(encoding: str, image: np.ndarray) -> dict:
    if encoding == "jpeg":
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, "png")
        return {"format": "png", "data": np.frombuffer(buffer.getvalue(), np.uint8)}
    pixels = {
        "rgb8": image, "bgr8": image[:, :, ::-1], "mono8": image[:, :, 1:2],
        "bgra8": np.concatenate([image[:, :, ::-1], np.full((*SIDE, 1), 255, np.uint8)], axis=2), "yuv422": image,
        "short": image,
    }[encoding]  # fmt: skip
    padded = np.zeros((SIDE[0], SIDE[1] * pixels.shape[2] + 5), np.uint8)  # rows may be padded
    padded[:, :-5] = pixels.reshape(SIDE[0], -1)
    step = padded.shape[1]
    encoding, data = ("rgb8", padded.ravel()[:-9]) if encoding == "short" else (encoding, padded.ravel())
    return {"height": SIDE[0], "width": SIDE[1], "encoding": encoding, "is_bigendian": 0, "step": step,
            "data": data}  # fmt: skip
