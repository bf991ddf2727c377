# SPDX-License-Identifier: Apache-2.0
"""Which of the masks found stay: crop edges, and overlap of boxes.

Boxes are (x0, y0, x1, y1) in pixels. Those of masks hold the smallest and the largest index, both inclusive; those of
crops and frames end behind their last pixel. They are compared as they are, as in Segment Anything.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Bool = npt.NDArray[np.bool_]
Int64 = npt.NDArray[np.int64]
Float64 = npt.NDArray[np.float64]

EDGE = 20
"""Pixels from a crop's side within which a mask's box counts as cut by it."""


def near_crop_edge(boxes: Int64, crop: npt.ArrayLike, frame: npt.ArrayLike) -> Bool:
    """Masks that a crop seems to cut: a side of theirs is near the crop's and not near the frame's.

    Args:
        boxes: int64 [K, 4], in the crop's pixels.
        crop: (x0, y0, x1, y1) of the crop in the frame.
        frame: (0, 0, width, height).

    Returns:
        bool [K].
    """
    inner, outer = np.asarray(crop), np.asarray(frame)
    moved = boxes + np.tile(inner[:2], 2)
    cut = (np.abs(moved - inner) <= EDGE) & (np.abs(moved - outer) > EDGE)
    return np.asarray(cut.any(axis=1))


def suppress(boxes: Int64, scores: npt.NDArray[np.floating], threshold: float) -> npt.NDArray[np.intp]:
    """Greedy non-maximum suppression.

    Args:
        boxes: int64 [K, 4].
        scores: Float [K]; of equal scores the earlier box comes first.
        threshold: A box goes if its IoU with a better one that stays is greater. Two boxes without area have none.

    Returns:
        intp [kept], indices of the boxes that stay, best first.
    """
    order = np.argsort(-scores, kind="stable")
    corners = boxes[order].astype(np.float64).T
    areas = (corners[2] - corners[0]) * (corners[3] - corners[1])
    kept = []
    while len(order):
        kept.append(order[0])
        stays = ~(_iou_with_first(corners, areas) > threshold)
        stays[0] = False
        order, corners, areas = order[stays], corners[:, stays], areas[stays]
    return np.asarray(kept, np.intp)


def _iou_with_first(corners: Float64, areas: Float64) -> Float64:
    """IoU of each box, [4, K], with the first one; NaN for 0 / 0."""
    width = np.minimum(corners[2], corners[2, 0]) - np.maximum(corners[0], corners[0, 0])
    height = np.minimum(corners[3], corners[3, 0]) - np.maximum(corners[1], corners[1, 0])
    common = np.maximum(width, 0) * np.maximum(height, 0)
    with np.errstate(invalid="ignore"):
        return np.asarray(common / (areas + areas[0] - common))
