# SPDX-License-Identifier: Apache-2.0
"""Latency, measured so that a noisy machine does not decide the comparison.

Machines drift: clocks change with heat, other processes come and go, within seconds. Two things measured one after
the other are measured on two different machines. Hence the rules here:

* Everything that is compared is measured in one run, in `ROUNDS` short rounds. In each round every subject has a block
  of calls, so that a slow spell of the machine hits all of them.
* The order of the blocks is reversed from round to round, so that a steady drift favours none.
* A block opens with one call that is not timed: it brings the subject's weights back into the caches, and lets the
  threads of the one before fall asleep.
* Every subject is warmed up first: `WARM_UP_CALLS` calls and `WARM_UP_SECONDS`, whichever is later.
* Python's garbage collector is off while the clock runs.

Ratios of one run are what counts (`ratio_range` says how much they vary from round to round); absolute times hold for
this machine under this load.
"""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from evit_deploy.profiles.drift import Drift, drift_of

ROUNDS = 20
WARM_UP_CALLS = 10
WARM_UP_SECONDS = 0.5
SLOW_SECONDS = 0.5  # a subject this slow may be measured with fewer runs

Call = Callable[[], object]


@dataclass(frozen=True)
class Latency:
    """Times of one subject, in the order they were taken.

    Attributes:
        name: What was timed.
        samples_ms: Milliseconds of every call.
        frames: Frames that one call processes (the batch).
    """

    name: str
    samples_ms: tuple[float, ...]
    frames: int = 1

    def __post_init__(self) -> None:
        """Refuse what no clock gives, as a damaged record may hold: every figure below would be nonsense or an error.

        Raises:
            ValueError: No sample, one that is no positive number, or no frame.
        """
        if not self.samples_ms or not all(0 < value < math.inf for value in self.samples_ms) or self.frames < 1:
            raise ValueError(f"the times of '{self.name}' are not all positive numbers, of one frame or more")

    @property
    def runs(self) -> int:
        """Number of timed calls."""
        return len(self.samples_ms)

    @property
    def p50(self) -> float:
        """Median, ms."""
        return self.percentile(50)

    @property
    def p90(self) -> float:
        """90th percentile, ms."""
        return self.percentile(90)

    @property
    def p99(self) -> float:
        """99th percentile, ms; with 100 runs, next to the slowest one."""
        return self.percentile(99)

    @property
    def max(self) -> float:
        """The slowest call, ms."""
        return float(np.max(self.samples_ms))

    @property
    def mean(self) -> float:
        """Mean, ms."""
        return float(np.mean(self.samples_ms))

    @property
    def throughput(self) -> float:
        """Frames per second, one call after the other."""
        return self.frames * 1000 / self.mean

    def percentile(self, part: float) -> float:
        """A percentile in ms, interpolated linearly; `part` in 0..100."""
        return float(np.percentile(self.samples_ms, part))

    @property
    def drift(self) -> Drift | None:
        """Whether it got slower from round to round; None with too few runs to say."""
        return drift_of([float(np.median(block)) for block in blocks(self) if len(block)])

    def to_json(self) -> dict[str, Any]:
        """All figures, and the samples rounded to 0.1 µs."""
        drift = self.drift
        figures = {name: getattr(self, name) for name in ("runs", "p50", "p90", "p99", "max", "mean", "throughput")}
        samples = [round(value, 4) for value in self.samples_ms]
        return {
            "name": self.name,
            "frames": self.frames,
            **figures,
            "drift": drift and asdict(drift),
            "samples_ms": samples,
        }


@dataclass(frozen=True)
class Subject:
    """Something to time.

    Attributes:
        name: What it is.
        call: Does it once.
        runs: Timed calls.
        slow_runs: Timed calls where one takes longer than `SLOW_SECONDS`; None for `runs` all the same.
        frames: Frames that one call processes.
    """

    name: str
    call: Call
    runs: int = 100
    slow_runs: int | None = None
    frames: int = 1


def measure_together(
    subjects: Sequence[Subject],
    advance: Callable[[], None] = lambda: None,
    *,
    warm_up_seconds: float = WARM_UP_SECONDS,
    warm_up_calls: int = WARM_UP_CALLS,
) -> tuple[Latency, ...]:
    """Time several things in alternating blocks of one run; the module's text says how and why.

    Args:
        subjects: What to time.
        advance: Called after every one of the `ROUNDS` rounds, outside the timed calls.
        warm_up_seconds: Least time of untimed calls per subject.
        warm_up_calls: Least number of untimed calls per subject.
    """
    order = list(range(len(subjects)))
    samples: list[list[float]] = [[] for _ in subjects]
    with _without_collector():
        plans = [block_sizes(_planned_runs(subject, warm_up_seconds, warm_up_calls)) for subject in subjects]
        for block in range(ROUNDS):
            for index in order if block % 2 == 0 else reversed(order):
                samples[index] += _time_block(subjects[index].call, plans[index][block])
            advance()
    return tuple(
        Latency(subject.name, tuple(times), subject.frames) for subject, times in zip(subjects, samples, strict=True)
    )


def block_sizes(runs: int) -> list[int]:
    """Calls per round: `ROUNDS` numbers that differ by one at most and sum to `runs`.

    Fewer calls than rounds are spread over all of them, so that they meet what the machine does in the whole run.
    """
    ends = [(index * runs + ROUNDS // 2) // ROUNDS for index in range(ROUNDS + 1)]
    return [end - begin for begin, end in pairwise(ends)]


def blocks(latency: Latency) -> list[npt.NDArray[np.float64]]:
    """Milliseconds of every round of a run as `measure_together` made it, `ROUNDS` of them; some may be empty."""
    return np.split(np.array(latency.samples_ms, float), np.cumsum(block_sizes(latency.runs))[:-1])


def ratio_range(slow: Latency, fast: Latency) -> tuple[float, float]:
    """Quartiles, over the rounds of one run, of the ratio of the two medians of a round."""
    pairs = zip(blocks(slow), blocks(fast), strict=True)
    ratios = [np.median(one) / np.median(other) for one, other in pairs if len(one) and len(other)]
    low, high = np.percentile(ratios, [25, 75])
    return float(low), float(high)


def _planned_runs(subject: Subject, warm_up_seconds: float, warm_up_calls: int) -> int:
    """Warm a subject up, and decide from its last calls how often it is timed."""
    times: list[float] = []
    while len(times) < warm_up_calls or sum(times) < warm_up_seconds * 1000:
        times += _time_calls(subject.call, 1)
    slow = float(np.median(times[-5:])) > SLOW_SECONDS * 1000
    return subject.slow_runs if slow and subject.slow_runs is not None else subject.runs


def _time_block(call: Call, count: int) -> list[float]:
    """Time `count` calls after one that is not timed; nothing at all where `count` is 0."""
    if count == 0:
        return []
    call()
    return _time_calls(call, count)


def _time_calls(call: Call, count: int) -> list[float]:
    """Milliseconds of each of `count` calls."""
    times = []
    for _ in range(count):
        start = time.perf_counter_ns()
        call()
        times.append((time.perf_counter_ns() - start) / 1e6)
    return times


@contextmanager
def _without_collector() -> Iterator[None]:
    """Collect garbage now, and not while the clock runs."""
    enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
