# SPDX-License-Identifier: Apache-2.0
"""ADE20K's folders and classes."""

from __future__ import annotations

import numpy as np
import pytest

from evit_deploy.data import ade20k
from evit_deploy.data.classes import class_set
from evit_deploy.errors import UsageError


def test_classes_of_labels():
    table = ade20k.CLASS_FROM_LABEL
    assert table[0] == 255
    assert table[1:151].tolist() == list(range(150))
    assert set(table[151:].tolist()) == {255}
    assert len(class_set("ade20k").names) == ade20k.CLASSES
    with pytest.raises(ValueError, match="read-only"):
        table[0] = 0


def test_images_are_listed_with_their_labels(tmp_path):
    for name in ("b.jpg", "a.jpg", "c.txt"):
        path = tmp_path / "images" / "training" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    found = ade20k.list_images(tmp_path, "training")
    assert [files.name for files in found] == ["images/training/a.jpg", "images/training/b.jpg"]
    assert found[0].labels == tmp_path / "annotations" / "training" / "a.png"
    with pytest.raises(UsageError, match="no ADE20K images") as caught:
        ade20k.list_images(tmp_path, "val")
    assert "the splits training" in str(caught.value)


def test_an_empty_folder(tmp_path):
    with pytest.raises(UsageError, match="no ADE20K images"):
        ade20k.list_images(tmp_path)


def test_table_type():
    assert ade20k.CLASS_FROM_LABEL.dtype == np.uint8
