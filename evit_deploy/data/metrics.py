# SPDX-License-Identifier: Apache-2.0
"""Mean IoU of segmentation, counted over a whole set."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from evit_deploy.data.classes import IGNORE
from evit_deploy.errors import UsageError


@dataclass
class ConfusionMatrix:
    """Pixel counts per (true class, predicted class), summed over images.

    IoU of a class = sum of intersections / sum of unions over all images, not a mean of per-image values. Pixels whose
    true label is `ignore` (or any other value outside the classes) do not count.

    Attributes:
        classes: Number of classes.
        ignore: Label that is not judged.
        counts: int64 [classes, classes + 1], row = truth, column = prediction; the last column collects predictions
            outside the classes, which are wrong for every class.
    """

    classes: int
    ignore: int = IGNORE
    counts: npt.NDArray[np.int64] = field(init=False)

    def __post_init__(self) -> None:
        if self.classes < 1:
            raise UsageError("a confusion matrix needs classes", found=str(self.classes), expected="1 or more")
        self.counts = np.zeros((self.classes, self.classes + 1), dtype=np.int64)

    def update(self, pred: npt.NDArray[np.integer], target: npt.NDArray[np.integer]) -> None:
        """Count one image, or a batch.

        Args:
            pred: Predicted class ids, any integer type and shape.
            target: True class ids of the same shape; `ignore` where nothing is to be judged.

        Raises:
            UsageError: Shapes differ.
        """
        if pred.shape != target.shape:
            raise UsageError("prediction and label differ in shape", found=str(pred.shape), expected=str(target.shape))
        truth = target.astype(np.int64, copy=False).ravel()
        guess = pred.astype(np.int64, copy=False).ravel()
        judged = (truth >= 0) & (truth < self.classes) & (truth != self.ignore)
        guess = np.where((guess >= 0) & (guess < self.classes), guess, self.classes)
        cells = truth[judged] * (self.classes + 1) + guess[judged]
        self.counts += np.bincount(cells, minlength=self.counts.size).reshape(self.counts.shape)

    def iou(self) -> npt.NDArray[np.float64]:
        """IoU per class, float64 [classes]; NaN for a class that occurs neither in labels nor in predictions."""
        inner = self.counts[:, : self.classes]
        hit = np.diagonal(inner).astype(np.float64)
        union = self.counts.sum(axis=1) + inner.sum(axis=0) - hit
        ratio = np.full(self.classes, np.nan)
        np.divide(hit, union, out=ratio, where=union > 0)
        return ratio

    def present(self) -> npt.NDArray[np.bool_]:
        """Classes that occur in the labels, bool [classes]."""
        found: npt.NDArray[np.bool_] = self.counts.sum(axis=1) > 0
        return found

    def mean_iou(self) -> float:
        """Mean of `iou` over the classes present in the labels; NaN when nothing was counted."""
        found = self.present()
        return float(np.mean(self.iou()[found])) if found.any() else float("nan")

    def accuracy(self) -> float:
        """Share of judged pixels that are right; NaN when nothing was counted."""
        total = int(self.counts.sum())
        return float(np.trace(self.counts[:, : self.classes]) / total) if total else float("nan")
