# SPDX-License-Identifier: Apache-2.0
"""Semantic segmentation: mean IoU over a whole data set, as the reference defines it.

IoU of a class = sum of its intersections / sum of its unions over all images, at the size of the labels; pixels whose
label is no class are not judged. The mean is over the classes that occur, in labels or predictions: where the
reference has a number, it is this one, and where a class never occurs it has none.

The reference upsamples logits to the labels' size, bicubically, then takes the argmax. So does this, of an engine that
gives logits; an image whose logits are not all finite counts as wrong everywhere. One that gives a class map did so in
the graph, at the graph's size; where the labels have another, the map is brought there by nearest neighbour, and the
score says so.

Source: mit-han-lab/efficientvit at commit de7d773, applications/efficientvit_seg/eval_efficientvit_seg_model.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from evit_deploy.data.classes import ClassSet
from evit_deploy.data.metrics import ConfusionMatrix
from evit_deploy.data.resize import resize_nearest
from evit_deploy.errors import UsageError
from evit_deploy.profiles.evaluate.feed import Array, Feed
from evit_deploy.profiles.evaluate.mistakes import not_finite, worst_mistakes
from evit_deploy.profiles.evaluate.task import ClassScore, Item, Outcome, Score
from evit_deploy.runtime.segment import Segmenter, classify_pixels

UInt8 = npt.NDArray[np.uint8]
_NO_CLASS = 255  # no data set has so many
_STRIP_PIXELS = 1 << 18  # what is counted at once stays in a core's cache


class LabelledImages(Protocol):
    """Images with label maps.

    Attributes:
        split: Part of the data set, or None.
        table: uint8 [256], the class of an id in the label maps; 255 for ids that are not judged.
        published: Published metrics of the model on these images, 0..1, or None.
        notes: What a reader must know before comparing with them.
    """

    @property
    def split(self) -> str | None: ...  # noqa: D102  said above

    @property
    def table(self) -> UInt8: ...  # noqa: D102

    @property
    def published(self) -> dict[str, float] | None: ...  # noqa: D102

    @property
    def notes(self) -> tuple[str, ...]: ...  # noqa: D102

    def items(self) -> Sequence[Item]:
        """All images, always in the same order."""

    def read(self, item: Item) -> tuple[UInt8, UInt8]:
        """An image, uint8 [H, W, 3] RGB, and the ids of its labels, uint8 [H, W]. For several threads."""


@dataclass(frozen=True)
class LoadedImage:
    """An image as the graph takes it, and its label map."""

    fitted: Array
    labels: UInt8


class SegmentationTask:
    """Evaluates a segmenter on images with label maps; a `Task`."""

    def __init__(self, segmenter: Segmenter, images: LabelledImages) -> None:
        self._classes: ClassSet = segmenter.classes
        self._graph, self._images = segmenter.manifest.graph, images
        self._feed = Feed(segmenter.engine, "logits" if self._graph.output == "logits" else "classes")
        self.batch, self.split, self.options = self._feed.batch, images.split, dict[str, Any]()

    def items(self) -> Sequence[Item]:
        """All images."""
        return self._images.items()

    def load(self, item: Item) -> LoadedImage:
        """Read an image and its labels, and fit the image to the graph."""
        image, labels = self._images.read(item)
        return LoadedImage(self._feed.fit(image), labels)

    def infer(self, batch: Sequence[LoadedImage]) -> list[Array]:
        """Class maps, or logits, of the graph's size."""
        return self._feed.run([loaded.fitted for loaded in batch])

    def judge(self, loaded: LoadedImage, result: Array) -> Outcome:
        """Count the pixels of every pair of classes."""
        shape, finite = loaded.labels.shape, bool(np.isfinite(result).all())
        if not finite:  # the argmax takes NaN for the largest, and the image for the class that NaN stands at
            predicted = np.full(shape, _NO_CLASS, np.uint8)
        elif self._graph.output == "logits":
            predicted = np.empty(shape, np.uint8)
            classify_pixels(result, predicted, None)
        else:
            predicted = resize_nearest(result, *shape)
        counts = count_classes(loaded.labels, predicted, self._images.table, len(self._classes.names))
        cells = np.flatnonzero(counts)
        resized = self._graph.output != "logits" and result.shape != shape
        pixels = counts.ravel()[cells].tolist()
        return {"cells": cells.tolist(), "pixels": pixels, "resized": resized, "finite": finite}

    def finish(self, outcomes: Iterable[tuple[str, Outcome]]) -> Score:
        """Mean IoU and pixel accuracy, and the IoU of every class."""
        matrix, total, resized, broken = ConfusionMatrix(len(self._classes.names)), 0, 0, 0
        for _, outcome in outcomes:
            matrix.counts.reshape(-1)[outcome["cells"]] += np.array(outcome["pixels"], np.int64)
            total, resized, broken = total + 1, resized + outcome["resized"], broken + (not outcome["finite"])
        if not matrix.present().any():
            raise UsageError(
                "no pixel of the labels belongs to a class",
                expected="labels that are published; those of test splits are kept back",
                fix="name a split that has labels with --split",
            )
        iou, pixels = matrix.iou(), matrix.counts.sum(axis=1)
        return Score(
            metrics={"mIoU": float(np.nanmean(iou)), "pixel accuracy": matrix.accuracy()},
            published=self._images.published,
            classes=tuple(
                ClassScore(name, int(count), iou=None if np.isnan(value) else float(value))
                for name, count, value in zip(self._classes.names, pixels, iou, strict=True)
            ),
            confusion=matrix.counts[:, :-1].tolist(),
            mistakes=worst_mistakes(matrix.counts[:, :-1], self._classes.names),
            warnings=(
                *not_finite(broken, total),
                *self._absent(iou),
                *self._resizing(resized, total),
                *self._images.notes,
            ),
        )

    def _absent(self, iou: npt.NDArray[np.float64]) -> list[str]:
        absent = int(np.isnan(iou).sum())
        if not absent:
            return []
        return [f"{absent} of {len(iou)} classes occur in no label and in no result: the mean leaves them out"]

    def _resizing(self, resized: int, total: int) -> list[str]:
        if not resized:
            return []
        height, width = self._graph.resolution
        return [
            f"the class maps of {resized} of {total} images were brought from {height}x{width} to the size of their "
            "labels by nearest neighbour; the reference upsamples logits, as an engine exported with "
            "--output logits does"
        ]


def count_classes(labels: UInt8, predicted: UInt8, table: UInt8, classes: int) -> npt.NDArray[np.int64]:
    """Count the pixels of every pair of a true and a predicted class.

    All 65536 pairs of two bytes are counted, and folded afterwards, so that no pixel has to be looked up.

    Args:
        labels: uint8 [H, W], ids as they are in a label file.
        predicted: uint8 [H, W], predicted classes.
        table: uint8 [256], class of an id, or 255.
        classes: Number of classes.

    Returns:
        int64 [classes, classes + 1] like `ConfusionMatrix.counts`.
    """
    pairs = np.zeros(1 << 16, np.int64)
    truth, guess = labels.reshape(-1), predicted.reshape(-1)
    for start in range(0, truth.size, _STRIP_PIXELS):
        strip = slice(start, start + _STRIP_PIXELS)
        pairs += np.bincount(truth[strip].astype(np.uint16) << 8 | guess[strip], minlength=pairs.size)
    by_class = np.zeros((256, 256), np.int64)
    np.add.at(by_class, table, pairs.reshape(256, 256))
    counts = np.zeros((classes, classes + 1), np.int64)
    counts[:, :classes] = by_class[:classes, :classes]
    counts[:, classes] = by_class[:classes, classes:].sum(axis=1)
    return counts
