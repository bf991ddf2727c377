# SPDX-License-Identifier: Apache-2.0
"""Points lost between FP32 and INT8, counted over frames, and how sure that is.

A frame gives two arrays, one for FP32 and one for INT8: confusion counts of a segmenter, or the one number that a
classifier or an encoder gained. Points are made of sums over frames, so that a bootstrap needs no other run.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from evit_deploy.data.classes import IGNORE

Array = npt.NDArray[Any]

PRESENT = 1e-3
"""Share of the expected truth from which on a class counts in an expected mIoU: rarer ones are noise."""

_RESAMPLED = 200


def softmax(logits: Array) -> Array:
    """Probabilities along the first axis."""
    powers = np.exp(logits - logits.max(axis=0))
    return np.asarray(powers / powers.sum(axis=0))


def one_hot(classes: Array, count: int) -> Array:
    """Float [count, pixels]; all zero where a class is none of them, such as labels that are not judged."""
    assert count <= IGNORE
    return np.asarray(classes.reshape(1, -1) == np.arange(count).reshape(-1, 1), np.float64)


def confusion(truth: Array, classes: Array) -> Array:
    """Truth by prediction.

    Args:
        truth: Probability of every class at every pixel, [C, pixels]; all zero where a pixel does not count.
        classes: Predicted class, [h, w].

    Returns:
        Float [C, C], row = truth, column = prediction.
    """
    return np.asarray(truth @ one_hot(classes, len(truth)).T)


def mean_iou(counts: Array, least: float = 0.0) -> Array:
    """Mean IoU of confusion matrices [..., C, C], over the classes whose share of the truth is above `least`; 0..1."""
    truth, hits = counts.sum(axis=-1), np.diagonal(counts, axis1=-2, axis2=-1)
    union = truth + counts.sum(axis=-2) - hits
    present = truth > least * truth.sum(axis=-1, keepdims=True)
    iou = np.divide(hits, union, out=np.zeros_like(hits, float), where=present & (union > 0))
    return np.asarray(iou.sum(axis=-1) / np.maximum(present.sum(axis=-1), 1))


def masks_overlap(ours: Array, theirs: Array) -> float:
    """Mean intersection over union of bool masks [..., h, w]; 1 for a pair of empty ones."""
    both, either = (mask.sum(axis=(-1, -2)) for mask in (ours & theirs, ours | theirs))
    return float(np.divide(both, either, out=np.ones(both.shape), where=either > 0).mean())


def points_lost(exact: Array, found: Array, weights: Array, least: float) -> Array:
    """Points lost where frames count so often.

    Args:
        exact: FP32's gains, [frames], or its confusion counts, [frames, C, C].
        found: INT8's.
        weights: How often each frame counts, float [K, frames].
        least: As for `mean_iou`.

    Returns:
        Float [K].
    """
    if exact.ndim == 1:
        return np.asarray(100 * (weights @ (exact - found)) / weights.sum(axis=1))
    ours, theirs = (np.tensordot(weights, counts, 1) for counts in (exact, found))
    return np.asarray(100 * (mean_iou(ours, least) - mean_iou(theirs, least)))


def drop_with_spread(exact: Array, found: Array, least: float = 0.0) -> tuple[float, float]:
    """Points lost over all frames, and their standard error: a bootstrap over frames, the same every time.

    Args:
        exact: As for `points_lost`.
        found: As for `points_lost`.
        least: As for `mean_iou`.
    """
    count = len(exact)
    drop = float(points_lost(exact, found, np.ones((1, count)), least)[0])
    if count == 1:
        return drop, 0.0
    again = np.random.default_rng(0).multinomial(count, np.full(count, 1 / count), size=_RESAMPLED).astype(float)
    return drop, float(points_lost(exact, found, again, least).std())
