# SPDX-License-Identifier: Apache-2.0
"""Statistics of readings that depend on one another, on series whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from evit_deploy.profiles.power.steady import standard_error, steady_start

COUNT, SERIES = 300, 300


def noise(memory: float, generator: np.random.Generator) -> np.ndarray:
    """An autoregressive series: every value is `memory` of the one before, and something new."""
    values = generator.normal(size=COUNT + 100)
    for index in range(1, len(values)):
        values[index] += memory * values[index - 1]
    return values[100:]


@pytest.mark.parametrize("memory", [-0.5, 0.0, 0.5, 0.8, 0.9])
def test_the_standard_error_is_the_spread_of_means(memory: float) -> None:
    generator = np.random.default_rng(3)
    series = [noise(memory, generator) for _ in range(SERIES)]
    spread = np.std([values.mean() for values in series])
    assert np.mean([standard_error(values) for values in series]) == pytest.approx(spread, rel=0.2)


def test_independent_readings_have_the_textbook_standard_error() -> None:
    values = np.random.default_rng(4).normal(20, 2, 4000)
    assert standard_error(values) == pytest.approx(2 / 4000**0.5, rel=0.15)


def test_a_counter_is_known_to_one_of_its_steps() -> None:
    """Differences of a counter that moves in steps: what one reading has too much, the next one lacks."""
    counter = np.floor(np.arange(201) * 1.37)
    steps = np.diff(counter)
    assert 0 < standard_error(steps) < 0.1 * steps.std()


@given(arrays(np.float64, st.integers(2, 200), elements=st.floats(0, 1000)))
def test_no_series_makes_either_fail(values: np.ndarray) -> None:
    assert 0 <= standard_error(values) <= values.std() * len(values)
    start = steady_start(values)
    assert start is None or 0 <= start <= len(values) // 2 + 5


SAMPLES = np.arange(200)
SHAPES = {
    "flat": (20 + 0 * SAMPLES, (0, 60)),
    "warms up": (20 - 10 * np.exp(-SAMPLES / 10), (25, 95)),
    "starts late": (np.where(SAMPLES < 30, 10.0, 20.0), (30, 95)),
    "one reading of the time before": (np.where(SAMPLES < 1, 5.0, 20.0), (1, 60)),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_the_beginning_is_thrown_away(shape: str) -> None:
    curve, (low, high) = SHAPES[shape]
    generator = np.random.default_rng(5)
    starts = [steady_start(curve + generator.normal(0, 0.3, len(curve))) for _ in range(100)]
    steady = [start for start in starts if start is not None]
    assert len(steady) >= 95
    assert np.mean([low <= start <= high for start in steady]) >= 0.9
    assert np.mean([curve[start:].mean() for start in steady]) == pytest.approx(20, rel=0.005)


@pytest.mark.parametrize(
    "curve",
    [20 + SAMPLES / 50, 20 - 10 * np.exp(-SAMPLES / 100), np.where(SAMPLES < 120, 10.0, 20.0)],
    ids=["rises all the time", "warms up slowly", "starts after the middle"],
)
def test_power_that_changes_all_the_time_is_not_steady(curve: np.ndarray) -> None:
    generator = np.random.default_rng(6)
    assert all(steady_start(curve + generator.normal(0, 0.1, len(curve))) is None for _ in range(50))


@pytest.mark.parametrize("count", [0, 1, 19])
def test_few_readings_are_not_steady(count: int) -> None:
    assert steady_start(np.full(count, 20.0)) is None
