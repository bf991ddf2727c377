# SPDX-License-Identifier: Apache-2.0
"""Recorded frames of every kind: folders, videos, bags."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from evit_deploy.data.frames import open_frames
from evit_deploy.errors import UsageError

SIDE = (48, 64)
COUNT = 12


def picture(index: int) -> np.ndarray:
    """A frame that says its number by its grey, with a red corner."""
    image = np.full((*SIDE, 3), 20 * index, np.uint8)
    image[:16, :16] = (200, 0, 0)
    return image


def number_of(image: np.ndarray) -> int:
    return round(float(image[30:, 30:].mean()) / 20)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "images" / "inner").mkdir(parents=True)
    for index in range(COUNT):
        place = tmp_path / "images" / ("inner" if index % 2 else ".")
        Image.fromarray(picture(index)).save(place / f"{index:02}.png")
    return tmp_path / "images"


@pytest.fixture
def video(tmp_path: Path) -> Path:
    cv2 = pytest.importorskip("cv2")
    path = tmp_path / "drive.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10, (SIDE[1], SIDE[0]))
    for index in range(COUNT):
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


def _message(encoding: str, image: np.ndarray) -> dict:
    import io

    if encoding == "jpeg":
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, "png")
        return {"format": "png", "data": np.frombuffer(buffer.getvalue(), np.uint8)}
    pixels = {
        "rgb8": image, "bgr8": image[:, :, ::-1], "mono8": image[:, :, 1:2],
        "bgra8": np.concatenate([image[:, :, ::-1], np.full((*SIDE, 1), 255, np.uint8)], axis=2), "yuv422": image,
    }[encoding]  # fmt: skip
    padded = np.zeros((SIDE[0], SIDE[1] * pixels.shape[2] + 5), np.uint8)  # rows may be padded
    padded[:, :-5] = pixels.reshape(SIDE[0], -1)
    step = padded.shape[1]
    return {"height": SIDE[0], "width": SIDE[1], "encoding": encoding, "is_bigendian": 0, "step": step,
            "data": padded.ravel()}  # fmt: skip


def test_a_folder_with_its_subfolders(folder: Path) -> None:
    frames = open_frames(str(folder))
    assert len(frames) == COUNT and not frames.sequence
    found = list(frames.read([0, 3, 7]))
    assert [frame.name for frame in found] == [frames.name(index) for index in (0, 3, 7)]
    assert [number_of(frame.image) for frame in found] == [int(frame.name[:2]) for frame in found]


def test_one_image(folder: Path) -> None:
    frames = open_frames(str(folder / "02.png"))
    assert len(frames) == 1 and number_of(next(frames.read([0])).image) == 2


def test_a_video_frame_by_frame(video: Path) -> None:
    frames = open_frames(str(video))
    assert len(frames) == COUNT and frames.sequence
    found = list(frames.read([1, 5, COUNT - 1]))
    assert [number_of(frame.image) for frame in found] == [1, 5, COUNT - 1]
    assert found[0].name == "drive.avi#1"
    corner = found[0].image[4, 4].astype(int)
    assert corner[0] > 150 and corner[1] < 60  # red, not blue


@pytest.mark.parametrize("encoding", ["rgb8", "bgr8", "bgra8", "mono8", "jpeg"])
def test_a_bag_in_every_encoding(tmp_path: Path, encoding: str) -> None:
    frames = open_frames(str(write_bag(tmp_path / "drive", encoding)))
    assert len(frames) == COUNT and frames.sequence and frames.words.endswith("drive#/front")
    found = list(frames.read([2, 9]))
    assert [number_of(frame.image) for frame in found] == [2, 9]
    assert found[0].image.shape == (*SIDE, 3) and found[0].image.dtype == np.uint8
    if encoding != "mono8":
        np.testing.assert_array_equal(found[0].image, picture(2))


def test_a_bag_with_several_cameras_asks_which(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "drive", topics=("/front", "/rear"))
    with pytest.raises(UsageError, match="several cameras") as caught:
        open_frames(str(bag))
    assert "/front, /rear" in str(caught.value)
    assert open_frames(f"{bag}#/rear").name(3) == "/rear#3"
    with pytest.raises(UsageError, match="no images on '/side'"):
        open_frames(f"{bag}#/side")


def test_an_encoding_that_is_not_known(tmp_path: Path) -> None:
    frames = open_frames(str(write_bag(tmp_path / "drive", "yuv422")))
    with pytest.raises(UsageError, match="encoded as 'yuv422'"):
        next(frames.read([0]))


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("nothing", None, "there are no frames in"),
        ("notes.txt", b"words", "there are no frames in"),
        ("film.mp4", b"no film", "cannot be decoded"),
        ("drive.mcap", b"no bag", "cannot be read as a bag"),
        ("drive.db3", b"no bag", "cannot be read as a bag"),
    ],
)
def test_what_holds_no_frames(tmp_path: Path, name: str, content: bytes | None, words: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UsageError, match=words):
        open_frames(str(tmp_path / name))


def test_an_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no image in"):
        open_frames(str(tmp_path))


def test_content_tells_frames_apart(folder: Path, video: Path, tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "drive")
    for source in (folder, video, bag):
        frames = open_frames(str(source))
        assert frames.content([0, 1]) == open_frames(str(source)).content([0, 1]) != frames.content([0, 2])
