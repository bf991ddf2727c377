# SPDX-License-Identifier: Apache-2.0
"""Readings in a row, and what they say about power."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from evit_deploy.profiles.power.source import Reading
from evit_deploy.profiles.power.steady import Values, standard_error, steady_start


@dataclass(frozen=True)
class Stretch:
    """Readings in a row, all with the same rails.

    Attributes:
        readings: Two at least. The first one says when the stretch begins, and no more.
    """

    readings: Sequence[Reading]

    @property
    def rails(self) -> tuple[str, ...]:
        """Names of the rails."""
        return tuple(self.readings[0].watts)

    @property
    def edges(self) -> tuple[float, float]:
        """When it begins and ends, in seconds of `time.perf_counter`."""
        return self.readings[0].time, self.readings[-1].time

    @property
    def seconds(self) -> float:
        """Its length."""
        return self.edges[1] - self.edges[0]

    @property
    def samples(self) -> int:
        """Readings that count."""
        return len(self.readings) - 1

    @property
    def durations(self) -> Values:
        """Seconds that each of them stands for: those since the one before. Shape [samples]."""
        return np.diff([reading.time for reading in self.readings])

    @property
    def interval(self) -> float:
        """Usual time between two readings, in seconds."""
        return float(np.median(self.durations))

    def watts(self, rails: Sequence[str]) -> Values:
        """Power of some rails together at each reading, in W. Shape [samples]."""
        return np.array([sum(reading.watts[name] for name in rails) for reading in self.readings[1:]])

    def mean(self, rails: Sequence[str]) -> tuple[float, float]:
        """Mean power of some rails together, and its standard error, in W."""
        watts = self.watts(rails)
        return float(np.average(watts, weights=self.durations)), standard_error(watts)

    def hottest(self) -> dict[str, float]:
        """Highest temperature of every sensor, in °C."""
        highest: dict[str, float] = {}
        for reading in self.readings:
            for name, celsius in reading.temperatures.items():
                highest[name] = max(celsius, highest.get(name, celsius))
        return highest

    def steady(self, rails: Sequence[str]) -> Stretch | None:
        """The part after the warming up, half of it at least; None where power did not become steady."""
        start = steady_start(self.watts(rails))
        return None if start is None else Stretch(self.readings[start:])

    def second_half(self) -> Stretch:
        """What comes after the middle."""
        return Stretch(self.readings[self.samples // 2 :])


def stretch_of(readings: Sequence[Reading]) -> Stretch | None:
    """The readings that have the rails that most of them have, since a tool's first or last line may lack some.

    Args:
        readings: In the order they were taken.

    Returns:
        The stretch; None for fewer than two readings.
    """
    if not readings:
        return None
    usual, _ = Counter(tuple(reading.watts) for reading in readings).most_common(1)[0]
    whole = [reading for reading in readings if tuple(reading.watts) == usual]
    return Stretch(whole) if len(whole) > 1 else None
