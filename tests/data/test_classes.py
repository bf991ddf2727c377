# SPDX-License-Identifier: Apache-2.0
"""Class lists: complete, in order, with colours where maps are drawn."""

from __future__ import annotations

import pytest

from evit_deploy.data.classes import class_set


@pytest.mark.parametrize(
    ("dataset", "count", "known"),
    [
        ("cityscapes", 19, {0: ("road", (128, 64, 128)), 13: ("car", (0, 0, 142)), 18: ("bicycle", (119, 11, 32))}),
        ("ade20k", 150, {0: ("wall", (120, 120, 120)), 55: ("case", (0, 0, 255)), 149: ("flag", (92, 0, 255))}),
    ],
)
def test_segmentation_classes(dataset, count, known):
    classes = class_set(dataset)
    assert len(classes.names) == count == len(set(classes.names))
    assert classes.colours is not None
    assert classes.colours.shape == (count, 3)
    for index, (name, colour) in known.items():
        assert (classes.names[index], tuple(classes.colours[index])) == (name, colour)


def test_imagenet_names():
    classes = class_set("imagenet")
    assert len(classes.names) == 1000
    assert [classes.names[i] for i in (0, 281, 999)] == ["tench", "tabby", "toilet tissue"]
    assert classes.colours is None
