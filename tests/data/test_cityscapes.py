# SPDX-License-Identifier: Apache-2.0
"""Cityscapes tables, and scenes written and read in its format."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from evit_deploy.data import cityscapes
from evit_deploy.data.scenes import render_scene
from evit_deploy.errors import ArtifactError, MissingExtraError, UsageError

PIL = pytest.importorskip("PIL.Image")
SIZE = (48, 96)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    cityscapes.write_dataset(tmp_path, "val", [5, 1_000_003], *SIZE)
    return tmp_path


def test_tables() -> None:
    assert len(cityscapes.CLASSES) == len(set(cityscapes.CLASSES)) == 19
    assert cityscapes.PALETTE.shape == (19, 3)
    assert cityscapes.PALETTE[13].tolist() == [0, 0, 142]
    assert len({tuple(colour) for colour in cityscapes.PALETTE.tolist()}) == 19


def test_label_ids_map_back_and_forth() -> None:
    there, back = cityscapes.LABEL_ID_FROM_TRAIN_ID, cityscapes.TRAIN_ID_FROM_LABEL_ID
    assert back[there[:19]].tolist() == list(range(19))
    assert int(np.sum(back != 255)) == 19
    assert back[there[255]] == 255
    known = {7: 0, 8: 1, 11: 2, 17: 5, 24: 11, 26: 13, 31: 16, 33: 18, 0: 255, 9: 255, 29: 255}
    assert {label: int(back[label]) for label in known} == known


def test_tables_cannot_be_changed_by_accident() -> None:
    with pytest.raises(ValueError, match="read-only"):
        cityscapes.PALETTE[0] = 0
    with pytest.raises(ValueError, match="read-only"):
        cityscapes.TRAIN_ID_FROM_LABEL_ID[0] = 0


def test_files_have_the_names_of_the_data_set(root: Path) -> None:
    files = sorted(path.relative_to(root).as_posix() for path in root.rglob("*.png"))
    stem = "procedural/procedural_000000_000005"
    assert f"leftImg8bit/val/{stem}_leftImg8bit.png" in files
    assert f"gtFine/val/{stem}_gtFine_labelIds.png" in files
    assert f"gtFine/val/{stem}_gtFine_labelTrainIds.png" in files
    assert len(files) == 6


def test_reading_gives_what_was_rendered(root: Path) -> None:
    read = list(cityscapes.read_dataset(root, "val"))
    assert len(read) == 2
    for (path, labels), seed in zip(read, [5, 1_000_003], strict=True):
        scene = render_scene(seed, *SIZE)
        assert labels.dtype == np.uint8
        assert np.array_equal(labels, scene.labels)
        assert np.array_equal(np.asarray(PIL.open(path)), scene.image)
        train_ids = cityscapes._label_path(path, "labelTrainIds")
        assert np.array_equal(np.asarray(PIL.open(train_ids)), scene.labels)


def test_cities_and_splits_stay_apart(root: Path) -> None:
    written = cityscapes.write_dataset(root, "train", [1], *SIZE, city="model-town", train_ids=False)
    assert written == [root / "leftImg8bit/train/model-town/model-town_000000_000001_leftImg8bit.png"]
    assert [path for path, _ in cityscapes.read_dataset(root, "train")] == written
    assert len(list(cityscapes.read_dataset(root, "val"))) == 2
    assert not list(root.rglob("model-town*TrainIds.png"))


def test_missing_split(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no Cityscapes images") as caught:
        cityscapes.read_dataset(tmp_path, "val")
    assert "leftImg8bit" in str(caught.value.expected)


def test_missing_and_damaged_labels(root: Path) -> None:
    first, second = sorted(root.glob("gtFine/val/*/*_labelIds.png"))
    first.unlink()
    with pytest.raises(ArtifactError, match="no labels"):
        list(cityscapes.read_dataset(root, "val"))
    PIL.fromarray(np.zeros((4, 4, 3), np.uint8)).save(first)
    with pytest.raises(ArtifactError, match="label ids"):
        list(cityscapes.read_dataset(root, "val"))
    first.write_bytes(second.read_bytes()[:30])
    with pytest.raises(ArtifactError, match="cannot be read"):
        list(cityscapes.read_dataset(root, "val"))


@pytest.mark.parametrize("name", ["", "a_b", "../up", "a/b"])
def test_names_that_break_the_format(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="city"):
        cityscapes.write_dataset(tmp_path, "val", [0], *SIZE, city=name)
    with pytest.raises(UsageError, match="split"):
        cityscapes.write_dataset(tmp_path, name, [0], *SIZE)
    assert not list(tmp_path.iterdir())


def test_colours() -> None:
    coloured = cityscapes.colourise(np.array([[0, 18, 255]], np.uint8))
    assert coloured.tolist() == [[[128, 64, 128], [119, 11, 32], [0, 0, 0]]]


def test_without_pillow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    with pytest.raises(MissingExtraError, match="pillow") as caught:
        cityscapes.write_dataset(tmp_path, "val", [0], *SIZE)
    assert "evit-deploy[images]" in str(caught.value)


def test_import_needs_only_numpy() -> None:
    code = "import sys, evit_deploy.data.cityscapes; print(sorted({'cv2', 'PIL', 'torch'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
