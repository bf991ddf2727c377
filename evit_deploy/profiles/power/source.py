# SPDX-License-Identifier: Apache-2.0
"""What a source of power is: readings, what they add up to, and who can read them."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Literal, Protocol

Processor = Literal["gpu", "cpu"]

_TEMPERATURE_SECONDS = 1.0


@dataclass(frozen=True)
class Reading:
    """One look at every rail.

    Attributes:
        watts: Power of each rail, in W. Where the source counts energy, the mean since the reading before.
        temperatures: Temperature of each sensor in °C, as far as the source knows.
        time: When it was taken, in seconds of `time.perf_counter`.
    """

    watts: dict[str, float]
    temperatures: dict[str, float] = field(default_factory=dict)
    time: float = field(default_factory=time.perf_counter)


@dataclass(frozen=True)
class Total:
    """Which rails make the total, and what that total is.

    Attributes:
        rails: Their names; none of them feeds another one.
        words: What the sum is, such as "module input".
        notes: What a reader must know about it.
    """

    rails: tuple[str, ...]
    words: str
    notes: tuple[str, ...] = ()


class Reader(Protocol):
    """An open source."""

    def read(self) -> Reading | None:
        """Wait for the next reading.

        Returns:
            The reading; None where there was none within a few intervals. It never waits longer.

        Raises:
            OSError: There will be no more readings.
        """


@dataclass(frozen=True)
class Source:
    """Something that tells power.

    Attributes:
        name: For people, such as "INA3221" or "NVML, NVIDIA A100-SXM4-80GB".
        serves: Processors whose work its total contains.
        interval: Seconds between two readings.
        open: Opens it for one measurement. May raise OSError where it does not answer.
        total: What the rails of its readings add up to.
        notes: What a reader of its figures must know.
    """

    name: str
    serves: frozenset[Processor]
    interval: float
    open: Callable[[], AbstractContextManager[Reader]]
    total: Callable[[Collection[str]], Total]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Obstacle:
    """A source that is here and cannot be read.

    Attributes:
        source: Its name.
        serves: Processors whose work it would measure.
        what: What is in the way.
        fix: What to do about it.
    """

    source: str
    serves: frozenset[Processor]
    what: str
    fix: str


class Polled:
    """A reader that looks by itself, once per interval, and at temperatures about once a second.

    Args:
        interval: Seconds from one look to the next.
        watts: Reads the power of every rail, in W. OSError ends the measurement.
        temperatures: Reads the temperature of every sensor, in °C; slow on some boards.
    """

    def __init__(
        self, interval: float, watts: Callable[[], dict[str, float]], temperatures: Callable[[], dict[str, float]]
    ) -> None:
        self._interval, self._watts, self._temperatures = interval, watts, temperatures
        self._next = self._warm = time.perf_counter() + interval  # counters need a while to count

    def read(self) -> Reading:
        """Sleep until it is time, then look."""
        time.sleep(max(self._next - time.perf_counter(), 0))
        reading = Reading(self._watts())
        self._next = reading.time + self._interval
        if reading.time < self._warm:
            return reading
        self._warm = reading.time + _TEMPERATURE_SECONDS
        return replace(reading, temperatures=self._temperatures())
