# SPDX-License-Identifier: Apache-2.0
"""COCO's files as they are, and as they must not be."""

from __future__ import annotations

import json

import numpy as np
import pytest

from evit_deploy.data.coco_dataset import Detection, outline, read_dataset, read_detections
from evit_deploy.errors import ArtifactError, UsageError
from tests.profiles.evaluate.coco_folder import HOLE, OBJECTS, annotations, write_coco, write_detections


@pytest.fixture
def root(tmp_path):
    return write_coco(tmp_path / "coco")


def test_pictures_objects_and_categories(root):
    found = read_dataset(root)
    assert [(one.id, one.height, one.width) for one in found.pictures] == [(9, 60, 90), (25, 200, 130), (30, 40, 40)]
    assert all(one.path == root / "val2017" / one.name for one in found.pictures)
    assert [one.box for one in found.objects[9]] == [(10, 5, 30, 35), (40, 10, 80, 50), (1, 1, 1.5, 1.5)]
    assert 30 not in found.objects
    assert found.categories[7] == "train"


@pytest.mark.parametrize("index", [3, 4])
def test_run_lengths_of_both_kinds(index):
    assert np.array_equal(outline(OBJECTS[index]["segmentation"], 200, 130).decode(), HOLE)


def test_polygons_are_filled_and_united():
    mask = np.zeros((60, 90), bool)
    mask[10:30, 40:80] = mask[30:50, 40:60] = True
    assert np.array_equal(outline(OBJECTS[1]["segmentation"], 60, 90).decode(), mask)


@pytest.mark.parametrize(
    "segmentation",
    [[], [[]], [[1, 2, 3, 4]], [[1, 2, 3, 4, 5, 6, 7]], [[1, 2, "3", 4, 5, 6]], ["x"], None, 3, {"size": [4, 4]},
     {"size": [4, 4], "counts": [3]}, {"size": [4, 4], "counts": "~~"}, {"size": [3, 4], "counts": [12]},
     [[1, 2, 3, 4, 5, float("nan")]]],
)  # fmt: skip
def test_a_damaged_outline(segmentation):
    with pytest.raises(ArtifactError, match="outline of an object"):
        outline(segmentation, 4, 4)


def test_there_is_no_such_split(root):
    with pytest.raises(UsageError, match="the splits val2017"):
        read_dataset(root, "train2017")
    with pytest.raises(UsageError, match=r"no .*instances_val2017"):
        read_dataset(root / "val2017")


@pytest.mark.parametrize("text", ["", "[1, 2]", '{"images": []}', '{"images": [], "annotations": 3, "categories": []}'])
def test_no_annotations(root, text):
    annotations(root).write_text(text)
    with pytest.raises(ArtifactError, match="annotations"):
        read_dataset(root)


@pytest.mark.parametrize(
    ("part", "change"),
    [
        ("images", {"id": None}), ("images", {"height": 0}), ("images", {"id": 25}), ("images", {"width": "90"}),
        ("images", {"file_name": "000000000025.jpg"}), ("annotations", {"image_id": 1}),
        ("annotations", {"bbox": [1, 2, 3]}), ("annotations", {"bbox": [1, 2, -3, 4]}),
        ("annotations", {"bbox": [1, 2, 1e12, 4]}), ("annotations", {"bbox": None}), ("annotations", {"area": True}),
        ("categories", {"id": "3"}),
    ],
)  # fmt: skip
def test_a_damaged_entry(root, part, change):
    document = json.loads(annotations(root).read_text())
    document[part][0].update(change)
    annotations(root).write_text(json.dumps(document))
    with pytest.raises(ArtifactError, match="instances_val2017"):
        read_dataset(root)


@pytest.mark.parametrize("part", ["images", "annotations", "categories"])
def test_an_entry_that_lacks_something(root, part):
    document = json.loads(annotations(root).read_text())
    for key in list(document[part][0]):
        broken = json.loads(json.dumps(document))
        del broken[part][0][key]
        annotations(root).write_text(json.dumps(broken))
        if key in ("license", "iscrowd") or (part, key) == ("annotations", "id"):
            assert read_dataset(root).pictures
        else:
            with pytest.raises(ArtifactError, match=f"'{key}' is missing"):
                read_dataset(root)


def test_detections(root, tmp_path):
    found = read_detections(write_detections(tmp_path / "boxes.json"), read_dataset(root))
    assert found[25] == [Detection(8, (10, 20, 120, 150), 0.7)]
    assert len(found[9]) == 2


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"image_id": 1}, "no such image"), ({"category_id": 1}, "no such image or category"),
        ({"score": None}, "None is no number"), ({"bbox": [1]}, "damaged"),
    ],
)  # fmt: skip
def test_damaged_detections(root, tmp_path, change, words):
    file = write_detections(tmp_path / "boxes.json")
    document = json.loads(file.read_text())
    document[1].update(change)
    file.write_text(json.dumps(document))
    with pytest.raises(ArtifactError, match=words):
        read_detections(file, read_dataset(root))


@pytest.mark.parametrize("text", ["[]", "{}", "nonsense"])
def test_no_detections(root, tmp_path, text):
    (tmp_path / "boxes.json").write_text(text)
    with pytest.raises(ArtifactError, match=r"boxes\.json"):
        read_detections(tmp_path / "boxes.json", read_dataset(root))
    with pytest.raises(UsageError, match="no file"):
        read_detections(tmp_path / "none.json", read_dataset(root))
