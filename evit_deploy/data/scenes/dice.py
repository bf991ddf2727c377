# SPDX-License-Identifier: Apache-2.0
"""Random choices and colours for procedural scenes.

Only IEEE basic arithmetic follows the generator (no sin, exp or normal variates), so that a seed gives the same scene
on every machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

T = TypeVar("T")
Rgb = tuple[float, float, float]


class Dice:
    """Seeded choices on top of `numpy.random.Generator(PCG64)`.

    Args:
        seed: Scene seed, >= 0.
        stream: Independent stream of the same seed (layout, texture, ...).
    """

    def __init__(self, seed: int, stream: int) -> None:
        self.generator = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, stream])))

    def between(self, low: float, high: float) -> float:
        """Uniform float in [low, high)."""
        return low + (high - low) * float(self.generator.random())

    def chance(self, probability: float) -> bool:
        """True with the given probability."""
        return float(self.generator.random()) < probability

    def count(self, low: int, high: int) -> int:
        """Uniform integer in [low, high], both ends included."""
        return int(self.generator.integers(low, high + 1))

    def pick(self, options: Sequence[T]) -> T:
        """One of `options`, all equally likely."""
        return options[int(self.generator.integers(len(options)))]

    def side(self) -> int:
        """-1 (left) or +1 (right)."""
        return 1 if self.chance(0.5) else -1

    def colour(self, hue: tuple[float, float], saturation: tuple[float, float], value: tuple[float, float]) -> Rgb:
        """A colour drawn from ranges of hue (turns, may exceed 1), saturation and value (0..1)."""
        return rgb_from_hsv(self.between(*hue), self.between(*saturation), self.between(*value))

    def grey(self, low: float, high: float, cast: float = 0.03) -> Rgb:
        """A nearly neutral colour of value [low, high) with a small random cast per channel."""
        level = self.between(low, high)
        red, green, blue = (level + self.between(-cast, cast) for _ in range(3))
        return red, green, blue


def rgb_from_hsv(hue: float, saturation: float, value: float) -> Rgb:
    """Convert hue (in turns), saturation and value to RGB in 0..1."""
    sector = (hue - float(np.floor(hue))) * 6.0
    channels = []
    for offset in (5.0, 3.0, 1.0):
        k = (offset + sector) % 6.0
        channels.append(value - value * saturation * max(0.0, min(k, 4.0 - k, 1.0)))
    return channels[0], channels[1], channels[2]


def shade(colour: Rgb, factor: float) -> Rgb:
    """Multiply a colour by a factor."""
    return colour[0] * factor, colour[1] * factor, colour[2] * factor


def mix(first: Rgb, second: Rgb, share: float) -> Rgb:
    """Blend two colours; `share` is the part of the second."""
    red, green, blue = (a + (b - a) * share for a, b in zip(first, second, strict=True))
    return red, green, blue
