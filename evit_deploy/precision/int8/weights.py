# SPDX-License-Identifier: Apache-2.0
"""Weights in INT8: symmetric, one scale for each output channel.

Scales are FP16 in an FP16 graph. They are rounded up, so that the largest weight stays within ±127, and weights are
quantised with what the scale is then: its rounding costs a little range and no accuracy. Below 2^-14 an FP16 number
has fewer bits, so that a channel of tiny weights may use half of its range only; a channel of zeros has scale 1.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

LEVELS = 127
"""Largest INT8 magnitude in use: -128 has no counterpart, and TensorRT's kernels expect none."""

Array = npt.NDArray[Any]


def quantise_weights(weights: Array, dtype: npt.DTypeLike) -> tuple[npt.NDArray[np.int8], Array]:
    """Quantise weights per output channel.

    Args:
        weights: [out, …], FP32 or FP16.
        dtype: Type of the scales.

    Returns:
        INT8 weights of the same shape, and scales [out]: weights ≈ INT8 · scale.
    """
    wide = weights.astype(np.float64)
    largest = np.abs(wide.reshape(len(wide), -1)).max(axis=1)
    scales = round_up(np.where(largest == 0, 1.0, largest / LEVELS), dtype)
    steps = np.rint(wide / scales.astype(np.float64).reshape(-1, *[1] * (wide.ndim - 1)))
    return np.clip(steps, -LEVELS, LEVELS).astype(np.int8), scales


def round_up(values: Array, dtype: npt.DTypeLike) -> Array:
    """The next number of a type that is not smaller: none becomes zero, and infinity is what the type cannot hold."""
    with np.errstate(over="ignore"):
        rounded = values.astype(dtype)
    smaller = rounded.astype(np.float64) < values
    return np.where(smaller, np.nextafter(rounded, np.array(np.inf, dtype)), rounded).astype(dtype)
