# SPDX-License-Identifier: Apache-2.0
"""What can be chosen, the frontier, and the choice."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evit_deploy.errors import UsageError
from evit_deploy.models.zoo import MODELS
from evit_deploy.profiles.advise.choice import Choice, Timing, best_within, candidates, frontier
from evit_deploy.profiles.predict.published import published


def choice(ms: float, accuracy: float | None, *, spread: float = 0.0, model: str = "b1-seg") -> Choice:
    timing = Timing(ms, ms - spread, ms + spread)
    return Choice(model, MODELS[model].resolution, "Cityscapes mIoU", accuracy, "fp16", timing)


CHOICES = st.lists(
    st.builds(choice, st.floats(0.1, 100), st.one_of(st.none(), st.floats(1, 99)), spread=st.floats(0, 0.1)),
    max_size=12,
)


def test_every_model_and_every_published_accuracy_is_there() -> None:
    found = {(item.model, item.resolution): item for item in candidates()}
    assert {model for model, _ in found} == set(MODELS)
    for row in published():
        assert found[row.model, row.resolution].accuracy == row.accuracy
    for spec in MODELS.values():  # two sources of one number
        assert found[spec.name, spec.resolution].accuracy == spec.accuracy


def test_accuracy_at_resolutions_that_nobody_published_is_unknown() -> None:
    found = {item.resolution: item.accuracy for item in candidates("seg", "cityscapes") if item.model == "b1-seg"}
    assert found == {(512, 1024): None, (768, 1536): None, (1024, 2048): 80.547}
    assert [item.accuracy for item in candidates("cls") if item.model == "b0-cls"] == [None]


def test_sides_are_multiples_of_32_and_segment_anything_has_one_size() -> None:
    assert all(side % 32 == 0 for item in candidates() for side in item.resolution)
    assert len(candidates("sam")) == 5


@pytest.mark.parametrize(
    ("task", "dataset", "words"),
    [
        ("segment", None, "there is no task 'segment'"),
        (None, "coco", "there is no data set 'coco'"),
        ("cls", "cityscapes", "no model for the task 'cls' trained on 'cityscapes'"),
    ],
)
def test_what_there_is_not(task: str | None, dataset: str | None, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        candidates(task, dataset)


def test_a_frontier() -> None:
    slow, fast, beaten, unknown = choice(9, 80), choice(3, 70), choice(5, 60), choice(1, None)
    assert frontier([slow, beaten, unknown, fast]) == (fast, slow)
    assert frontier([]) == ()


@given(CHOICES)
def test_nothing_beats_the_frontier_and_it_beats_the_rest(choices: list[Choice]) -> None:
    best = frontier(choices)
    known = [one for one in choices if one.accuracy is not None]
    for one in known:
        beaten = [other for other in best if other.timing.ms <= one.timing.ms and other.accuracy >= one.accuracy]
        assert beaten
    for one in best:
        assert not any(
            (other.timing.ms <= one.timing.ms and other.accuracy > one.accuracy)
            or (other.timing.ms < one.timing.ms and other.accuracy >= one.accuracy)
            for other in known
        )  # fmt: skip


@given(CHOICES, st.floats(0.1, 120))
def test_the_best_within_a_budget(choices: list[Choice], budget: float) -> None:
    best = best_within(choices, budget)
    known = [one for one in choices if one.accuracy is not None]
    if best is None:
        assert all(one.timing.ms > budget for one in known)
        return
    assert best.timing.ms <= budget
    same = [one for one in known if one.fit(budget) == best.fit(budget)]
    assert best.accuracy == max(one.accuracy for one in same)
    assert best.fit(budget) == "fits" or all(one.fit(budget) != "fits" for one in known)


def test_fitting_for_sure_is_better_than_perhaps() -> None:
    sure, perhaps = choice(10, 70, spread=1), choice(14, 80, spread=3)
    assert best_within([sure, perhaps], 15) == sure
    assert best_within([perhaps], 15) == perhaps
    assert best_within([perhaps], 13) is None


def test_commands() -> None:
    own = choice(1, 70)
    assert own.commands("orin") == (
        "evit-deploy export b1-seg",
        "evit-deploy build b1-seg --target orin --fp16",
        "evit-deploy profile b1-seg.orin.fp16",
    )
    small = Choice("b2-cls", (288, 288), "ImageNet top-1", 83.0, "fp16", Timing(1, 1, 1))
    assert small.title == "b2-cls 288x288"
    assert small.commands("orin")[:2] == (
        "evit-deploy export b2-cls --resolution 288x288 --name b2-cls-288x288",
        "evit-deploy build b2-cls-288x288 --target orin --fp16",
    )
