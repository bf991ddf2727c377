# SPDX-License-Identifier: Apache-2.0
"""Frames by what a source is: folders, images, or something that holds none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from evit_deploy.data.frames import open_frames
from evit_deploy.errors import UsageError
from tests.data.recordings import COUNT, number_of, picture


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "images" / "inner").mkdir(parents=True)
    for index in range(COUNT):
        place = tmp_path / "images" / ("inner" if index % 2 else ".")
        Image.fromarray(picture(index)).save(place / f"{index:02}.png")
    return tmp_path / "images"


def test_a_folder_with_its_subfolders(folder: Path) -> None:
    frames = open_frames(str(folder))
    assert len(frames) == COUNT and not frames.sequence
    found = list(frames.read([0, 3, 7]))
    assert [frame.name for frame in found] == [frames.name(index) for index in (0, 3, 7)]
    assert [number_of(frame.image) for frame in found] == [int(frame.name[:2]) for frame in found]


def test_one_image(folder: Path) -> None:
    frames = open_frames(str(folder / "02.png"))
    assert len(frames) == 1 and number_of(next(frames.read([0])).image) == 2


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("nothing", None, "there are no frames in"),
        ("notes.txt", b"words", "there are no frames in"),
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


def test_content_is_that_of_the_files(folder: Path) -> None:
    frames = open_frames(str(folder))
    before = frames.content([0, 1])
    assert before == open_frames(str(folder)).content([0, 1]) != frames.content([0, 2])
    (folder / "notes.txt").write_text("no frame")
    (folder / "00.png").touch()
    assert open_frames(str(folder)).content([0, 1]) == before
    Image.fromarray(picture(9)).save(folder / "00.png")
    assert open_frames(str(folder)).content([0, 1]) != before


def damaged(folder: Path, kind: str) -> str:
    """Put one bad file into a folder. Returns its name."""
    path = folder / {"text": "text.png", "cut": "cut.jpg", "deep": "depth.png", "link": "gone.png"}[kind]
    if kind == "text":
        path.write_bytes(b"no picture")
    elif kind == "cut":
        Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)).save(path)
        path.write_bytes(path.read_bytes()[:1500])
    elif kind == "deep":
        Image.fromarray(np.zeros((48, 64), np.uint16)).save(path)
    else:
        path.symlink_to(folder / "nowhere.png")
    return path.name


@pytest.mark.parametrize("kind", ["text", "cut", "deep", "link"])
def test_what_cannot_be_read_is_named_at_once(folder: Path, kind: str) -> None:
    name = damaged(folder, kind)
    frames = open_frames(str(folder))
    with pytest.raises(UsageError, match=rf"1 of {COUNT + 1} files in .* cannot be read(?s:.*){name}"):
        frames.content(range(COUNT + 1))
