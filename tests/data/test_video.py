# SPDX-License-Identifier: Apache-2.0
"""Frames of a video: counted, in order, in the right colours."""

from __future__ import annotations

from pathlib import Path

import pytest

from evit_deploy.data.frames import open_frames
from evit_deploy.errors import UsageError
from tests.data.recordings import COUNT, number_of, write_video


@pytest.fixture
def video(tmp_path: Path) -> Path:
    return write_video(tmp_path / "drive.avi")


def test_a_video_frame_by_frame(video: Path) -> None:
    frames = open_frames(str(video))
    assert len(frames) == COUNT and frames.sequence
    found = list(frames.read([1, 5, COUNT - 1]))
    assert [number_of(frame.image) for frame in found] == [1, 5, COUNT - 1]
    assert found[0].name == "drive.avi#1"
    corner = found[0].image[4, 4].astype(int)
    assert corner[0] > 150 and corner[1] < 60  # red, not blue


def test_a_film_that_was_cut_has_the_frames_that_are_left(video: Path) -> None:
    """What its header says of their number is not believed."""
    content = video.read_bytes()
    video.write_bytes(content[: 2 * len(content) // 3])
    frames = open_frames(str(video))
    assert 0 < len(frames) < COUNT
    assert len(list(frames.read(range(len(frames))))) == len(frames)


def test_a_film_that_shrinks_meanwhile(video: Path) -> None:
    frames = open_frames(str(video))
    write_video(video, 4)
    with pytest.raises(UsageError, match=r"breaks off(?s:.*)4 frames(?s:.*)12"):
        list(frames.read([2, 7]))


def test_no_film(tmp_path: Path) -> None:
    (tmp_path / "film.mp4").write_bytes(b"no film")
    with pytest.raises(UsageError, match="cannot be decoded"):
        open_frames(str(tmp_path / "film.mp4"))


def test_content_tells_films_and_frames_apart(video: Path, tmp_path: Path) -> None:
    frames = open_frames(str(video))
    assert frames.content([0, 1]) == open_frames(str(video)).content([0, 1]) != frames.content([0, 2])
    assert open_frames(str(write_video(tmp_path / "other.avi"))).content([0, 1]) != frames.content([0, 1])
