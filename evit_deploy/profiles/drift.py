# SPDX-License-Identifier: Apache-2.0
"""Did it get slower while it was measured? A trend over the rounds of a run, with its uncertainty.

A board that heats up lowers its clocks, and a median over the whole run then describes no state it was ever in. The
trend is a straight line through the logarithms of the rounds' medians: what one slow call does to a round, or one slow
round to a run, says nothing about heat. Rounds next to one another are alike, so they count for fewer than there are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

ENOUGH = 5
"""Rounds that a trend takes at least."""

_SIGMAS = 4.0  # of so few rounds the error is uncertain as well, and their likeness is underestimated
_MATTERS = 0.03
_ALIKE = 0.9  # neighbours more alike than this cannot be told from a trend by so few rounds


@dataclass(frozen=True)
class Drift:
    """How much slower the end of a run is than its beginning.

    Attributes:
        change: Relative change along the trend, from the first round to the last: 0.1 is 10 % slower.
        sigma: Its standard error.
    """

    change: float
    sigma: float

    @property
    def matters(self) -> bool:
        """Whether it is beyond doubt, and large enough to care about."""
        return abs(self.change) > max(_MATTERS, _SIGMAS * self.sigma)

    def __str__(self) -> str:
        """In words: "12.0 % slower (± 1.5 %)"."""
        direction = "slower" if self.change > 0 else "faster"
        return f"{abs(self.change):.1%} {direction} (± {self.sigma:.1%})".replace("%", " %")


def drift_of(medians: Sequence[float]) -> Drift | None:
    """Fit a trend.

    Args:
        medians: Median time of every round, in order.

    Returns:
        The trend; None for fewer than `ENOUGH` rounds.
    """
    count = len(medians)
    if count < ENOUGH:
        return None
    logs = np.log(np.asarray(medians, float))
    times = np.linspace(-0.5, 0.5, count)
    slope = float(times @ logs / (times @ times))
    rest = logs - logs.mean() - slope * times
    variance = float(rest @ rest) / (count - 2) / float(times @ times) * _repeated(rest)
    change = math.expm1(slope)
    return Drift(change, (1 + change) * math.sqrt(variance))


def _repeated(rest: npt.NDArray[np.float64]) -> float:
    """By how much neighbours that are alike enlarge the variance: (1 + r) / (1 - r) for a correlation r."""
    total = float(rest @ rest)
    if total == 0:
        return 1.0
    alike = min(max(float(rest[1:] @ rest[:-1]) / total, 0.0), _ALIKE)
    return (1 + alike) / (1 - alike)
