# SPDX-License-Identifier: Apache-2.0
"""Where "segment everything" looks: options, crops of the frame, and a grid of points in each.

Source: `SamAutomaticMaskGenerator` of Segment Anything (Kirillov et al., 2023, arXiv:2304.02643); names, defaults and
rounding are the same.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from evit_deploy.errors import UsageError

Float64 = npt.NDArray[np.float64]

_FROM_ONE = ("points_per_side", "points_per_batch", "crop_n_points_downscale_factor")
_FROM_ZERO = (
    "pred_iou_thresh", "stability_score_thresh", "stability_score_offset", "crop_n_layers", "min_mask_region_area",
)  # fmt: skip
_SHARES = ("stability_score_thresh", "box_nms_thresh", "crop_nms_thresh", "crop_overlap_ratio")
_WHOLE = (
    "points_per_side", "points_per_batch", "crop_n_layers", "crop_n_points_downscale_factor", "min_mask_region_area",
)  # fmt: skip
_MOST_LAYERS = 6  # 4096 crops of the last one: beyond, it is a slip of the pen


@dataclass(frozen=True)
class EverythingOptions:
    """How "segment everything" looks for masks, and which it keeps.

    Attributes:
        points_per_side: The whole frame is asked at a grid of this many points squared.
        points_per_batch: Points handed to the decoder at a time. Does not change the masks.
        pred_iou_thresh: Keep masks whose predicted IoU is greater; 0 keeps all.
        stability_score_thresh: Keep masks at least this stable, 0 to 1; 0 keeps all. Stability is the IoU of the mask
            with a threshold raised, and lowered, by the offset.
        stability_score_offset: Logits.
        box_nms_thresh: Of two masks of one crop whose boxes have a greater IoU, the one of lower predicted IoU goes.
        crop_n_layers: Look again at crops of the frame: 4 in the first layer, 16 in the second, and so on.
        crop_nms_thresh: As `box_nms_thresh`, between crops: masks of smaller crops stay.
        crop_overlap_ratio: Overlap of the first layer's crops, as a part of the frame's shorter side; 0 to 1.
        crop_n_points_downscale_factor: Layer i has `points_per_side` / factor^i points on a side.
        min_mask_region_area: Pixels; smaller holes are filled and smaller islands removed. 0: masks stay as they are.

    Raises:
        UsageError: An option is out of its range, or a layer of crops has no points.
    """

    points_per_side: int = 32
    points_per_batch: int = 64
    pred_iou_thresh: float = 0.88
    stability_score_thresh: float = 0.95
    stability_score_offset: float = 1.0
    box_nms_thresh: float = 0.7
    crop_n_layers: int = 0
    crop_nms_thresh: float = 0.7
    crop_overlap_ratio: float = 512 / 1500
    crop_n_points_downscale_factor: int = 1
    min_mask_region_area: int = 0

    def __post_init__(self) -> None:
        for field in fields(self):
            _check(field.name, getattr(self, field.name))
        if self.points_of_layer(self.crop_n_layers) < 1:
            raise UsageError(
                "the last layer of crops has no points",
                found=f"{self.points_per_side} points per side, "
                f"divided by {self.crop_n_points_downscale_factor}^{self.crop_n_layers}",
                fix="set crop_n_layers or crop_n_points_downscale_factor lower, or points_per_side higher",
            )

    def points_of_layer(self, layer: int) -> int:
        """Points on a side of a crop; layer 0 is the whole frame."""
        return int(self.points_per_side / self.crop_n_points_downscale_factor**layer)


@dataclass(frozen=True)
class Crop:
    """A part of the frame that is looked at on its own.

    Attributes:
        x0: First column, in pixels of the frame.
        y0: First row.
        x1: The column behind the last one.
        y1: The row behind the last one.
        layer: 0 for the whole frame.
    """

    x0: int
    y0: int
    x1: int
    y1: int
    layer: int

    @property
    def height(self) -> int:
        """Height in pixels."""
        return self.y1 - self.y0

    @property
    def width(self) -> int:
        """Width in pixels."""
        return self.x1 - self.x0

    @property
    def area(self) -> int:
        """Area in pixels."""
        return self.height * self.width

    def points(self, per_side: int) -> Float64:
        """A grid of points at the centres of equal cells, row by row.

        Returns:
            float64 [per_side², 2], (x, y) in pixels of the crop.
        """
        place = np.linspace(0.5 / per_side, 1 - 0.5 / per_side, per_side)
        x, y = np.meshgrid(place * self.width, place * self.height)
        return np.stack((x.reshape(-1), y.reshape(-1)), axis=1)


def crops_of(height: int, width: int, options: EverythingOptions) -> list[Crop]:
    """The whole frame, then the crops of each layer, from left to right and in a column from top to bottom.

    A layer of a frame of few pixels may have crops that begin behind its border: these are left out.

    Args:
        height: Height of the frame in pixels.
        width: Width of the frame in pixels.
        options: Layers and their overlap.
    """
    crops = [Crop(0, 0, width, height, 0)]
    for layer in range(1, options.crop_n_layers + 1):
        per_side = 2**layer
        overlap = int(options.crop_overlap_ratio * min(height, width) * (2 / per_side))
        columns = _spans(width, per_side, overlap)
        rows = _spans(height, per_side, overlap)
        crops += [Crop(x0, y0, x1, y1, layer) for x0, x1 in columns for y0, y1 in rows]
    return crops


def _spans(side: int, count: int, overlap: int) -> list[tuple[int, int]]:
    """First and last-but-one pixel of each crop along a side."""
    length = math.ceil((overlap * (count - 1) + side) / count)
    starts = [(length - overlap) * index for index in range(count)]
    return [(start, min(start + length, side)) for start in starts if start < side]


def _check(name: str, value: float) -> None:
    """Refuse a value outside its option's range."""
    whole = name in _WHOLE
    low = 1 if name in _FROM_ONE else 0
    high = 1.0 if name in _SHARES else _MOST_LAYERS if name == "crop_n_layers" else math.inf
    kind = isinstance(value, (int, np.integer)) if whole else isinstance(value, (int, float, np.number))
    if kind and not isinstance(value, bool) and low <= value <= high and math.isfinite(value):
        return
    limits = f"{low} or more" if high == math.inf else f"from {low} to {high:g}"
    raise UsageError(
        f"'{name}' is out of range", found=repr(value), expected=f"a {'whole ' if whole else ''}number, {limits}"
    )
