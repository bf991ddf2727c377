# SPDX-License-Identifier: Apache-2.0
"""Is a difference of two latencies more than chance?

Calls in a row are not independent: what slows one down slows its neighbours down. So whole rounds are drawn, as
`evit_deploy.profiles.latency` measured them: a block bootstrap (Künsch 1989) of the ratio of the two medians. It tells
how much a *run* varies inside. What changes from run to run, such as where a process finds its memory, no single run
can tell: a difference that matters deserves a second run.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from evit_deploy.profiles.latency import Latency, blocks
from evit_deploy.profiles.power.record import PowerRecord

ENOUGH = 5
"""Rounds that an interval takes at least."""

CONFIDENCE = 0.95

_RESAMPLES = 2000
_AT_ONCE = 1 << 22  # weights in memory
_SIGMAS = 1.96  # what `CONFIDENCE` is of a normal distribution

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Ratio:
    """A figure over the same figure of the first profile.

    Attributes:
        value: The ratio; 1.1 is 10 % more.
        low: Lower end of its 95 % confidence interval; None where the profiles do not tell.
        high: Upper end.
    """

    value: float
    low: float | None = None
    high: float | None = None

    @property
    def is_more(self) -> bool:
        """Whether it is above 1 beyond chance."""
        return self.low is not None and self.low > 1

    @property
    def is_less(self) -> bool:
        """Whether it is below 1 beyond chance."""
        return self.high is not None and self.high < 1

    @property
    def differs(self) -> bool:
        """Whether it is anything but 1 beyond chance."""
        return self.is_more or self.is_less


def latency_ratio(first: Latency, other: Latency) -> Ratio:
    """Ratio of the medians per frame of two runs; without an interval where a run had fewer than `ENOUGH` rounds."""
    value = other.p50 / other.frames / (first.p50 / first.frames)
    rounds = _rounds(first), _rounds(other)
    if min(map(len, rounds)) < ENOUGH:
        return Ratio(value)
    random = np.random.default_rng(0)  # the same profiles give the same interval
    below, above = (_resampled_medians(item, random) for item in rounds)
    tail = 50 * (1 - CONFIDENCE)
    low, high = np.percentile(above / below * (first.frames / other.frames), [tail, 100 - tail])
    return Ratio(value, float(low), float(high))


def energy_ratio(first: PowerRecord, other: PowerRecord) -> Ratio:
    """Ratio of the energy per frame of two runs; the interval is of the two standard errors."""
    value = other.energy_mj / first.energy_mj
    parts = (first.energy_sigma_mj / first.energy_mj, other.energy_sigma_mj / other.energy_mj)
    spread = math.exp(_SIGMAS * math.hypot(*parts))
    return Ratio(value, value / spread, value * spread)


def _rounds(latency: Latency) -> list[Array]:
    """Milliseconds of every round that had calls."""
    return [block for block in blocks(latency) if len(block)]


def _resampled_medians(rounds: Sequence[Array], random: np.random.Generator) -> Array:
    """Medians of as many rounds as there are, drawn with replacement: all calls are sorted once, and then weighed."""
    samples = np.concatenate(rounds)
    order = np.argsort(samples)
    times, owner = samples[order], np.repeat(np.arange(len(rounds)), [len(block) for block in rounds])[order]
    drawn = random.multinomial(len(rounds), np.full(len(rounds), 1 / len(rounds)), _RESAMPLES)
    medians = []
    for part in np.array_split(drawn, 1 + drawn.shape[0] * len(times) // _AT_ONCE):
        below = np.cumsum(part[:, owner], axis=1)
        half = below[:, -1:] / 2
        lower, upper = (below < half).sum(axis=1), (below <= half).sum(axis=1)
        medians.append((times[lower] + times[upper]) / 2)
    return np.concatenate(medians)
