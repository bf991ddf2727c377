# SPDX-License-Identifier: Apache-2.0
"""A difference is told from chance, also where calls in a row are alike."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evit_deploy.profiles.compare.significance import ENOUGH, Ratio, _resampled_medians, energy_ratio, latency_ratio
from evit_deploy.profiles.latency import Latency
from tests.profiles.records import make_latency, make_power


@pytest.mark.parametrize("wobble", [0.0, 0.05], ids=["independent calls", "calls alike within a round"])
def test_equal_runs_are_rarely_called_different(wobble: float) -> None:
    runs = [make_latency("", 10, seed=seed, wobble=wobble) for seed in range(80)]
    ratios = [latency_ratio(one, other) for one, other in zip(runs[::2], runs[1::2], strict=True)]
    assert sum(ratio.differs for ratio in ratios) <= 6  # 95 % of 40 are 38; 6 or more beyond that is one in a thousand


def test_calls_drawn_one_by_one_would_be_called_different() -> None:
    """Why rounds are drawn: the same runs, taken as independent calls, differ far too often."""
    wrong = 0
    for seed in range(40):
        one, other = (np.array(make_latency("", 10, seed=2 * seed + side, wobble=0.05).samples_ms) for side in (0, 1))
        random = np.random.default_rng(0)
        drawn = [np.median(random.choice(one, 100)) / np.median(random.choice(other, 100)) for _ in range(200)]
        low, high = np.percentile(drawn, [2.5, 97.5])
        wrong += not low < 1 < high
    assert wrong > 10


def test_a_real_difference_is_found() -> None:
    ratio = latency_ratio(make_latency("a", 10), make_latency("b", 11, seed=1))
    assert ratio.is_more
    assert ratio.value == pytest.approx(1.1, abs=0.03)
    assert ratio.low < 1.1 < ratio.high
    back = latency_ratio(make_latency("b", 11, seed=1), make_latency("a", 10))
    assert back.is_less


def test_the_same_profiles_give_the_same_interval() -> None:
    one, other = make_latency("a", 10), make_latency("b", 10, seed=1)
    assert latency_ratio(one, other) == latency_ratio(one, other)


def test_a_run_against_itself_does_not_differ() -> None:
    latency = make_latency("a", 10)
    ratio = latency_ratio(latency, latency)
    assert ratio.value == 1
    assert not ratio.differs


@given(st.lists(st.integers(1, 6), min_size=5, max_size=20), st.integers(0, 99))
def test_medians_are_those_of_the_rounds_that_were_drawn(sizes: list[int], seed: int) -> None:
    random = np.random.default_rng(seed)
    rounds = [random.integers(1, 9, size).astype(float) for size in sizes]
    found = _resampled_medians(rounds, np.random.default_rng(seed))
    drawn = np.random.default_rng(seed).multinomial(len(rounds), np.full(len(rounds), 1 / len(rounds)), len(found))
    for median, counts in list(zip(found, drawn, strict=True))[:20]:
        together = [block for block, count in zip(rounds, counts, strict=True) for _ in range(count)]
        assert median == np.median(np.concatenate(together))


@given(st.integers(1, ENOUGH - 1))
def test_few_rounds_give_no_interval(runs: int) -> None:
    ratio = latency_ratio(make_latency("a", 10), Latency("b", (20.0,) * runs))
    assert ratio == Ratio(ratio.value)
    assert not ratio.differs


def test_batches_are_compared_per_frame() -> None:
    one, four = Latency("a", (10.0,) * 40), Latency("b", (40.0,) * 40, frames=4)
    assert latency_ratio(one, four) == Ratio(1.0, 1.0, 1.0)


@given(st.floats(0.1, 1000), st.floats(0.01, 100))
def test_the_ratio_does_not_depend_on_the_unit(ms: float, factor: float) -> None:
    samples = np.linspace(1, 1.1, 40)
    one, other = Latency("a", tuple(ms * samples)), Latency("b", tuple(ms * factor * samples[::-1]))
    ratio = latency_ratio(one, other)
    assert ratio.value == pytest.approx(factor)
    assert ratio.low <= ratio.value * 1.05
    assert ratio.high >= ratio.value / 1.05


def test_energy_differs_only_beyond_its_errors() -> None:
    one = make_power(10, energy_mj=100.0, energy_sigma_mj=2.0)
    assert not energy_ratio(one, make_power(10, energy_mj=103.0, energy_sigma_mj=2.0)).differs
    assert energy_ratio(one, make_power(10, energy_mj=110.0, energy_sigma_mj=2.0)).is_more
    assert energy_ratio(one, make_power(10, energy_mj=90.0, energy_sigma_mj=2.0)).is_less
