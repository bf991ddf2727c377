# SPDX-License-Identifier: Apache-2.0
"""A trend is found where there is one, however noisy the rounds, and not where there is none."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evit_deploy.profiles.drift import ENOUGH, Drift, drift_of
from evit_deploy.profiles.latency import ROUNDS, Latency
from evit_deploy.profiles.remarks import drifting


@given(st.integers(ENOUGH, 60), st.floats(0.5, 2.0), st.floats(1e-3, 1e4))
def test_a_steady_drift_is_found_exactly(rounds: int, factor: float, start: float) -> None:
    drift = drift_of(start * factor ** np.linspace(0, 1, rounds))
    assert drift.change == pytest.approx(factor - 1, abs=1e-9)
    assert drift.sigma == pytest.approx(0, abs=1e-6)


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


@pytest.mark.parametrize("alike", [0.0, 0.5])
def test_the_error_is_honest(alike: float) -> None:
    """Rounds without a trend, of which neighbours may be alike: of 1000 runs few are said to drift."""
    draw = np.random.default_rng(0)
    wrong = 0
    for _ in range(1000):
        noise = draw.normal(0, 0.05, ROUNDS)
        for index in range(1, ROUNDS):
            noise[index] += alike * noise[index - 1]
        wrong += drift_of(np.exp(noise)).matters
    assert wrong < 30


def test_one_slow_round_is_no_drift() -> None:
    medians = [1.0] * ROUNDS
    medians[-2] = 1.5
    assert not drift_of(medians).matters


def test_heat_is_told_in_words() -> None:
    random = np.random.default_rng(1)
    rounds = 10 * 1.2 ** np.linspace(0, 1, ROUNDS)
    samples = tuple(float(value) for round_ in rounds for value in round_ * random.lognormal(0, 0.02, 5))
    hot, cool = Latency("engine infer", samples), Latency("PyTorch", (5.0,) * 100)
    assert hot.drift.change == pytest.approx(0.2, abs=0.05)
    (text,) = drifting([hot, cool])
    assert text.startswith("engine infer drifted: the last round was ")
    assert "% slower (± " in text
    assert str(Drift(-0.125, 0.01)) == "12.5 % faster (± 1.0 %)"
    assert hot.to_json()["drift"] == {"change": hot.drift.change, "sigma": hot.drift.sigma}
