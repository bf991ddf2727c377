# SPDX-License-Identifier: Apache-2.0
"""What folders hold; what cannot be read is said."""

from __future__ import annotations

from pathlib import Path

import pytest

from evit_deploy.data import ade20k, cityscapes, imagenet
from evit_deploy.data.folders import files_of, folders_of
from evit_deploy.errors import UsageError


def test_files_and_folders(tmp_path: Path) -> None:
    for name in ("b.JPG", "a.jpg", "notes.txt"):
        (tmp_path / name).touch()
    (tmp_path / "folder.jpg").mkdir()
    assert [path.name for path in files_of(tmp_path, ".jpg")] == ["a.jpg", "b.JPG"]
    assert [path.name for path in folders_of(tmp_path)] == ["folder.jpg"]


def test_nothing_where_there_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for folder in (tmp_path / "none", tmp_path / "file"):
        assert files_of(folder, "") == folders_of(folder) == []


@pytest.mark.parametrize(
    ("place", "list_it"),
    [
        ("leftImg8bit/val", cityscapes.list_images), ("images/validation", ade20k.list_images),
        ("val", imagenet.list_photos),
    ],
)  # fmt: skip
def test_a_folder_that_cannot_be_read_is_not_an_empty_one(place: str, list_it, tmp_path: Path) -> None:
    """A link to itself: even root, whom no right is denied, cannot read it."""
    folder = tmp_path / place
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.symlink_to(folder)
    with pytest.raises(UsageError, match=r"cannot be read(?s:.*)symbolic links"):
        list_it(tmp_path)


def test_a_city_that_cannot_be_read_ends_the_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cityscapes.write_dataset(tmp_path, "val", [1], 64, 128, city="open", train_ids=False)
    cityscapes.write_dataset(tmp_path, "val", [2], 64, 128, city="shut", train_ids=False)
    assert len(cityscapes.list_images(tmp_path)) == 2
    import os

    scan = os.scandir

    def denied(path):
        if Path(path).name == "shut":
            raise PermissionError(13, "Permission denied")
        return scan(path)

    monkeypatch.setattr(os, "scandir", denied)
    with pytest.raises(UsageError, match=r"shut cannot be read(?s:.*)Permission denied"):
        cityscapes.list_images(tmp_path)


def test_a_list_of_classes_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "val").mkdir()
    (tmp_path / "val.txt").touch()

    def denied(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_text", denied)
    with pytest.raises(UsageError, match=r"val.txt cannot be read(?s:.*)Permission denied"):
        imagenet.list_photos(tmp_path)
