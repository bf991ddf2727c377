# SPDX-License-Identifier: Apache-2.0
"""Points, counted by hand beside."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evit_deploy.data.classes import IGNORE
from evit_deploy.data.metrics import ConfusionMatrix
from evit_deploy.precision.int8.loss import (
    PRESENT,
    confusion,
    drop_with_spread,
    masks_overlap,
    mean_iou,
    one_hot,
    softmax,
)

CLASSES = 4


def maps(seed: int, shape: tuple[int, int] = (9, 11), ignored: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Labels, some perhaps not judged, and predictions."""
    draw = np.random.default_rng(seed)
    labels = draw.integers(0, draw.integers(1, CLASSES + 1), shape).astype(np.uint8)
    labels[draw.random(shape) < ignored] = IGNORE
    return labels, draw.integers(0, CLASSES, shape)


@given(st.integers(0, 10_000), st.sampled_from([0.0, 0.3, 1.0]))
def test_with_labels_it_is_the_mean_iou_of_evaluations(seed: int, ignored: float) -> None:
    labels, found = maps(seed, ignored=ignored)
    matrix = ConfusionMatrix(CLASSES)
    matrix.update(found, labels)
    counts = confusion(one_hot(labels, CLASSES), found)
    assert counts == pytest.approx(matrix.counts[:, :CLASSES])
    assert float(mean_iou(counts)) == pytest.approx(np.nan_to_num(matrix.mean_iou()))


def test_soft_truth_counts_by_probability() -> None:
    """Two pixels, two classes: one is sure, one is torn."""
    truth = np.array([[1.0, 0.4], [0.0, 0.6]])
    counts = confusion(truth, np.array([[0, 1]]))
    assert counts == pytest.approx(np.array([[1.0, 0.4], [0.0, 0.6]]))
    assert float(mean_iou(counts)) == pytest.approx((1.0 / 1.4 + 0.6 / 1.0) / 2)
    flipped = confusion(truth, np.array([[0, 0]]))
    assert float(mean_iou(flipped)) == pytest.approx((1.4 / 2.0 + 0.0) / 2)


def test_classes_that_hardly_occur_do_not_count() -> None:
    counts = np.array([[[1000.0, 0.0], [0.5, 0.0]]])
    assert mean_iou(counts, PRESENT) == pytest.approx(1000 / 1000.5)
    assert mean_iou(counts) == pytest.approx(1000 / 1000.5 / 2)


def test_the_truth_itself_loses_nothing() -> None:
    odds = softmax(np.random.default_rng(0).standard_normal((CLASSES, 5, 7)) * 3)
    assert odds.sum(axis=0) == pytest.approx(1.0)
    counts = confusion(odds.reshape(CLASSES, -1), odds.argmax(0))[None]
    assert drop_with_spread(counts, counts, PRESENT) == (0.0, 0.0)


def test_large_logits_do_not_overflow() -> None:
    assert softmax(np.array([1000.0, 0.0, -1000.0])) == pytest.approx([1, 0, 0])


@pytest.mark.parametrize("frames", [1, 2, 50, 800])
def test_the_spread_is_the_standard_error(frames: int) -> None:
    gains = np.random.default_rng(frames).normal(0.9, 0.1, frames)
    drop, spread = drop_with_spread(np.ones(frames), gains)
    assert drop == pytest.approx(100 * (1 - gains.mean()))
    assert spread == pytest.approx(100 * gains.std() / frames**0.5, rel=0.2, abs=1e-12)
    assert drop_with_spread(np.ones(frames), gains) == (drop, spread)


def test_overlap_of_masks() -> None:
    ours = np.zeros((3, 4, 4), bool)
    theirs = ours.copy()
    ours[0, :2], theirs[0, 1:3] = True, True
    theirs[1, 0, 0] = True
    assert masks_overlap(ours, theirs) == pytest.approx((1 / 3 + 0 + 1) / 3)
