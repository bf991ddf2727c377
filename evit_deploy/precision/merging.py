# SPDX-License-Identifier: Apache-2.0
"""Two convolutions in a row as one: weights that a lowered graph holds and that follow from much smaller ones.

Needs numpy alone, so that a device can make the large weights again from the small ones that were sent to it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from evit_deploy.errors import ArtifactError

FACTORS = "factors.npz"
"""Stands beside a lowered graph that holds merged weights."""

Array = npt.NDArray[Any]
Factors = Mapping[str, tuple[Array, Array]]
"""(depthwise, mixing) float32 of every merged weight, by its name."""


def merge_aggregation(depthwise: Array, mixing: Array) -> Array:
    """Weights [3C, d, k, k] of one grouped convolution equal to a depthwise and then a grouped 1×1 convolution.

    Output o of group g is Σ_i mixing[o, i] · (depthwise[g·d + i] * input[g·d + i]).
    """
    outputs, inputs = mixing.shape[:2]
    kernels = depthwise.reshape(outputs // inputs, inputs, *depthwise.shape[2:]).astype(np.float64)
    merged = mixing.reshape(outputs // inputs, inputs, inputs, 1, 1).astype(np.float64) * kernels[:, None]
    return merged.reshape(outputs, inputs, *depthwise.shape[2:]).astype(np.float32)


def write_factors(folder: Path, factors: Factors) -> None:
    """Write ``factors.npz``."""
    arrays: dict[str, Any] = {
        f"{name}|{part}": array for name, pair in factors.items() for part, array in zip("dm", pair, strict=True)
    }
    np.savez_compressed(folder / FACTORS, **arrays)


def read_factors(folder: Path) -> dict[str, tuple[Array, Array]]:
    """Read ``factors.npz``; nothing where there is none.

    Raises:
        ArtifactError: It is damaged.
    """
    path = folder / FACTORS
    if not path.is_file():
        return {}
    try:
        with np.load(path, allow_pickle=False) as data:
            names = [name.removesuffix("|d") for name in data if name.endswith("|d")]
            return {name: (data[f"{name}|d"], data[f"{name}|m"]) for name in names}
    except Exception as error:  # zipfile and numpy have many kinds
        raise ArtifactError(f"{path} cannot be read", found=str(error), fix="build the engine again") from error
