# SPDX-License-Identifier: Apache-2.0
"""Did it get slower while it was measured? The last quarter of a run's rounds against the first.

A board that heats up lowers its clocks, and a median over the whole run then describes no state it was ever in. It may
do so bit by bit, or all at once when it reaches a limit. So no shape is assumed: the quarters' medians are compared,
and how far rounds scatter is asked of rounds that are close in time, which a step or a slow rise moves together.
Everything is a median: what one slow call does to a round, or one slow round to a run, says nothing about heat.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

ENOUGH = 16
"""Rounds that it takes at least: the medians of smaller quarters differ by chance too often."""

_TIMES = 4.0  # of so few rounds the scatter is uncertain as well, and neighbours may be alike
_MATTERS = 0.03
_NORMAL = 1.4826  # standard deviations of a normal distribution per median absolute deviation


@dataclass(frozen=True)
class Drift:
    """How much slower the end of a run is than its beginning.

    Attributes:
        change: Median of the last quarter of the rounds over that of the first, less 1: 0.1 is 10 % slower.
        sigma: How far rounds that are close in time scatter: their relative standard deviation.
    """

    change: float
    sigma: float

    @property
    def matters(self) -> bool:
        """Whether it is beyond what rounds scatter, and large enough to care about."""
        return abs(self.change) > _MATTERS and abs(math.log1p(self.change)) > _TIMES * self.sigma

    def __str__(self) -> str:
        """In words: "12.0 % slower"."""
        direction = "slower" if self.change > 0 else "faster"
        return f"{100 * abs(self.change):.1f} % {direction}"


def drift_of(medians: Sequence[float]) -> Drift | None:
    """Compare the end of a run with its beginning.

    Args:
        medians: Median time of every round, in order.

    Returns:
        The difference; None for fewer than `ENOUGH` rounds.
    """
    count = len(medians)
    if count < ENOUGH:
        return None
    logs = np.log(np.asarray(medians, float))
    first, last = logs[: count // 4], logs[-(count // 4) :]
    within = np.concatenate([first - np.median(first), last - np.median(last)])
    # Neighbours differ by two rounds' scatter; of a run whose quarters are calm by chance, they tell more.
    scatter = max(float(np.median(abs(within))), float(np.median(abs(np.diff(logs)))) / math.sqrt(2))
    return Drift(math.expm1(float(np.median(last) - np.median(first))), _NORMAL * scatter)
