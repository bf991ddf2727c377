# SPDX-License-Identifier: Apache-2.0
"""ImageNet-1K folders: synsets, and lists of classes."""

from __future__ import annotations

import re

import pytest

from evit_deploy.data import imagenet
from evit_deploy.data.classes import class_set
from evit_deploy.errors import ArtifactError, UsageError


def touch(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_synsets_are_in_the_order_of_the_classes():
    synsets = imagenet.synsets()
    assert len(synsets) == imagenet.CLASSES
    assert list(synsets) == sorted(synsets)
    assert all(re.fullmatch(r"n\d{8}", name) for name in synsets)
    names = class_set("imagenet").names
    known = {"n01440764": "tench", "n02123045": "tabby", "n03710721": "maillot tank suit", "n15075141": "toilet tissue"}
    assert {synset: names[synsets[synset]] for synset in known} == known


def test_folders_of_some_synsets(tmp_path):
    touch(tmp_path, "val/n15075141/x.JPEG", "val/n01440764/b.jpg", "val/n01440764/a.JPEG", "val/n01440764/notes.txt")
    found = [(photo.name, photo.label) for photo in imagenet.list_photos(tmp_path)]
    assert found == [("val/n01440764/a.JPEG", 0), ("val/n01440764/b.jpg", 0), ("val/n15075141/x.JPEG", 999)]


def test_a_folder_that_is_no_synset(tmp_path):
    touch(tmp_path, "val/n01440764/a.JPEG", "val/cats/b.JPEG")
    with pytest.raises(UsageError, match="1 folders") as caught:
        imagenet.list_photos(tmp_path)
    assert "cats" in str(caught.value)


@pytest.mark.parametrize("place", ["val.txt", "val/val.txt"])
@pytest.mark.parametrize("prefix", ["", "val/"])
def test_a_list_of_classes(tmp_path, place, prefix):
    touch(tmp_path, "val/one.JPEG", "val/two words.JPEG")
    (tmp_path / place).write_text(f"{prefix}two words.JPEG 65\n\n{prefix}one.JPEG 970\n")
    found = imagenet.list_photos(tmp_path)
    assert [(photo.path.name, photo.label) for photo in found] == [("two words.JPEG", 65), ("one.JPEG", 970)]
    assert all(photo.path.is_file() for photo in found)


@pytest.mark.parametrize(
    "line",
    [b"one.JPEG", b"one.JPEG x", b"one.JPEG 1000", b"one.JPEG -1", b"65", b"\xff\xfe", b"one.JPEG 1\none.JPEG 2"],
)
def test_a_line_that_is_no_class(tmp_path, line):
    touch(tmp_path, "val/one.JPEG")
    (tmp_path / "val.txt").write_bytes(b"zero.JPEG 0\n" + line + b"\n")
    with pytest.raises(ArtifactError, match=r"line [23] of"):
        imagenet.list_photos(tmp_path)


@pytest.mark.parametrize("made", [(), ("val/",), ("train/n01440764/a.JPEG",)])
def test_no_images(tmp_path, made):
    for name in made:
        (tmp_path / name).mkdir(parents=True)
    with pytest.raises(UsageError, match="no ImageNet images"):
        imagenet.list_photos(tmp_path)
