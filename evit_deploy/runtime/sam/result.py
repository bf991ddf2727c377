# SPDX-License-Identifier: Apache-2.0
"""What prompts are answered with."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from evit_deploy.data.coco import coco_box
from evit_deploy.data.masks import PromptFrame
from evit_deploy.data.rle import Rle, encode
from evit_deploy.errors import UsageError

Bool = npt.NDArray[np.bool_]
Float32 = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Masks:
    """Masks of one prompt, or of a batch of them.

    M is 3 for an answer of multimask, else 1. Pixels are computed when they are asked for.

    Attributes:
        low_res: float32 [M, 256, 256], or [P, M, 256, 256] of a batch: logits, to be fed back as ``mask=``.
        iou: float32 [M] or [P, M], the decoder's own guess of each mask's quality. It may exceed 1.
        frame: Size of the frame.
        given: bool [M, H, W] or [P, M, H, W], where the engine computes pixels of this frame's size itself.
    """

    low_res: Float32
    iou: Float32
    frame: PromptFrame
    given: Bool | None = None

    @cached_property
    def masks(self) -> Bool:
        """The masks at the frame's own pixels, bool [M, H, W] or [P, M, H, W]."""
        if self.given is not None:
            return self.given
        flat = self.low_res.reshape(-1, *self.low_res.shape[-2:])
        return self.frame.pixels(flat).reshape(*self.iou.shape, self.frame.height, self.frame.width)

    def __len__(self) -> int:
        """Masks of one prompt, or prompts of a batch."""
        return len(self.iou)

    def __getitem__(self, index: Any) -> Masks:
        """Some prompts of a batch, or some masks of one prompt; a single mask keeps its axis.

        Raises:
            UsageError: An index of several axes.
        """
        if isinstance(index, tuple):
            raise UsageError("masks are picked along one axis", found=str(index), fix="masks[prompt][mask]")
        if self.iou.ndim == 1 and isinstance(index, (int, np.integer)):
            index = [index]
        given = None if self.given is None else self.given[index]
        return Masks(self.low_res[index], self.iou[index], self.frame, given)

    def best(self) -> Masks:
        """The mask of the highest predicted IoU for each prompt: M is 1."""
        best = self.iou.argmax(axis=-1)[..., None]
        given = None if self.given is None else _take(self.given, best)
        return Masks(_take(self.low_res, best), np.take_along_axis(self.iou, best, axis=-1), self.frame, given)

    def rle(self) -> list[dict[str, Any]]:
        """All masks as run lengths, {"size": [H, W], "counts": [int, …]}: COCO's uncompressed form.

        Prompt by prompt: of a batch, mask m of prompt p is number p * M + m.
        """
        return [rle.to_dict() for rle in self._encoded]

    def coco(self) -> list[dict[str, Any]]:
        """All masks as COCO's annotations, in the order of `rle`.

        Returns:
            Of each: "segmentation" (COCO's compressed run lengths, as JSON can hold them), "area" in pixels, "bbox"
            (x, y, width, height; a row of pixels is 1 high, an empty mask is all zeros), "predicted_iou", and "prompt"
            and "mask", its place in the batch.
        """
        scores = self.iou.reshape(-1)
        each = self.iou.shape[-1]
        return [
            {
                "segmentation": rle.to_coco(),
                "area": rle.area,
                "bbox": coco_box(rle),
                "predicted_iou": float(scores[index]),
                "prompt": index // each,
                "mask": index % each,
            }
            for index, rle in enumerate(self._encoded)
        ]

    @cached_property
    def _encoded(self) -> list[Rle]:
        """Run lengths of all masks, one after the other: pixels of all are not held at once."""
        if self.given is not None or "masks" in self.__dict__:
            return [encode(mask) for mask in self.masks.reshape(-1, self.frame.height, self.frame.width)]
        flat = self.low_res.reshape(-1, 1, *self.low_res.shape[-2:])
        return [encode(self.frame.pixels(mask)[0]) for mask in flat]


def _take(values: npt.NDArray[Any], best: npt.NDArray[np.intp]) -> npt.NDArray[Any]:
    """Of [..., M, h, w] what `best` [..., 1] picks along M."""
    return np.take_along_axis(values, best[..., None, None], axis=-3)
