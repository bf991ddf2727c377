# SPDX-License-Identifier: Apache-2.0
"""Frames of recorded bags, written by rosbags itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from evit_deploy.data import bags
from evit_deploy.data.frames import open_frames
from evit_deploy.errors import UsageError
from tests.data.recordings import COUNT, SIDE, number_of, picture, write_bag, write_ros1_bag


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


@pytest.mark.parametrize("publishers", [1, 2])
def test_ros_1_with_several_publishers_of_one_topic(tmp_path: Path, publishers: int) -> None:
    frames = open_frames(str(write_ros1_bag(tmp_path / "drive.bag", publishers)))
    assert len(frames) == COUNT
    assert [number_of(frame.image) for frame in frames.read([0, 5, COUNT - 1])] == [0, 5, COUNT - 1]


def test_a_bag_that_is_one_file(tmp_path: Path) -> None:
    (file,) = write_bag(tmp_path / "drive").glob("*.mcap")
    assert number_of(next(open_frames(str(file)).read([5])).image) == 5


@pytest.mark.parametrize("name", ["drive.mcap", "drive.db3", "drive.bag"])
def test_no_bag(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"no bag")
    with pytest.raises(UsageError, match="cannot be read as a bag"):
        open_frames(str(tmp_path / name))


def test_pixels_that_are_missing(tmp_path: Path) -> None:
    frames = open_frames(str(write_bag(tmp_path / "drive", "short")))
    with pytest.raises(UsageError, match=r"frame /front#2 of .* cannot be read"):
        next(frames.read([2]))


def test_a_bag_with_fewer_messages_than_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = bags._images
    monkeypatch.setattr(
        bags, "_images", lambda reader: [one._replace(msgcount=one.msgcount + 5) for one in found(reader)]
    )
    frames = open_frames(str(write_bag(tmp_path / "drive")))
    assert len(frames) == COUNT + 5
    with pytest.raises(UsageError, match=r"cannot be read(?s:.*)only 12 messages"):
        list(frames.read([0, COUNT + 1]))


def test_content_tells_topics_and_frames_apart(tmp_path: Path) -> None:
    path = write_bag(tmp_path / "drive", topics=("/front", "/rear"))
    front, rear = open_frames(f"{path}#/front"), open_frames(f"{path}#/rear")
    assert front.content([0, 1]) == open_frames(f"{path}#/front").content([0, 1]) != front.content([0, 2])
    assert front.content([0, 1]) != rear.content([0, 1])
