# SPDX-License-Identifier: Apache-2.0
"""Mean IoU against a direct count of sets."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from evit_deploy.data.metrics import ConfusionMatrix
from evit_deploy.errors import UsageError

CLASSES = 4
LABELS = st.sampled_from([0, 1, 2, 3, 255])
IMAGES = hnp.arrays(np.uint8, (5, 6), elements=LABELS)


def _expected(pairs: list[tuple[np.ndarray, np.ndarray]]) -> list[float]:
    ious = []
    for label in range(CLASSES):
        inter = union = 0
        for pred, target in pairs:
            judged = target != 255
            inter += int(np.sum(judged & (pred == label) & (target == label)))
            union += int(np.sum(judged & ((pred == label) | (target == label))))
        ious.append(inter / union if union else float("nan"))
    return ious


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(IMAGES, IMAGES), min_size=1, max_size=4))
def test_iou_is_the_sum_over_the_whole_set(pairs: list[tuple[np.ndarray, np.ndarray]]) -> None:
    matrix = ConfusionMatrix(CLASSES)
    for pred, target in pairs:
        matrix.update(pred, target)
    expected = _expected(pairs)
    assert matrix.iou() == pytest.approx(expected, nan_ok=True)
    present = [label for label in range(CLASSES) if any(np.any(target == label) for _, target in pairs)]
    mean = np.mean([expected[label] for label in present]) if present else float("nan")
    assert matrix.mean_iou() == pytest.approx(mean, nan_ok=True)


def test_known_case() -> None:
    matrix = ConfusionMatrix(3)
    matrix.update(np.array([0, 0, 1, 1, 0]), np.array([0, 1, 1, 1, 255]))
    assert matrix.iou()[:2] == pytest.approx([0.5, 2 / 3])
    assert np.isnan(matrix.iou()[2])
    assert matrix.mean_iou() == pytest.approx((0.5 + 2 / 3) / 2)
    assert matrix.accuracy() == pytest.approx(0.75)
    assert matrix.present().tolist() == [True, True, False]


def test_a_class_only_predicted_is_wrong_but_not_in_the_mean() -> None:
    matrix = ConfusionMatrix(2)
    matrix.update(np.array([0, 1]), np.array([0, 0]))
    assert matrix.iou().tolist() == [0.5, 0.0]
    assert matrix.mean_iou() == 0.5


def test_predictions_outside_the_classes_count_as_wrong() -> None:
    matrix = ConfusionMatrix(2)
    matrix.update(np.array([0, 255, 7, -1]), np.array([0, 0, 0, 0]))
    assert matrix.iou()[0] == 0.25
    assert matrix.accuracy() == 0.25


def test_nothing_counted_gives_nan() -> None:
    matrix = ConfusionMatrix(3)
    matrix.update(np.zeros(4, np.uint8), np.full(4, 255, np.uint8))
    assert np.isnan(matrix.mean_iou())
    assert np.isnan(matrix.accuracy())


def test_ignore_may_be_a_class_number() -> None:
    matrix = ConfusionMatrix(3, ignore=2)
    matrix.update(np.array([0, 0]), np.array([0, 2]))
    assert matrix.mean_iou() == 1.0


def test_errors() -> None:
    with pytest.raises(UsageError, match="shape"):
        ConfusionMatrix(2).update(np.zeros((2, 2), int), np.zeros(4, int))
    with pytest.raises(UsageError, match="classes"):
        ConfusionMatrix(0)
