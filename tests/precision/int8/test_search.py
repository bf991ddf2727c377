# SPDX-License-Identifier: Apache-2.0
"""The search: never outside the goal, near the optimum, the same again, in time."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evit_deploy.precision.int8.curve import Goal, Outcome, Score
from evit_deploy.precision.int8.journal import Journal
from evit_deploy.precision.int8.search import search
from tests.precision.int8.doubles import (
    KnownJudge,
    PricedOracle,
    additive,
    assignments,
    in_quadrature,
    make_layers,
    optimum,
)

MANY = 24
Rule = Callable[[frozenset[str]], float]


@dataclasses.dataclass(frozen=True)
class Case:
    """A small problem with all answers known."""

    oracle: PricedOracle
    rule: Rule
    goal: Goal

    def solve(self, **options: object) -> Outcome:
        return search(self.oracle.layers, self.oracle, KnownJudge(self.rule), self.goal, **options)

    @property
    def best(self) -> float:
        """The optimum; 1 where FP16 is."""
        return optimum(self.oracle.layers, self.oracle, self.rule, self.goal) or 1.0


@st.composite
def cases(draw: st.DrawFn, most: int = 6) -> Case:
    """Gains and losses of some layers, additive or not."""
    count = draw(st.integers(1, most))
    layers = make_layers(count, per_block=draw(st.integers(1, 3)))
    gains = draw(st.lists(st.floats(-0.5, 1.2), min_size=count, max_size=count))
    drops = draw(st.lists(st.floats(0, 1), min_size=count, max_size=count))
    oracle = PricedOracle(layers, gains, border=draw(st.sampled_from([0.0, 0.1, 0.4])))
    rule = draw(st.sampled_from([additive, in_quadrature]))(layers, drops)
    return Case(oracle, rule, Goal(draw(st.floats(0, 2))))


def erratic(layers: tuple[object, ...], salt: int) -> Rule:
    """Losses that follow no rule, and are sometimes gains: what few frames tell."""
    return lambda chosen: (sum((hash_of(name, salt) % 1000) / 1000 for name in sorted(chosen)) % 1.5) - 0.2


def hash_of(name: str, salt: int) -> int:
    """A number for a name, the same in every process."""
    return int.from_bytes(f"{salt}{name}".encode(), "big") * 2654435761 % (1 << 32)


@given(cases())
def test_what_is_chosen_is_within_the_goal_and_faster_than_fp16(case: Case) -> None:
    chosen = case.solve().chosen
    if chosen is not None:
        assert case.rule(frozenset(chosen.layers)) == pytest.approx(chosen.score.drop)
        assert case.goal.allows(chosen.score)
        assert chosen.cost.ratio < 1
        assert chosen.cost == case.oracle.cost(chosen.layers)


@given(cases(), st.integers(0, 1000), st.booleans())
def test_erratic_judges_lead_nowhere_else(case: Case, salt: int, allow_slower: bool) -> None:
    erring = dataclasses.replace(case, rule=erratic(case.oracle.layers, salt))
    outcome = erring.solve(allow_slower=allow_slower)
    if outcome.chosen is not None:
        assert erring.goal.allows(outcome.chosen.score)
        assert allow_slower or outcome.chosen.cost.ratio < 1
    cheapest = [one for one in outcome.curve if erring.goal.allows(one.score) and (allow_slower or one.cost.ratio < 1)]
    assert outcome.chosen == (cheapest[0] if cheapest else None)


@pytest.mark.parametrize("sum_up", [additive, in_quadrature])
@pytest.mark.parametrize("border", [0.0, 0.1, 0.4])
def test_near_the_optimum(sum_up: Callable[..., Rule], border: float) -> None:
    """Of the gain that is possible: nearly all of it on average, all of it mostly."""
    draw, shares = random.Random(3), []
    for _ in range(60):
        layers = make_layers(count := draw.randint(3, 6), per_block=draw.randint(1, 3))
        oracle = PricedOracle(layers, [draw.uniform(-0.3, 1.2) for _ in range(count)], border)
        rule = sum_up(layers, [draw.uniform(0, 1) for _ in range(count)])
        case = Case(oracle, rule, Goal(draw.uniform(0, 2)))
        if case.best < 1:
            chosen = case.solve().chosen
            found = 1.0 if chosen is None else chosen.cost.ratio
            assert found >= case.best - 1e-12
            shares.append((1 - found) / (1 - case.best))
    assert len(shares) > 30
    assert sum(shares) / len(shares) > 0.97
    assert sum(share > 1 - 1e-9 for share in shares) / len(shares) > 0.9


@given(st.lists(st.floats(0.01, 0.1), min_size=MANY, max_size=MANY), st.integers(0, MANY - 1), st.floats(0.1, 0.9))
def test_one_bad_layer_is_found(drops: list[float], bad: int, border: float) -> None:
    """The usual case: everything pays, and one layer alone loses what must not be lost."""
    layers = make_layers(MANY)
    drops[bad] = 3.0
    oracle = PricedOracle(layers, [0.3] * MANY, border / 10)
    outcome = search(layers, oracle, KnownJudge(additive(layers, drops)), Goal(2.9))
    assert outcome.chosen is not None
    assert set(outcome.chosen.layers) == {layer.name for layer in layers} - {layers[bad].name}


def test_everything_where_all_pays_and_nothing_is_lost() -> None:
    layers = make_layers(9)
    judge = KnownJudge(additive(layers, [0.01] * 9))
    outcome = search(layers, PricedOracle(layers, [0.5] * 9), judge, Goal(0.5))
    assert outcome.chosen == outcome.full
    assert outcome.chosen.layers == tuple(layer.name for layer in layers)
    assert len(judge.asked) == 1 + 9, "everything once, and each alone"
    assert [one.name for one in outcome.sensitivity] == [layer.name for layer in layers]
    assert outcome.complete


def test_layers_that_cost_are_left_out_without_asking_the_judge() -> None:
    layers = make_layers(6, per_block=1)
    judge = KnownJudge(additive(layers, [0.0] * 6))
    outcome = search(layers, PricedOracle(layers, [0.5, -0.1, 0.5, 0.5, -0.2, 0.5]), judge, Goal(0.5))
    assert outcome.chosen is not None
    assert [layers.index(one) for one in layers if one.name in outcome.chosen.layers] == [0, 2, 3, 5]
    assert len([asked for asked in judge.asked if asked[1] is None]) == 2


def test_a_block_that_pays_only_as_a_whole_is_kept_or_taken_back_as_a_whole() -> None:
    """Each border costs more than a layer gains, so that a part of a block never pays."""
    layers = make_layers(6, per_block=3)
    oracle = PricedOracle(layers, [0.5] * 6, border=0.6)
    drops = [0.6, 0.0, 0.0, 0.1, 0.1, 0.1]
    outcome = search(layers, oracle, KnownJudge(additive(layers, drops)), Goal(0.5))
    assert outcome.chosen is not None
    assert set(outcome.chosen.layers) <= {layer.name for layer in layers[1:]}
    assert {layer.name for layer in layers[3:]} <= set(outcome.chosen.layers)
    assert outcome.chosen.cost.ratio == optimum(layers, oracle, additive(layers, drops), Goal(0.5))


def test_where_nothing_pays_fp16_stays() -> None:
    layers = make_layers(6)
    judge = KnownJudge(additive(layers, [0.0] * 6))
    oracle = PricedOracle(layers, [-0.1] * 6, border=0.2)
    outcome = search(layers, oracle, judge, Goal(0.5))
    assert outcome.chosen is None
    assert outcome.reason == "INT8 does not pay: the fastest assignment found takes 1.10 × the time of FP16"
    slower = search(layers, oracle, judge, Goal(0.5), allow_slower=True).chosen
    assert slower is not None
    assert slower.cost.ratio > 1


def test_a_goal_that_cannot_be_met_gives_numbers() -> None:
    layers = make_layers(6)
    outcome = search(layers, PricedOracle(layers, [0.5] * 6), KnownJudge(lambda _: 7.25), Goal(0.5, 0.01))
    assert outcome.chosen is None
    assert outcome.complete
    assert "loses at most 0.5 points and a relative error of 0.01" in outcome.reason
    assert "lose 7.25 points with an error of 0.362" in outcome.reason


@pytest.mark.parametrize("broken", [Score(float("nan"), 0, float("inf"), 4), Score(-1.0, 0, float("inf"), 4)])
def test_answers_that_are_not_finite_are_never_within_a_goal(broken: Score) -> None:
    layers = make_layers(3)
    outcome = search(layers, PricedOracle(layers, [0.5] * 3), lambda *_: broken, Goal(0.5))
    assert outcome.chosen is None


def test_a_graph_without_layers() -> None:
    outcome = search((), PricedOracle((), ()), KnownJudge(lambda _: 0.0), Goal(0.5))
    assert (outcome.chosen, outcome.curve) == (None, ())
    assert outcome.reason == "none of its convolutions may be INT8"


def test_an_error_budget_is_kept_as_well() -> None:
    layers = make_layers(8, per_block=1)
    rule = additive(layers, [0.1] * 8)  # a judge's error is a twentieth of its drop
    outcome = search(layers, PricedOracle(layers, [0.5] * 8), KnownJudge(rule), Goal(100.0, 0.02))
    assert outcome.chosen is not None
    assert len(outcome.chosen.layers) == 4


def wide(border: float = 0.1) -> Case:
    """A problem that takes many questions."""
    layers = make_layers(MANY)
    gains = [0.1 + 0.05 * (7 * index % 5) for index in range(MANY)]
    rule = in_quadrature(layers, [0.05 + 0.04 * (11 * index % 7) for index in range(MANY)])
    return Case(PricedOracle(layers, gains, border), rule, Goal(0.45))


def test_the_same_again() -> None:
    assert wide().solve() == wide().solve()


def test_interrupted_anywhere_and_resumed_it_ends_the_same(tmp_path: Path) -> None:
    case = wide()
    whole = KnownJudge(case.rule)
    expected = search(case.oracle.layers, case.oracle, whole, case.goal)
    assert len(set(whole.asked)) == len(whole.asked), "nothing is judged twice"
    for stop in range(0, len(whole.asked), 3):
        path = tmp_path / f"{stop}.jsonl"
        with pytest.raises(KeyboardInterrupt):
            search(
                case.oracle.layers, case.oracle, KnownJudge(case.rule, stop), case.goal, journal=Journal(path, "key")
            )
        rest = KnownJudge(case.rule)
        resumed = search(case.oracle.layers, case.oracle, rest, case.goal, journal=Journal(path, "key"))
        assert resumed == expected
        assert rest.asked == whole.asked[stop:]


def test_interrupted_again_and_again(tmp_path: Path) -> None:
    case, path = wide(), tmp_path / "journal.jsonl"
    for _ in range(100):
        try:
            outcome = search(
                case.oracle.layers, case.oracle, KnownJudge(case.rule, 2), case.goal, journal=Journal(path, "key")
            )
            break
        except KeyboardInterrupt:
            continue
    assert outcome == case.solve()


def test_a_journal_of_another_key_is_not_used(tmp_path: Path) -> None:
    case, path = wide(), tmp_path / "journal.jsonl"
    case.solve(journal=Journal(path, "another graph"))
    harmless = KnownJudge(lambda _: 0.0)
    outcome = search(case.oracle.layers, case.oracle, harmless, case.goal, journal=Journal(path, "key"))
    assert outcome.chosen == outcome.full
    assert len(harmless.asked) == 1 + MANY


class Watch:
    """A clock that every judgement moves on."""

    def __init__(self, rule: Rule, each: float) -> None:
        self.now, self.each, self.judge = 100.0, each, KnownJudge(rule)

    def __call__(self) -> float:
        return self.now

    def judging(self, layers: frozenset[str], frames: int | None = None) -> Score:
        self.now += self.each
        return self.judge(layers, frames)


@pytest.mark.parametrize("seconds", [0.0, 1.0, 13.0, 20.0, 33.0, 60.0, 1000.0])
def test_time_is_kept_and_what_was_judged_counts(seconds: float) -> None:
    case = wide()
    watch = Watch(case.rule, each=1.0)
    outcome = search(
        case.oracle.layers, case.oracle, watch.judging, case.goal, minutes=seconds / 60, clock=watch,
    )  # fmt: skip
    assert watch.now - 100 <= max(seconds, 1)
    assert outcome.full.score.drop == pytest.approx(case.rule(frozenset(outcome.full.layers)))
    assert outcome.complete == (watch.now - 100 < seconds)
    if outcome.chosen is None:
        assert "when time was up" in outcome.reason
    else:
        assert case.goal.allows(outcome.chosen.score)


def test_once_each_layer_was_judged_more_time_never_gives_less() -> None:
    case, ratios = wide(), []
    for seconds in range(2 * (MANY + 1), 80, 3):
        watch = Watch(case.rule, each=1.0)
        options = {"minutes": seconds / 60, "clock": watch}
        chosen = search(case.oracle.layers, case.oracle, watch.judging, case.goal, **options).chosen
        ratios.append(1.0 if chosen is None else chosen.cost.ratio)
    assert ratios == sorted(ratios, reverse=True)
    assert ratios[-1] < 0.9


def test_what_is_known_takes_no_time(tmp_path: Path) -> None:
    case, path = wide(), tmp_path / "journal.jsonl"
    expected = case.solve(journal=Journal(path, "key"))
    assert case.solve(journal=Journal(path, "key"), minutes=0.0) == expected


def test_questions_are_few() -> None:
    """At 60 layers and 20 s for 32 frames, half an hour is 90 questions beside the layers alone."""
    layers = make_layers(60)
    gains = [0.02 + 0.01 * (7 * index % 5) for index in range(60)]
    judge = KnownJudge(in_quadrature(layers, [0.05 + 0.04 * (11 * index % 7) for index in range(60)]))
    oracle = PricedOracle(layers, gains, 0.01)
    outcome = search(layers, oracle, judge, Goal(0.6))
    assert outcome.complete
    assert outcome.chosen is not None
    assert len([1 for _, frames in judge.asked if frames is None]) <= 60
    assert oracle.asked < 60_000


def test_assignments_are_all() -> None:
    assert len(list(assignments(make_layers(5)))) == 31
