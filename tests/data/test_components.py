# SPDX-License-Identifier: Apache-2.0
"""Connected components against SciPy and OpenCV; the clean-up of small regions against a plain form of its rules."""

from __future__ import annotations

import time

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evit_deploy.data.components import find_components, remove_small

SIDES = st.integers(1, 50)


def label(mask):
    """SciPy's components, or OpenCV's in its order; SciPy is not among the packages that every machine has."""
    ndimage = pytest.importorskip("scipy.ndimage")
    return ndimage.label(mask, np.ones((3, 3)))


def draw(height, width, density, seed):
    return np.random.default_rng(seed).random((height, width)) < density


@settings(max_examples=150, deadline=None)
@given(height=SIDES, width=SIDES, density=st.sampled_from([0.0, 0.1, 0.35, 0.5, 0.8, 1.0]), seed=st.integers(0, 99))
def test_components_equal_scipy(height, width, density, seed):
    mask = draw(height, width, density, seed)
    labels, count = label(mask)
    found = find_components(mask)
    np.testing.assert_array_equal(found.image(), labels - 1)
    np.testing.assert_array_equal(found.sizes, np.bincount(labels.ravel(), minlength=count + 1)[1:])
    chosen = np.arange(count) % 2 == 0
    np.testing.assert_array_equal(found.mask(chosen), np.isin(labels, np.flatnonzero(chosen) + 1))


@settings(max_examples=60, deadline=None)
@given(height=SIDES, width=SIDES, density=st.sampled_from([0.1, 0.35, 0.5]), seed=st.integers(0, 99))
def test_components_equal_opencv(height, width, density, seed):
    """OpenCV numbers them in another order."""
    mask = draw(height, width, density, seed)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    found = find_components(mask)
    assert len(found.sizes) == count - 1
    pairs = np.unique(np.stack((found.image()[mask], labels[mask])), axis=1)
    assert pairs.shape[1] == count - 1  # one to one
    np.testing.assert_array_equal(found.sizes[pairs[0]], stats[pairs[1], cv2.CC_STAT_AREA])


def test_corners_touch():
    assert len(find_components(np.eye(9, dtype=np.bool_)).sizes) == 1


def test_rows_do_not_touch_around_the_border():
    mask = np.zeros((3, 4), np.bool_)
    mask[0, 3] = mask[2, 0] = True
    assert find_components(mask).sizes.tolist() == [1, 1]
    mask[1, 0] = True
    assert find_components(mask).sizes.tolist() == [1, 2]


def spiral(side):
    """One path that winds to the middle: the longest chain of joins that runs can form."""
    mask = np.zeros((side, side), np.bool_)
    row = column = 0
    down, right = 0, 1
    mask[0, 0] = True
    for steps in [side - 1, *(n for n in range(side - 1, 1, -2) for _ in (0, 1))]:
        for _ in range(steps):
            row, column = row + down, column + right
            mask[row, column] = True
        down, right = right, -down
    return mask


def test_a_winding_path_is_one_component():
    mask = spiral(201)
    started = time.perf_counter()
    assert find_components(mask).sizes.tolist() == [mask.sum()]
    assert time.perf_counter() - started < 1


@pytest.mark.parametrize("mask", [np.zeros((4, 5), np.bool_), np.ones((4, 5), np.bool_), np.zeros((0, 3), np.bool_)])
def test_nothing_and_everything(mask):
    found = find_components(mask)
    assert found.sizes.tolist() == ([mask.sum()] if mask.any() else [])
    assert found.image().shape == mask.shape


def plain_removal(mask, minimum, *, holes):
    """The rules, written plainly on labels."""
    labels, count = label(~mask if holes else mask)
    sizes = [int((labels == index).sum()) for index in range(1, count + 1)]
    small = [index for index, size in enumerate(sizes, 1) if size < minimum]
    if not small:
        return mask, False
    if holes:
        return mask | np.isin(labels, small), True
    if len(small) == count:
        small.remove(int(np.argmax(sizes)) + 1)
    return mask & ~np.isin(labels, small), True


@settings(max_examples=150, deadline=None)
@given(
    height=SIDES, width=SIDES, density=st.sampled_from([0.0, 0.2, 0.4, 0.8, 1.0]), seed=st.integers(0, 99),
    minimum=st.sampled_from([1, 2, 5, 40, 10000]), holes=st.booleans(),
)  # fmt: skip
def test_small_regions(height, width, density, seed, minimum, holes):
    mask = draw(height, width, density, seed)
    expected, changed = plain_removal(mask, minimum, holes=holes)
    found, found_changed = remove_small(mask, minimum, holes=holes)
    assert found_changed == changed
    np.testing.assert_array_equal(found, expected)


def test_the_background_around_a_mask_is_a_hole_as_well():
    mask = np.ones((10, 10), np.bool_)
    mask[0] = False
    filled, changed = remove_small(mask, 11, holes=True)
    assert changed and filled.all()
    same, changed = remove_small(mask, 10, holes=True)
    assert same is mask and not changed


def test_of_small_islands_alone_the_largest_stays():
    mask = np.zeros((9, 20), np.bool_)
    mask[0, 0:2] = mask[4, 4:8] = mask[8, 10:13] = True
    kept, changed = remove_small(mask, 100, holes=False)
    assert changed and kept.sum() == 4 and kept[4, 4:8].all()
