# SPDX-License-Identifier: Apache-2.0
"""Segment Anything asked for outlined objects, by their boxes or a click on each: mean IoU, by the objects' sizes.

The mean is over objects, 0..1; objects below one pixel do not count, crowds do.
Limits of the sizes belong to both sides. The click is where the object is thickest: of the pixels farthest from its
border the first in reading order.

Source: mit-han-lab/efficientvit at commit de7d773, applications/efficientvit_sam/sam_eval_utils.py; the click is that
of Sofiiuk et al., "Reviving iterative training with mask guidance for interactive segmentation", arXiv:2102.06583.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from evit_deploy.data.coco_dataset import CocoDataset, Object, Picture, outline
from evit_deploy.data.rle import Rle
from evit_deploy.errors import UsageError, extra
from evit_deploy.profiles.evaluate.sam import Asked, Bool
from evit_deploy.profiles.evaluate.task import ClassScore, Outcome, Score
from evit_deploy.runtime.sam.prompts import CORNERS

BOXES, CLICK = "boxes", "click"

SMALL, LARGE = 32**2, 96**2
"""An object of at most so many pixels is small; of at least so many large."""


@dataclass(frozen=True)
class Outlined:
    """An object and its mask."""

    object: Object
    truth: Rle


class ObjectQuestions:
    """Questions for the objects that people have outlined; a `Questions`."""

    def __init__(self, dataset: CocoDataset, split: str, prompts: str, published: dict[str, float] | None) -> None:
        """Ask by `BOXES` or `CLICK`."""
        self._dataset, self._clicks, self._published = dataset, prompts == CLICK, published
        self.split, self.pictures = split, dataset.pictures
        self.options: Mapping[str, Any] = {"prompts": prompts, "annotations": dataset.sha256}

    def ask(self, picture: Picture) -> Asked:
        """One prompt for each object."""
        objects = [one for one in self._dataset.objects.get(picture.id, ()) if one.area >= 1]
        about = [Outlined(one, outline(one.segmentation, picture.height, picture.width)) for one in objects]
        if self._clicks:
            clicks = [make_click(one.truth.decode()) for one in about]
            places = np.array([place for place, _ in clicks], np.float64).reshape(-1, 1, 2)
            return Asked(places, np.array([label for _, label in clicks], np.int32).reshape(-1, 1), about)
        return Asked(*box_prompts([one.box for one in objects]), about)

    def judge(self, about: Sequence[Outlined], masks: Iterable[Bool]) -> Outcome:
        """The IoU of each object."""
        return {
            "iou": [mask_iou(mask, one.truth.decode()) for mask, one in zip(masks, about, strict=True)],
            "area": [one.object.area for one in about],
            "category": [one.object.category for one in about],
        }

    def finish(self, outcomes: Iterable[tuple[Picture, Outcome]]) -> Score:
        """Mean IoU of all objects, of those of each size, and of those of each category."""
        found: dict[str, list[float]] = {"iou": [], "area": [], "category": []}
        for _, outcome in outcomes:
            for name, values in found.items():
                values.extend(outcome[name])
        iou, area, category = (np.array(values) for values in found.values())
        if not len(iou):
            raise UsageError(
                "there are no objects in these images", found=str(self._dataset.file), fix="evaluate on more images"
            )
        sizes = {
            "mIoU": area >= 0,
            "mIoU large": area >= LARGE,
            "mIoU medium": (area >= SMALL) & (area <= LARGE),
            "mIoU small": area <= SMALL,
        }
        return Score(
            metrics={name: float(iou[which].mean()) for name, which in sizes.items() if which.any()},
            published=self._published,
            classes=tuple(
                ClassScore(name, int(which.sum()), iou=float(iou[which].mean()))
                for number, name in self._dataset.categories.items()
                if (which := category == number).any()
            ),
        )


def box_prompts(boxes: Sequence[tuple[float, ...]]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int32]]:
    """Boxes (x0, y0, x1, y1) as corners [P, 2, 2] with their labels [P, 2]; empty ones too, as the reference does."""
    corners = np.array(boxes, np.float64).reshape(-1, 2, 2)
    return corners, np.tile(np.array(CORNERS, np.int32), (len(corners), 1))


def make_click(mask: Bool) -> tuple[tuple[int, int], int]:
    """Where to click on an object.

    Args:
        mask: bool [H, W].

    Returns:
        (x, y) of a pixel, and 1; of an empty mask the first pixel, and 0: a click on background.

    Raises:
        MissingExtraError: OpenCV is not installed.
    """
    with extra("eval", "Clicking on objects"):
        import cv2
    padded = np.pad(mask, 1).astype(np.uint8)  # what ends at the picture's border has its own border there
    depth = cv2.distanceTransform(padded, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1]
    y, x = np.unravel_index(int(depth.argmax()), depth.shape)
    return (int(x), int(y)), int(depth[y, x] > 0)


def mask_iou(found: Bool, truth: Bool) -> float:
    """Intersection over union of two masks, 0..1; 0 where both are empty."""
    union = np.count_nonzero(found | truth)
    return np.count_nonzero(found & truth) / union if union else 0.0
