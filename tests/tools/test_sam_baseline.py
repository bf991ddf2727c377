# SPDX-License-Identifier: Apache-2.0
"""The PyTorch baseline of the SAM measurements is the original algorithm: it finds the golden masks."""

from __future__ import annotations

import json
import sys
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("cv2")
sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))

import torch
from sam_baseline import scaled, segment_everything
from sam_masks import boxes_of, decode, encode, suppress, without_small_regions

from evit_deploy.runtime.sam.grid import EverythingOptions
from tests.sam import RULES, golden, golden_image, golden_masks, structured_model

ONE_FOR_ALL = ("after_crop_nms", "after_small_region_nms")


@pytest.mark.slow
def test_finds_the_golden_masks():
    """The setting that takes every step; the other four passed when this was written."""
    setting, file, atol = "crops_regions", golden("sam-everything"), RULES["everything"]["atol"]
    settings = json.loads(str(file[f"{setting}.settings"].item()))
    options = EverythingOptions(**{field.name: settings[field.name] for field in fields(EverythingOptions)})
    torch.sqrt(torch.rand(8))
    result = segment_everything(structured_model(), golden_image("a"), options)
    counts = {step: left[0] if step in ONE_FOR_ALL else left for step, left in result.counts.items()}
    assert {**counts, "final": len(result.masks)} == settings["counts"]
    np.testing.assert_array_equal(result.boxes, file[f"{setting}.bbox"])
    np.testing.assert_array_equal(result.crops, file[f"{setting}.crop_box"])
    np.testing.assert_array_equal(result.points, file[f"{setting}.point_coords"][:, 0])
    np.testing.assert_allclose(result.iou, file[f"{setting}.predicted_iou"], atol=atol["predicted_iou"])
    np.testing.assert_allclose(result.stability, file[f"{setting}.stability_score"], atol=atol["stability_score"])
    expected = golden_masks(file, f"{setting}.masks")
    overlap, union = (result.masks & expected).sum((1, 2)), (result.masks | expected).sum((1, 2))
    assert (overlap >= RULES["everything"]["mask_iou"] * union).all()


def test_run_lengths_round_trip():
    masks = np.random.default_rng(0).random((9, 5, 7)) < np.linspace(0, 1, 9)[:, None, None]
    for mask in masks:
        runs = encode(mask)
        assert sum(runs) == mask.size
        np.testing.assert_array_equal(decode(runs, mask.shape), mask)


def test_boxes_hold_both_ends():
    masks = torch.zeros(3, 6, 8, dtype=torch.bool)
    masks[0, 2:4, 3:7] = True
    masks[1, 5, 0] = True
    assert boxes_of(masks).tolist() == [[3, 2, 6, 3], [0, 5, 0, 5], [0, 0, 0, 0]]


def test_suppression_is_strict_and_keeps_the_earlier_of_equals():
    boxes = torch.tensor([[0, 0, 2, 2], [0, 0, 2, 1], [0, 0, 2, 2], [5, 5, 5, 5], [5, 5, 5, 5]])
    scores = torch.tensor([0.5, 0.9, 0.5, 0.1, 0.1])
    assert suppress(boxes, scores, 0.5).tolist() == [1, 0, 3, 4]
    assert suppress(boxes, scores, 0.49).tolist() == [1, 3, 4]


def test_small_regions():
    mask = np.zeros((10, 10), bool)
    mask[1:7, 1:7] = True
    mask[3, 3] = False
    mask[9, 9] = True
    cleaned, touched = without_small_regions(mask, 4)
    assert touched
    assert cleaned.sum() == 36
    assert without_small_regions(cleaned, 4)[1] is False
    alone = np.zeros((10, 10), bool)
    alone[0, 0] = True
    kept, touched = without_small_regions(alone, 4)
    assert touched
    np.testing.assert_array_equal(kept, alone)


def test_scaled_sides_round_half_up():
    assert scaled((501, 300), 1024) == (1024, 613)
    assert scaled((240, 333), 512) == (369, 512)
