# SPDX-License-Identifier: Apache-2.0
"""Weights in INT8."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from evit_deploy.precision.int8.weights import LEVELS, quantise_weights, round_up

WEIGHTS = arrays(
    np.float32, (3, 4, 1, 1), elements=st.floats(-8, 8, width=32).filter(lambda x: x == 0 or abs(x) > 1e-2)
)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@given(weights=WEIGHTS)
def test_nothing_is_clipped_and_the_error_is_half_a_step(weights: np.ndarray, dtype: type) -> None:
    int8, scales = quantise_weights(weights, dtype)
    assert int8.dtype == np.int8 and scales.dtype == dtype and (scales > 0).all()
    steps = scales.astype(np.float64).reshape(-1, 1, 1, 1)
    assert np.abs(int8.astype(int)).max() <= LEVELS
    assert (np.abs(int8 * steps - weights) <= steps / 2 * (1 + 1e-6)).all()


def test_a_channel_of_zeros_is_harmless() -> None:
    int8, scales = quantise_weights(np.zeros((2, 3, 1, 1), np.float32), np.float16)
    assert not int8.any() and np.isfinite(scales).all() and (scales > 0).all()


def test_tiny_weights_keep_half_of_their_range_in_fp16() -> None:
    """Below 2^-24 · 127 a scale cannot follow; above, rounding it up costs at most half of the 127 steps."""
    weights = np.full((1, 1, 1, 1), 127.0 * 2.0**-24 * 1.5, np.float32)
    int8, scales = quantise_weights(weights, np.float16)
    assert int8.max() >= LEVELS // 2 and float(scales[0]) == 2.0**-23
    below, floor = quantise_weights(np.full((1, 1, 1, 1), 2.0**-26, np.float32), np.float16)
    assert float(floor[0]) == 2.0**-24 and abs(int(below.max())) <= 1


@given(st.floats(1e-6, 6e4))
def test_round_up_is_the_next_number_above(value: float) -> None:
    found = float(round_up(np.array(value), np.float16))
    below = float(np.nextafter(np.float16(found), np.float16(0)))
    assert below < value <= found
