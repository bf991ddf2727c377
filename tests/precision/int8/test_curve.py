# SPDX-License-Identifier: Apache-2.0
"""What a goal allows."""

from __future__ import annotations

import pytest

from evit_deploy.precision.int8.curve import Goal, Score

INFINITE, NAN = float("inf"), float("nan")


@pytest.mark.parametrize(
    ("goal", "drop", "error", "allowed"),
    [
        (Goal(), 0.5, 0.3, True), (Goal(), 0.5001, 0.0, False), (Goal(), -0.3, 0.3, True), (Goal(0.0), 0.0, 0.1, True),
        (Goal(1.0, 0.05), 1.0, 0.05, True), (Goal(1.0, 0.05), 0.0, 0.051, False), (Goal(1.0, 0.05), 1.1, 0.0, False),
        (Goal(100.0), NAN, 0.0, False), (Goal(100.0), 0.0, INFINITE, False), (Goal(100.0), 0.0, NAN, False),
    ],
)  # fmt: skip
def test_what_is_within(goal: Goal, drop: float, error: float, allowed: bool) -> None:
    assert goal.allows(Score(drop, 0.99, error, 32)) is allowed


def test_the_measured_value_decides_whatever_its_spread() -> None:
    assert Goal(0.5).allows(Score(0.49, 0.99, 0.02, 4, spread=0.4))


def test_words() -> None:
    assert Goal().words == "0.5 points"
    assert Goal(0.25, 0.05).words == "0.25 points and a relative error of 0.05"
