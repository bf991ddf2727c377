# SPDX-License-Identifier: Apache-2.0
"""Where values are cut off."""

from __future__ import annotations

import numpy as np
import pytest

from evit_deploy.precision.int8.clip import METHODS, RULES, choose_clip, entropy, min_max, percentile, relative_error
from evit_deploy.precision.int8.histogram import Histogram
from evit_deploy.precision.int8.weights import LEVELS

DRAW = np.random.default_rng(3)
SAMPLES = {
    "normal": DRAW.standard_normal(200_000),
    "uniform": DRAW.uniform(-2, 2, 200_000),
    "outliers": np.append(DRAW.standard_normal(200_000), [300.0, -250.0]),
    "half zero": np.maximum(DRAW.standard_normal(200_000), 0),
    "heavy tail": DRAW.standard_t(3, 200_000),
}


def histogram_of(values: np.ndarray) -> Histogram:
    histogram = Histogram()
    histogram.add(values.astype(np.float32), float(np.abs(values).max()))
    return histogram


def true_error(values: np.ndarray, clip: float) -> float:
    step = clip / LEVELS
    rounded = np.clip(np.rint(values / step), -LEVELS, LEVELS) * step
    return float(np.sqrt(((values - rounded) ** 2).sum() / (values**2).sum()))


@pytest.mark.parametrize("name", SAMPLES)
@pytest.mark.parametrize("rule", RULES)
def test_the_error_is_that_of_quantising(name: str, rule: str) -> None:
    histogram = histogram_of(SAMPLES[name])
    clip = RULES[rule](histogram)
    assert 0 < clip <= histogram.largest
    assert relative_error(histogram, clip) == pytest.approx(true_error(SAMPLES[name], clip), rel=0.15, abs=1e-3)


@pytest.mark.parametrize("name", SAMPLES)
def test_auto_takes_the_least_error(name: str) -> None:
    histogram = histogram_of(SAMPLES[name])
    rule, clip, errors = choose_clip(histogram, "auto")
    assert errors[rule] == min(errors.values()) and set(errors) == set(RULES)
    assert clip == RULES[rule](histogram)


@pytest.mark.parametrize("method", [method for method in METHODS if method != "auto"])
def test_a_named_rule_is_taken(method: str) -> None:
    rule, clip, _ = choose_clip(histogram_of(SAMPLES["outliers"]), method)
    assert rule == method and clip == RULES[method](histogram_of(SAMPLES["outliers"]))


def test_outliers_move_min_max_alone() -> None:
    histogram = histogram_of(SAMPLES["outliers"])
    assert min_max(histogram) == 300
    assert 3 < percentile(histogram) < 6 and entropy(histogram) < 60


def test_no_rule_is_best_for_all() -> None:
    assert len({choose_clip(histogram_of(values), "auto")[0] for values in SAMPLES.values()}) > 1


def test_a_uniform_distribution_is_not_cut() -> None:
    assert choose_clip(histogram_of(SAMPLES["uniform"]), "auto")[1] > 1.99
    assert entropy(histogram_of(SAMPLES["uniform"])) > 1.9


def test_one_single_value() -> None:
    """A tensor that is the same everywhere has some range, and no error to speak of."""
    rule, clip, errors = choose_clip(histogram_of(np.full(100, 0.7)), "auto")
    assert 0 < clip <= 0.7 + 1e-6 and errors[rule] < 0.02
