# SPDX-License-Identifier: Apache-2.0
"""Layers alone: few frames, until time is up; and what the search makes of it."""

from __future__ import annotations

import pytest

from evit_deploy.precision.int8.curve import LayerSensitivity, Score
from evit_deploy.precision.int8.moves import moves_of
from evit_deploy.precision.int8.sensitivity import FRAMES, damage, measure_sensitivity
from evit_deploy.progress import silent
from tests.precision.int8.doubles import KnownJudge, additive, make_layers

LAYERS = make_layers(7)


def test_each_layer_alone_in_the_order_of_the_graph() -> None:
    judge = KnownJudge(additive(LAYERS, [0.1 * index for index in range(7)]))
    found = measure_sensitivity(LAYERS, judge, lambda *_: True, silent)
    assert [one.name for one in found] == [layer.name for layer in LAYERS]
    assert [one.score.drop for one in found] == [pytest.approx(0.1 * index) for index in range(7)]
    assert judge.asked == [(frozenset({layer.name}), FRAMES) for layer in LAYERS]


def test_it_ends_with_the_time() -> None:
    judge = KnownJudge(lambda _: 0.0)
    found = measure_sensitivity(LAYERS, judge, lambda alone, frames: len(judge.asked) < 3, silent)
    assert len(found) == len(judge.asked) == 3


def sensitivity(name: str, drop: float, agreement: float, error: float) -> LayerSensitivity:
    return LayerSensitivity(name, Score(drop, agreement, error, FRAMES))


def test_harm_is_what_changes_not_whether_luck_made_it_right() -> None:
    names = [layer.name for layer in LAYERS]
    lucky, unlucky = sensitivity(names[0], -0.8, 0.99, 0.06), sensitivity(names[1], 0.3, 0.999, 0.01)
    harm = damage([lucky, unlucky], LAYERS)
    assert harm[names[0]] > 10 * harm[names[1]] > 0


def test_layers_that_were_not_judged_count_as_the_others_do() -> None:
    names = [layer.name for layer in LAYERS]
    harm = damage([sensitivity(names[0], 0, 1.0, 0.1), sensitivity(names[1], 0, 1.0, 0.3)], LAYERS)
    assert harm[names[5]] == pytest.approx((0.01 + 0.09) / 2)
    assert set(damage([], LAYERS).values()) == {1.0}


def test_moves_are_blocks_and_single_layers() -> None:
    moves = moves_of(LAYERS)
    assert [sorted(move) for move in moves[:2]] == [
        [f"block{block}.main.conv{place}" for place in range(3)] for block in range(2)
    ]
    assert moves[2:] == tuple(frozenset({layer.name}) for layer in LAYERS)
    assert all(len(move) == 1 for move in moves_of(make_layers(4, per_block=1)))
