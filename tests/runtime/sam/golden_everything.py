# SPDX-License-Identifier: Apache-2.0
"""The golden runs of "segment everything", and what must agree with them."""

from __future__ import annotations

import json

import numpy as np

from evit_deploy.runtime.sam.everything import generate_masks
from evit_deploy.runtime.sam.grid import EverythingOptions
from tests.sam import golden, golden_image, golden_masks


def options_of(setting):
    stored = json.loads(str(golden("sam-everything")[f"{setting}.settings"]))
    return EverythingOptions(**{key: stored[key] for key in EverythingOptions.__dataclass_fields__ if key in stored})


def compare_with_golden(setting, sam):
    file = golden("sam-everything")
    found = generate_masks(sam, golden_image("a"), options_of(setting))
    expected = golden_masks(file, f"{setting}.masks")
    assert len(found) == len(expected)
    np.testing.assert_array_equal([record.bbox for record in found], file[f"{setting}.bbox"])
    np.testing.assert_array_equal([record.crop_box for record in found], file[f"{setting}.crop_box"])
    np.testing.assert_array_equal([record.point for record in found], file[f"{setting}.point_coords"][:, 0])
    masks = np.array([record.mask for record in found])
    iou = (masks & expected).sum(axis=(1, 2)) / (masks | expected).sum(axis=(1, 2))
    assert iou.min() >= 0.99
    iou_found, stability = [[getattr(r, name) for r in found] for name in ("predicted_iou", "stability_score")]
    np.testing.assert_allclose(iou_found, file[f"{setting}.predicted_iou"], rtol=0, atol=1e-5)
    np.testing.assert_allclose(stability, file[f"{setting}.stability_score"], rtol=0, atol=5e-3)
    np.testing.assert_allclose([record.area for record in found], file[f"{setting}.area"], rtol=0.01)
