# SPDX-License-Identifier: Apache-2.0
"""Statistics of latencies, and how several things are timed in one run."""

from __future__ import annotations

import gc
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evit_deploy.profiles import latency
from evit_deploy.profiles.latency import (
    ROUNDS,
    WARM_UP_CALLS,
    Call,
    Latency,
    Subject,
    block_sizes,
    blocks,
    measure_together,
    ratio_range,
)


def measure(call: Call, name: str, runs: int, *, warm_up_seconds: float) -> Latency:
    """Time one thing by itself."""
    return measure_together([Subject(name, call, runs)], warm_up_seconds=warm_up_seconds)[0]


times = st.lists(st.floats(1e-3, 1e5), min_size=1, max_size=300)


@given(times, st.integers(1, 8))
def test_statistics_are_ordered_and_within_the_samples(samples: list[float], frames: int) -> None:
    item = Latency("x", tuple(samples), frames)
    low, high = min(samples), max(samples)
    slack = 1e-9 * high
    assert low - slack <= item.p50 <= item.p90 + slack <= item.p99 + 2 * slack <= item.max + 3 * slack
    assert item.max == high
    assert low - slack <= item.mean <= high + slack
    assert item.throughput == pytest.approx(frames * len(samples) / (sum(samples) / 1000))


@given(times)
def test_statistics_do_not_depend_on_the_order(samples: list[float]) -> None:
    one, other = Latency("x", tuple(samples)), Latency("x", tuple(sorted(samples)))
    assert one.p50 == other.p50 == pytest.approx(np.median(samples))
    assert one.p99 == other.p99


def test_percentiles_of_known_samples() -> None:
    item = Latency("x", tuple(float(value) for value in range(1, 102)))
    assert (item.p50, item.p90, item.p99, item.max) == (51, 91, 100, 101)


@given(st.integers(0, 1000))
def test_blocks_are_even_and_sum_to_the_runs(runs: int) -> None:
    sizes = block_sizes(runs)
    assert len(sizes) == ROUNDS
    assert sum(sizes) == runs
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("runs", [1, 5, 7, 20, 33, 100])
def test_few_calls_are_spread_over_the_whole_run(runs: int) -> None:
    """Between any two rounds, so many calls as belong to the time that passed, give or take one."""
    done = np.cumsum(block_sizes(runs))
    assert abs(done - runs * (np.arange(ROUNDS) + 1) / ROUNDS).max() <= 0.5


def test_five_slow_calls_meet_the_whole_run() -> None:
    assert [index for index, size in enumerate(block_sizes(5)) if size] == [1, 5, 9, 13, 17]


@given(st.integers(1, 200))
def test_samples_are_split_as_they_were_taken(runs: int) -> None:
    found = blocks(Latency("x", tuple(float(index + 1) for index in range(runs))))
    assert [len(block) for block in found] == block_sizes(runs)
    assert np.concatenate(found).tolist() == [index + 1 for index in range(runs)]


def test_the_ratio_is_of_the_rounds_that_both_ran_in() -> None:
    """A machine that doubles its times in the middle of the run slows both: their ratio stays."""
    fast = Latency("fast", tuple(1.0 if index < 50 else 2.0 for index in range(100)))
    slow = Latency("slow", (10.0, 10.0, 10.0, 20.0, 20.0))  # rounds 1, 5, 9, 13, 17 of 0 to 19
    assert ratio_range(slow, fast) == pytest.approx((10, 10))


@given(st.lists(st.floats(1e-3, 1e5), min_size=ROUNDS, max_size=100), st.floats(0.1, 100))
def test_the_ratio_of_a_multiple_is_that_multiple(samples: list[float], factor: float) -> None:
    fast = Latency("fast", tuple(samples))
    slow = Latency("slow", tuple(value * factor for value in samples))
    assert ratio_range(slow, fast) == pytest.approx((factor, factor))


def test_measure_times_what_it_says() -> None:
    item = measure(lambda: time.sleep(0.002), "sleep", 5, warm_up_seconds=0.0)
    assert item.runs == 5
    assert all(2 <= sample < 500 for sample in item.samples_ms)


def test_subjects_alternate_in_short_blocks_after_warming_up() -> None:
    log: list[str] = []
    subjects = [Subject("a", lambda: log.append("a"), 40), Subject("b", lambda: log.append("b"), 20)]
    rounds = []
    a, b = measure_together(subjects, lambda: rounds.append(len(log)), warm_up_seconds=0.0)
    assert (a.runs, b.runs) == (40, 20)
    assert log[: 2 * WARM_UP_CALLS] == ["a"] * WARM_UP_CALLS + ["b"] * WARM_UP_CALLS
    # Each block: one untimed call, then its share; the order turns round every time.
    forward, backward = ["a"] * 3 + ["b"] * 2, ["b"] * 2 + ["a"] * 3
    assert log[2 * WARM_UP_CALLS :] == (forward + backward) * (ROUNDS // 2)
    assert len(rounds) == ROUNDS


def test_warm_up_lasts_for_the_time_asked() -> None:
    calls = []
    start = time.perf_counter()
    measure(lambda: calls.append(time.sleep(0.001)), "x", 1, warm_up_seconds=0.1)
    assert len(calls) > WARM_UP_CALLS
    assert time.perf_counter() - start >= 0.1


@pytest.mark.parametrize(("slow_runs", "expected"), [(20, 20), (None, 30)])
def test_a_slow_subject_may_run_less_often(
    monkeypatch: pytest.MonkeyPatch, slow_runs: int | None, expected: int
) -> None:
    monkeypatch.setattr(latency, "SLOW_SECONDS", 0.0005)
    subjects = [Subject("slow", lambda: time.sleep(0.001), 30, slow_runs), Subject("fast", lambda: None, 30, 20)]
    slow, fast = measure_together(subjects, warm_up_seconds=0.0)
    assert (slow.runs, fast.runs) == (expected, 30)


def test_the_collector_sleeps_while_the_clock_runs_and_wakes_after_an_error() -> None:
    seen = []
    measure(lambda: seen.append(gc.isenabled()), "x", 3, warm_up_seconds=0.0)
    assert not any(seen)
    assert gc.isenabled()
    with pytest.raises(ZeroDivisionError):
        measure(lambda: 1 // 0, "x", 3, warm_up_seconds=0.0)
    assert gc.isenabled()
