# SPDX-License-Identifier: Apache-2.0
"""Colours for masks that stay apart for everybody's eyes.

They are chosen, not listed: from a grid of colours, one after the other, always the one farthest from those before it,
where far means far in OKLab for normal sight and for each of the three kinds of colour blindness. Early colours are
the farthest apart; beyond a few dozen no set of colours can be told apart, so they repeat.

Sources: G. M. Machado, M. M. Oliveira, L. A. F. Fernandes, "A Physiologically-based Model for Simulation of Color
Vision Deficiency", 2009 (matrices of severity 1, on linear RGB); B. Ottosson, "A perceptual color space for image
processing", 2020 (OKLab); IEC 61966-2-1 (sRGB).
"""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt

UInt8 = npt.NDArray[np.uint8]
Float64 = npt.NDArray[np.float64]

COUNT = 48
FIRST = (0, 114, 255)
SIGHT = np.array(
    [
        np.eye(3).tolist(),
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
    ]
)
"""[4, 3, 3]: normal, protanopia, deuteranopia, tritanopia."""
_TO_CONES = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)
_TO_OKLAB = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
)


def distinct_colours(count: int) -> UInt8:
    """Colours for a number of masks, uint8 [count, 3] RGB; the first ones are always the same."""
    return _chosen()[np.arange(count) % COUNT]


def as_seen(colours: UInt8) -> Float64:
    """Colours in OKLab as the four kinds of sight of `SIGHT` see them, [4, N, 3]; black to white is 1 apart.

    Args:
        colours: uint8 [N, 3] RGB.
    """
    srgb = colours.astype(np.float64) / 255
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    seen = np.clip(np.einsum("kij,nj->kni", SIGHT, linear), 0.0, 1.0)
    return np.asarray(np.cbrt(seen @ _TO_CONES.T) @ _TO_OKLAB.T)


@cache
def _chosen() -> UInt8:
    steps = np.linspace(0, 255, 9).round()
    grid = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), -1).reshape(-1, 3).astype(np.uint8)
    candidates = np.concatenate([np.array([FIRST], np.uint8), grid])
    seen = as_seen(candidates)
    lightness, chroma = seen[0, :, 0], np.hypot(seen[0, :, 1], seen[0, :, 2])
    # Black, white and greys are what photos are made of.
    candidates = candidates[(lightness > 0.4) & (lightness < 0.95) & (chroma > 0.08)]
    seen = as_seen(candidates)
    chosen, nearest = [0], np.full(len(candidates), np.inf)
    while len(chosen) < COUNT:
        apart = np.linalg.norm(seen - seen[:, chosen[-1:]], axis=-1).min(axis=0)
        nearest = np.minimum(nearest, apart)
        chosen.append(int(nearest.argmax()))
    return candidates[chosen]
