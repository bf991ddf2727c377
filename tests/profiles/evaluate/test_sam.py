# SPDX-License-Identifier: Apache-2.0
"""Segment Anything on COCO: with masks that are known, and with a real engine in miniature."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from evit_deploy.data.coco_dataset import outline, read_dataset
from evit_deploy.data.images import read_image, write_image
from evit_deploy.data.masks import LowRes
from evit_deploy.errors import ArtifactError, UsageError
from evit_deploy.manifest import read_manifest
from evit_deploy.profiles.evaluate import Options, Request, evaluate_engine, parse_dataset
from evit_deploy.profiles.evaluate.sam_detections import METRICS, average_precision
from evit_deploy.profiles.evaluate.sam_kind import open_coco, published_scores
from evit_deploy.profiles.evaluate.sam_objects import make_click, mask_iou
from evit_deploy.runtime import load
from evit_deploy.runtime.sam.embedding import Fitted
from tests.cli.fake_sam import FakeSam
from tests.profiles.conftest import toy, toy_workspace  # noqa: F401
from tests.profiles.evaluate.coco_folder import (
    HOLE,
    NUMBERS,
    OBJECTS,
    SIZES,
    annotations,
    write_coco,
    write_detections,
)


class Drawing(FakeSam):
    """Answers boxes with their insides; the second of three masks is the one to take."""

    def __init__(self, manifest):
        super().__init__()
        self.encoder = type("Encoder", (), {"manifest": manifest})()
        self.spoil = False

    def fit(self, frame):
        return Fitted({}, self.embed(frame).frame)

    def encode(self, fitted):
        return self.embed(np.zeros((fitted.frame.height, fitted.frame.width, 3), np.uint8))

    def decode(self, embedding, coords, labels):
        for found in super().decode(embedding, coords, labels):
            masks = np.stack([-found.masks[:, 1], found.masks[:, 1], -found.masks[:, 1]], axis=1)
            yield LowRes(np.full_like(masks, np.nan) if self.spoil else masks, found.iou)


@pytest.fixture
def root(tmp_path):
    return write_coco(tmp_path / "coco")


@pytest.fixture
def drawing(small_workspace):
    return Drawing(read_manifest(small_workspace / "engines" / "b0-seg.cpu.fp32.onnxruntime"))


def outcomes(task):
    """Of all pictures, as JSON brings them back from the journal."""
    for item in task.items():
        loaded = task.load(item)
        (result,) = task.infer([loaded])
        yield item.name, json.loads(json.dumps(task.judge(loaded, result)))


def test_boxes(root, drawing):
    task = open_coco(drawing, Request("coco", root))
    assert task.split == "val2017"
    assert [item.name for item in task.items()] == list(SIZES)
    found = dict(outcomes(task))
    iou = {name: outcome["iou"] for name, outcome in found.items()}
    boxed = HOLE.sum() / (130 * 110)
    first, second = "000000000009.jpg", "000000000025.jpg"
    assert iou[first] == pytest.approx([1.0, 0.75], abs=0.06)  # the box is the object; a quarter of it is not
    assert iou[second] == pytest.approx([boxed, boxed], abs=0.03)  # a crowd counts like any object
    assert iou["000000000030.jpg"] == []
    score = task.finish(found.items())
    every = iou[first] + iou[second]
    assert score.metrics == pytest.approx(
        {"mIoU": np.mean(every), "mIoU large": np.mean(iou[second]), "mIoU medium": iou[first][1],
         "mIoU small": iou[first][0]}
    )  # fmt: skip
    assert [(one.name, one.count) for one in score.classes] == [("car", 3), ("train", 1)]
    assert score.classes[1].iou == iou[first][1]
    assert score.warnings == ()


def test_a_size_on_the_limit_is_of_both_sides(root, drawing):
    task = open_coco(drawing, Request("coco", root))
    outcome = {"iou": [0.2, 0.6], "area": [32**2, 96**2], "category": [3, 7], "not_finite": 0}
    assert task.finish([("000000000009.jpg", outcome)]).metrics == pytest.approx(
        {"mIoU": 0.4, "mIoU small": 0.2, "mIoU medium": 0.4, "mIoU large": 0.6}
    )


def test_clicks(root, drawing):
    task = open_coco(drawing, Request("coco", root, prompts="click"))
    asked = task.load(task.items()[0]).asked
    assert asked.labels.tolist() == [[1], [1]]
    for (place,), one in zip(asked.coords.astype(int), asked.about, strict=True):
        assert one.truth.decode()[place[1], place[0]]
    assert 0 < task.finish(outcomes(task)).metrics["mIoU"] < 1
    assert task.options != open_coco(drawing, Request("coco", root)).options


@given(hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, max_side=9), elements=st.booleans()))
def test_a_click_is_farthest_from_the_border_and_first_in_reading_order(mask):
    (x, y), label = make_click(mask)
    height, width = mask.shape
    outside = [(i, j) for i in range(-1, height + 1) for j in range(-1, width + 1)
               if not (0 <= i < height and 0 <= j < width and mask[i, j])]  # fmt: skip
    depth = np.array([[min(np.hypot(i - a, j - b) for a, b in outside) for j in range(width)] for i in range(height)])
    assert label == mask.any()
    assert (y, x) == tuple(np.argwhere(np.isclose(depth, depth.max(), atol=1e-4))[0])


@given(hnp.arrays(bool, (2, 5, 7)))
def test_iou(masks):
    both, any_ = (masks[0] & masks[1]).sum(), (masks[0] | masks[1]).sum()
    assert mask_iou(*masks) == pytest.approx(both / (any_ + 1e-7), abs=1e-6)


def test_detections(root, drawing, tmp_path):
    file = write_detections(tmp_path / "boxes.json")
    task = open_coco(drawing, Request("coco", root, prompts=f"detections:{file}"))
    score = task.finish(outcomes(task))
    # One of two cars is found, and one of two trains; of 101 steps of recall that is 0 to 0.5.
    assert score.metrics["AP50"] == pytest.approx(51 / 101)
    assert score.metrics["COCO mAP"] < score.metrics["AP50"]  # the train is found but for a quarter of its box
    assert set(score.metrics) == set(METRICS)
    assert task.options["detections"]["file"] == "boxes.json"


def test_the_truth_itself_is_found_whole(tmp_path):
    visible = tuple(one for one in OBJECTS if one["area"] >= 1)
    data = read_dataset(write_coco(tmp_path / "coco", visible))
    size = dict(zip(NUMBERS, SIZES.values(), strict=True))
    results = [
        {"image_id": one["image_id"], "category_id": one["category_id"], "score": 0.5,
         "segmentation": outline(one["segmentation"], *size[one["image_id"]]).to_coco()}
        for one in visible if not one["iscrowd"]
    ]  # fmt: skip
    before = json.dumps(data.document)
    assert average_precision(data.document, results, NUMBERS) == pytest.approx(dict.fromkeys(METRICS, 1.0))
    assert json.dumps(data.document) == before
    with pytest.raises(UsageError, match="no objects"):
        average_precision(data.document, results, [30])


def test_only_evaluated_pictures_count(root):
    data = read_dataset(root)
    mask = {"category_id": 3, "score": 0.5, "segmentation": OBJECTS[4]["segmentation"], "image_id": 25}
    assert average_precision(data.document, [mask], [25])["COCO mAP"] == pytest.approx(1)
    assert average_precision(data.document, [mask], NUMBERS)["COCO mAP"] < 0.5


def test_answers_that_are_not_finite(root, drawing, tmp_path):
    drawing.spoil = True
    score = (task := open_coco(drawing, Request("coco", root))).finish(outcomes(task))
    assert score.metrics["mIoU"] == 0
    assert "the answers to 4 prompts are not finite" in score.warnings


@pytest.mark.parametrize("prompts", ["points", "", "detections", "detections:", "boxes:", "click:3"])
def test_unknown_prompts(root, drawing, prompts):
    if prompts:
        with pytest.raises(UsageError, match="names no prompts"):
            open_coco(drawing, Request("coco", root, prompts=prompts))
    else:
        assert open_coco(drawing, Request("coco", root, prompts=prompts)).options["prompts"] == "boxes"


def test_an_image_of_another_size(root, drawing):
    write_image(root / "val2017" / "000000000030.jpg", np.zeros((40, 41, 3), np.uint8))
    task = open_coco(drawing, Request("coco", root))
    with pytest.raises(ArtifactError, match="another size"):
        task.load(task.items()[2])


def test_no_objects_at_all(tmp_path, drawing):
    task = open_coco(drawing, Request("coco", write_coco(tmp_path / "coco", ())))
    with pytest.raises(UsageError, match="no objects"):
        task.finish(outcomes(task))


@pytest.mark.parametrize(
    ("name", "source", "prompts", "expected"),
    [
        ("xl1-sam", "official", "boxes", 0.79927), ("xl1-sam", "official", "click", 0.59757),
        ("xl1-sam", "random", "boxes", None), ("l0-sam", "official", "boxes", None),
        ("l0-sam", "official", "detections", 0.457), ("l0-sam", "random", "detections", None),
    ],
)  # fmt: skip
def test_published_scores_are_of_the_very_weights(drawing, name, source, prompts, expected):
    base = drawing.encoder.manifest
    manifest = replace(
        base,
        model=replace(base.model, name=name),
        weights=replace(base.weights, source=source),
        graph=replace(base.graph, resolution=(512, 512)),
    )
    found = published_scores(manifest, prompts)
    assert (found and next(iter(found.values()))) == expected


@pytest.mark.parametrize("prompts", ["boxes", "click", "detections"])
def test_a_real_engine(toy, root, tmp_path, prompts):  # noqa: F811
    if prompts == "detections":
        prompts = f"detections:{write_detections(tmp_path / 'boxes.json')}"
    request = parse_dataset(f"coco:{root}", prompts=prompts)
    found, path = evaluate_engine(toy, request, tmp_path / "profiles")
    assert found.images == 3
    assert json.loads(path.read_text())["options"]["prompts"] == prompts.partition(":")[0]
    with load(toy) as sam:
        task = open_coco(sam, request)
        loaded = task.load(task.items()[0])
        sam.set_image(read_image(root / "val2017" / "000000000009.jpg"))
        if prompts == "click":
            expected = sam.predict(points=loaded.asked.coords)
        else:
            expected = sam.predict(box=loaded.asked.coords.reshape(-1, 4))
        (logits,) = task.infer([loaded])
        assert np.array_equal(logits, expected.best().low_res[:, 0])


def test_a_damaged_outline_is_the_failure_of_one_image(toy, root, tmp_path):  # noqa: F811
    document = json.loads(annotations(root).read_text())
    document["annotations"][0]["segmentation"] = [[1, 2]]
    annotations(root).write_text(json.dumps(document))
    request = parse_dataset(f"coco:{root}")
    with pytest.raises(ArtifactError, match=r"000000000009\.jpg cannot be evaluated"):
        evaluate_engine(toy, request, tmp_path / "profiles")
    found, _ = evaluate_engine(toy, request, tmp_path / "profiles", Options(skip_broken=True))
    assert [one.file for one in found.skipped] == ["000000000009.jpg"]
    assert set(found.score.metrics) == {"mIoU", "mIoU large"}
