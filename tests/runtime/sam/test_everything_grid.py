# SPDX-License-Identifier: Apache-2.0
"""Options, crops and points of "segment everything"."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evit_deploy.errors import UsageError
from evit_deploy.runtime.sam.grid import Crop, EverythingOptions, crops_of

SIDES = st.integers(1, 3000)


def box(crop):
    return crop.x0, crop.y0, crop.x1, crop.y1


def test_defaults_are_those_of_segment_anything():
    assert {field.name: field.default for field in fields(EverythingOptions)} == {
        "points_per_side": 32,
        "points_per_batch": 64,
        "pred_iou_thresh": 0.88,
        "stability_score_thresh": 0.95,
        "stability_score_offset": 1.0,
        "box_nms_thresh": 0.7,
        "crop_n_layers": 0,
        "crop_nms_thresh": 0.7,
        "crop_overlap_ratio": 512 / 1500,
        "crop_n_points_downscale_factor": 1,
        "min_mask_region_area": 0,
    }


def test_points_stand_in_the_middle_of_cells_row_by_row():
    points = Crop(10, 20, 16, 24, 0).points(2)
    assert points.tolist() == [[1.5, 1.0], [4.5, 1.0], [1.5, 3.0], [4.5, 3.0]]


def test_points_become_fewer_by_layer():
    options = EverythingOptions(points_per_side=12, crop_n_layers=2, crop_n_points_downscale_factor=2)
    assert [options.points_of_layer(layer) for layer in range(3)] == [12, 6, 3]
    assert EverythingOptions(points_per_side=7, crop_n_points_downscale_factor=2).points_of_layer(1) == 3


def test_crops_of_the_golden_picture():
    crops = crops_of(240, 333, EverythingOptions(crop_n_layers=1))
    # overlap int(512 / 1500 * 240) = 81; (81 + 333) / 2 = 207, (81 + 240) / 2 rounded up is 161
    assert [box(crop) for crop in crops] == [
        (0, 0, 333, 240), (0, 0, 207, 161), (0, 80, 207, 240), (126, 0, 333, 161), (126, 80, 333, 240),
    ]  # fmt: skip
    assert [crop.layer for crop in crops] == [0, 1, 1, 1, 1]


def test_each_layer_has_four_times_as_many():
    crops = crops_of(720, 1280, EverythingOptions(crop_n_layers=3))
    assert np.bincount([crop.layer for crop in crops]).tolist() == [1, 4, 16, 64]


@given(height=SIDES, width=SIDES, layers=st.integers(0, 3), ratio=st.floats(0, 1))
def test_crops_lie_in_the_frame_and_cover_it(height, width, layers, ratio):
    crops = crops_of(height, width, EverythingOptions(crop_n_layers=layers, crop_overlap_ratio=ratio))
    assert all(0 <= c.x0 < c.x1 <= width and 0 <= c.y0 < c.y1 <= height for c in crops)
    for layer in range(layers + 1):
        columns, rows = np.zeros(width, np.bool_), np.zeros(height, np.bool_)
        for crop in (crop for crop in crops if crop.layer == layer):
            columns[crop.x0 : crop.x1], rows[crop.y0 : crop.y1] = True, True
        assert columns.all() and rows.all()


def test_crops_of_less_than_a_pixel_are_left_out():
    crops = crops_of(1, 1, EverythingOptions(crop_n_layers=2))
    assert [box(crop) for crop in crops] == [(0, 0, 1, 1)] * 3
    assert len(crops_of(1, 3, EverythingOptions(crop_n_layers=2))) == 1 + 2 + 3


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("points_per_side", 0),
        ("points_per_side", -3),
        ("points_per_side", 2.5),
        ("points_per_side", True),
        ("points_per_batch", 0),
        ("pred_iou_thresh", -0.1),
        ("pred_iou_thresh", float("nan")),
        ("pred_iou_thresh", "high"),
        ("stability_score_thresh", 1.01),
        ("stability_score_offset", -1.0),
        ("stability_score_offset", float("inf")),
        ("box_nms_thresh", -0.1),
        ("box_nms_thresh", 1.5),
        ("crop_nms_thresh", 7),
        ("crop_n_layers", -1),
        ("crop_n_layers", 7),
        ("crop_n_layers", None),
        ("crop_overlap_ratio", 1.1),
        ("crop_n_points_downscale_factor", 0),
        ("min_mask_region_area", -1),
        ("min_mask_region_area", 3.5),
    ],
)
def test_options_out_of_range_are_refused(name, value):
    with pytest.raises(UsageError, match=f"'{name}' is out of range") as caught:
        EverythingOptions(**{name: value})
    assert caught.value.found == repr(value) and caught.value.expected


def test_numbers_of_numpy_are_numbers():
    options = EverythingOptions(points_per_side=np.int64(4), pred_iou_thresh=np.float32(0.5))
    assert options.points_of_layer(0) == 4


def test_a_layer_without_points_is_refused():
    with pytest.raises(UsageError, match="no points") as caught:
        EverythingOptions(points_per_side=3, crop_n_layers=2, crop_n_points_downscale_factor=2)
    assert "points_per_side" in caught.value.fix
