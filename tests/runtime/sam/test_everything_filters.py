# SPDX-License-Identifier: Apache-2.0
"""The filters of "segment everything", alone and on the candidates that the original algorithm saw."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evit_deploy.runtime.sam.filters import near_crop_edge, suppress
from evit_deploy.runtime.sam.grid import EverythingOptions, crops_of
from tests.sam import golden, golden_image


def plain_suppress(boxes, scores, threshold):
    """The rule, one pair at a time."""
    order, kept = sorted(range(len(boxes)), key=lambda index: -scores[index]), []
    for index in order:
        x0, y0, x1, y1 = boxes[index]
        for other in kept:
            a0, b0, a1, b1 = boxes[other]
            common = max(0, min(x1, a1) - max(x0, a0)) * max(0, min(y1, b1) - max(y0, b0))
            union = (x1 - x0) * (y1 - y0) + (a1 - a0) * (b1 - b0) - common
            if union and common / union > threshold:
                break
        else:
            kept.append(index)
    return kept


@settings(max_examples=100, deadline=None)
@given(count=st.integers(0, 60), seed=st.integers(0, 999), threshold=st.sampled_from([0.0, 0.3, 0.7, 1.0]))
def test_suppression_equals_the_rule(count, seed, threshold):
    random = np.random.default_rng(seed)
    corners = random.integers(0, 12, (count, 2, 2))
    boxes = np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)
    scores = random.integers(0, 5, count) / 4  # many ties
    assert suppress(boxes, scores, threshold).tolist() == plain_suppress(boxes.tolist(), scores, threshold)


def test_an_iou_equal_to_the_threshold_stays():
    boxes = np.array([[0, 0, 4, 4], [0, 0, 4, 2]])
    assert suppress(boxes, np.array([0.9, 0.8]), 0.5).tolist() == [0, 1]
    assert suppress(boxes, np.array([0.9, 0.8]), 0.49).tolist() == [0]


def test_boxes_without_area_do_not_suppress_each_other():
    assert suppress(np.zeros((3, 4), np.int64), np.zeros(3), 0.0).tolist() == [0, 1, 2]


def test_many_boxes_are_fast_enough():
    random = np.random.default_rng(0)
    corners = random.integers(0, 1000, (3072, 2))
    boxes = np.concatenate([corners, corners + random.integers(5, 200, (3072, 2))], axis=1)
    assert len(suppress(boxes, random.random(3072), 0.7)) > 1000


@pytest.mark.parametrize(
    ("box", "cut"),
    [
        ((30, 30, 60, 60), False),
        ((20, 30, 60, 60), True),  # 20 from the crop's left side, inclusive
        ((21, 30, 60, 60), False),
        ((30, 30, 80, 60), True),  # 20 from the right one
        ((30, 30, 79, 60), False),
        ((30, 0, 60, 60), False),  # near the top of the frame as well
        ((30, 30, 60, 99), True),
    ],
)
def test_masks_that_a_crop_cuts(box, cut):
    """The crop's top is the frame's."""
    assert near_crop_edge(np.array([box]), (50, 0, 150, 100), (0, 0, 200, 200)).tolist() == [cut]


def test_nothing_is_cut_on_the_whole_frame():
    boxes = np.array([[0, 0, 99, 49], [0, 0, 0, 0], [40, 20, 99, 30]])
    assert not near_crop_edge(boxes, (0, 0, 100, 50), (0, 0, 100, 50)).any()


def stages(setting):
    """Run the filters on the stored candidates; counts after each, as the golden file keeps them, and what is left."""
    file = golden("sam-everything")
    stored = json.loads(str(file[f"{setting}.settings"]))
    options = EverythingOptions(**{key: stored[key] for key in stored if key in EverythingOptions.__dataclass_fields__})
    data = {key: file[f"candidates.{stored['weights']}.{key}"] for key in ("crop", "iou", "stability", "box", "point")}
    height, width = golden_image("a").shape[:2]
    crops = crops_of(height, width, options)
    counts = {
        name: [] for name in ("candidates", "after_pred_iou", "after_stability", "after_crop_edge", "after_box_nms")
    }
    left, owner = [], []
    for number, crop in enumerate(crops):
        which = np.flatnonzero(data["crop"] == number)
        counts["candidates"].append(len(which))
        which = which[data["iou"][which] > options.pred_iou_thresh]
        counts["after_pred_iou"].append(len(which))
        which = which[data["stability"][which] >= options.stability_score_thresh]
        counts["after_stability"].append(len(which))
        corners = (crop.x0, crop.y0, crop.x1, crop.y1)
        which = which[~near_crop_edge(data["box"][which].astype(np.int64), corners, (0, 0, width, height))]
        counts["after_crop_edge"].append(len(which))
        which = which[suppress(data["box"][which].astype(np.int64), data["iou"][which], options.box_nms_thresh)]
        counts["after_box_nms"].append(len(which))
        left.append(which)
        owner += [crop] * len(which)
    which = np.concatenate(left)
    offset = np.array([(crop.x0, crop.y0) for crop in owner])
    boxes, points = data["box"][which] + np.tile(offset, 2), data["point"][which] + offset
    if len(crops) > 1:
        best = suppress(boxes, 1 / np.array([crop.area for crop in owner]), options.crop_nms_thresh)
        counts["after_crop_nms"] = len(best)
        which, boxes, points = which[best], boxes[best], points[best]
    counts["final"] = len(which)
    return counts, stored["counts"], boxes, points, data["iou"][which]


@pytest.mark.parametrize("setting", ["grid", "crops", "plain"])
def test_golden_candidates_pass_as_in_the_original(setting):
    file = golden("sam-everything")
    counts, expected, boxes, points, iou = stages(setting)
    assert counts == expected
    xywh = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)
    np.testing.assert_array_equal(xywh, file[f"{setting}.bbox"])
    np.testing.assert_allclose(points, file[f"{setting}.point_coords"][:, 0], rtol=0, atol=1e-9)
    np.testing.assert_array_equal(iou, file[f"{setting}.predicted_iou"].astype(np.float32))
