# SPDX-License-Identifier: Apache-2.0
"""What "segment everything" finds."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from evit_deploy.data.rle import Rle


@dataclass(frozen=True)
class MaskRecord:
    """One mask of a frame. All places are in the frame's own pixels.

    Attributes:
        rle: The mask, of the frame's size, as run lengths.
        bbox: Box of the mask, (x, y, width, height). Width and height are the differences of the largest and the
            smallest index, so one less than the pixels they span, as in Segment Anything.
        predicted_iou: The decoder's own guess of the mask's quality. It may exceed 1.
        stability_score: IoU of the mask with its threshold raised, and lowered; NaN where both are empty.
        point: The point that was asked, (x, y).
        crop_box: The crop that was looked at, (x, y, width, height).
    """

    rle: Rle
    bbox: tuple[int, int, int, int]
    predicted_iou: float
    stability_score: float
    point: tuple[float, float]
    crop_box: tuple[int, int, int, int]

    @property
    def mask(self) -> npt.NDArray[np.bool_]:
        """The mask, bool [H, W]; decoded anew each time."""
        return self.rle.decode()

    @property
    def area(self) -> int:
        """Pixels of the mask."""
        return self.rle.area

    def to_json(self) -> dict[str, Any]:
        """The record as JSON can hold it: names of Segment Anything, the mask in COCO's compressed form.

        JSON has no NaN: a stability that is none is None.
        """
        return {
            "segmentation": self.rle.to_coco(),
            "area": self.area,
            "bbox": list(self.bbox),
            "predicted_iou": self.predicted_iou,
            "point_coords": [list(self.point)],
            "stability_score": self.stability_score if math.isfinite(self.stability_score) else None,
            "crop_box": list(self.crop_box),
        }
