# SPDX-License-Identifier: Apache-2.0
"""Counting magnitudes as they come."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from evit_deploy.precision.int8.histogram import BINS, NOTHING, Histogram

CHUNKS = st.lists(arrays(np.float32, 20, elements=st.floats(-1000, 1000, width=32)), min_size=1, max_size=6)


def counted(chunks: list[np.ndarray]) -> Histogram:
    histogram = Histogram()
    for chunk in chunks:
        histogram.add(chunk, float(np.abs(chunk).max()))
    return histogram


@given(CHUNKS)
def test_all_values_are_counted_within_the_range(chunks: list[np.ndarray]) -> None:
    found, values = counted(chunks), np.abs(np.concatenate(chunks))
    assert found.counts.sum() == values.size
    assert found.largest == values.max() <= found.limit or values.max() < NOTHING
    assert found.limit <= 2 * values.max()


@given(CHUNKS)
def test_the_order_decides_nothing(chunks: list[np.ndarray]) -> None:
    """A range that doubled has the counts of one that began large enough, but for zeros at the border of a bin."""
    forward, backward = counted(chunks), counted(chunks[::-1])
    assert (forward.limit, forward.largest) == (backward.limit, backward.largest)
    np.testing.assert_array_equal(forward.counts, backward.counts)


def test_zeros_take_the_first_bin_and_no_range() -> None:
    histogram = Histogram()
    histogram.add(np.zeros(7, np.float32), 0.0)
    assert (histogram.limit, histogram.largest, histogram.counts[0]) == (0, 0, 7)
    histogram.add(np.full(3, 5, np.float32), 5.0)
    assert histogram.limit == 8 and histogram.counts[0] == 7 and histogram.counts[5 * BINS // 8] == 3


def test_what_was_not_sampled_widens_the_range() -> None:
    histogram = Histogram()
    histogram.add(np.ones(4, np.float32), 100.0)
    assert histogram.largest == 100 and histogram.limit == 128


def test_a_copy_stands_apart() -> None:
    histogram = counted([np.ones(4, np.float32)])
    copy = histogram.copy()
    histogram.add(np.ones(4, np.float32), 1.0)
    assert copy.counts.sum() == 4 and histogram.counts.sum() == 8
