# SPDX-License-Identifier: Apache-2.0
"""A board that throttles is found, in whatever way it slows down; one whose rounds only scatter is not."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evit_deploy.profiles.drift import ENOUGH, Drift, drift_of
from evit_deploy.profiles.latency import ROUNDS, Latency
from evit_deploy.profiles.remarks import drifting

TIMES = np.arange(ROUNDS)


def noise(random: np.random.Generator, sigma: float, alike: float = 0.0) -> np.ndarray:
    """Rounds that scatter, and of which neighbours may be alike (an AR(1) process)."""
    found = random.normal(0, sigma, ROUNDS)
    for index in range(1, ROUNDS):
        found[index] += alike * found[index - 1]
    return found


def found_of(shape: np.ndarray, sigma: float, alike: float = 0.0, runs: int = 300) -> float:
    """The part of many runs of a shape that are said to drift."""
    random = np.random.default_rng(0)
    return float(np.mean([drift_of(shape * np.exp(noise(random, sigma, alike))).matters for _ in range(runs)]))


def step(at: int) -> Callable[[float], np.ndarray]:
    return lambda rise: 1 + rise * (at <= TIMES)


def saturating(rounds: int) -> Callable[[float], np.ndarray]:
    return lambda rise: 1 + rise * (1 - np.exp(-TIMES / rounds))


def ramp(rise: float) -> np.ndarray:
    return 1 + rise * TIMES / (ROUNDS - 1)


@pytest.mark.parametrize("alike", [0.0, 0.5])
@pytest.mark.parametrize(
    ("shape", "rise"),
    [
        *((step(at), rise) for at in (10, 15, 16) for rise in (0.1, 0.2, 0.4)),
        *((step(17), rise) for rise in (0.2, 0.4)),
        *((saturating(rounds), rise) for rounds in (4, 5, 7, 10) for rise in (0.2, 0.3, 0.4)),
        *((ramp, rise) for rise in (0.1, 0.2, 0.4)),
    ],
)
def test_throttling_is_found(shape: Callable[[float], np.ndarray], rise: float, alike: float) -> None:
    """Of the runs of a board that slows down, whose rounds scatter by 1 %, nine of ten at least."""
    assert found_of(shape(rise), 0.01, alike) >= 0.9


@pytest.mark.parametrize(("alike", "most"), [(0.0, 0.005), (0.5, 0.03), (0.7, 0.08)])
def test_false_alarms_are_few(alike: float, most: float) -> None:
    assert found_of(np.ones(ROUNDS), 0.05, alike, runs=2000) <= most


def test_the_worse_it_is_the_surer_it_is_found() -> None:
    drifts = [drift_of(step(10)(rise) * np.exp(noise(np.random.default_rng(1), 0.01))) for rise in (0.1, 0.4, 2.0)]
    assert [drift.change for drift in drifts] == pytest.approx([0.1, 0.4, 2.0], abs=0.03)
    assert max(drift.sigma for drift in drifts) == pytest.approx(min(drift.sigma for drift in drifts), rel=0.2)


@given(st.integers(ENOUGH, 60), st.floats(0.5, 2.0), st.floats(1e-3, 1e4))
def test_a_step_is_found_exactly(rounds: int, factor: float, start: float) -> None:
    drift = drift_of([start * (factor if index >= rounds // 2 else 1) for index in range(rounds)])
    assert drift.change == pytest.approx(factor - 1, abs=1e-9)
    assert drift.sigma == pytest.approx(0, abs=1e-9)
    assert drift.matters == (abs(drift.change) > 0.03)


@given(st.integers(ENOUGH, 60), st.floats(1e-3, 1e4))
def test_what_does_not_change_does_not_drift(rounds: int, value: float) -> None:
    drift = drift_of([value] * rounds)
    assert (drift.change, drift.sigma) == pytest.approx((0, 0), abs=1e-9)
    assert not drift.matters


@given(st.lists(st.floats(1e-3, 1e5), min_size=ENOUGH, max_size=60), st.floats(1e-3, 1e3))
def test_it_has_no_unit_and_is_always_a_number(medians: list[float], scale: float) -> None:
    drift, scaled = drift_of(medians), drift_of([value * scale for value in medians])
    assert math.isfinite(drift.change)
    assert math.isfinite(drift.sigma)
    assert scaled.change == pytest.approx(drift.change, rel=1e-6, abs=1e-6)


def test_too_few_rounds_say_nothing() -> None:
    assert drift_of([1.0] * (ENOUGH - 1)) is None
    assert Latency("x", (1.0, 2.0)).drift is None


@pytest.mark.parametrize("place", [0, 9, -2, -1])
def test_one_slow_round_is_no_drift(place: int) -> None:
    medians = [1.0] * ROUNDS
    medians[place] = 1.5
    assert not drift_of(medians).matters


def test_heat_is_told_in_words() -> None:
    random = np.random.default_rng(1)
    rounds = 10 * 1.2 ** np.linspace(0, 1, ROUNDS)
    samples = tuple(float(value) for round_ in rounds for value in round_ * random.lognormal(0, 0.02, 5))
    hot, cool = Latency("engine infer", samples), Latency("PyTorch", (5.0,) * 100)
    assert hot.drift.change == pytest.approx(0.15, abs=0.05)  # three quarters of the way
    (text,) = drifting([hot, cool])
    assert text.startswith(f"engine infer drifted: the last quarter of its rounds was {hot.drift} than the first, ")
    assert f"scatter by {100 * hot.drift.sigma:.1f} %." in text
    assert str(Drift(-0.125, 0.01)) == "12.5 % faster"
    assert hot.to_json()["drift"] == {"change": hot.drift.change, "sigma": hot.drift.sigma}
