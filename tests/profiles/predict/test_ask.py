# SPDX-License-Identifier: Apache-2.0
"""Questions, and one thing changed about them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from evit_deploy.errors import UsageError
from evit_deploy.profiles.predict import PREDICTED, Asked, ask, predict, predict_changes
from evit_deploy.profiles.predict.ask import change_of
from tests.profiles.predict.made import subject

ORIN = Asked("orin")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What sources are asked for, which answer with a made subject."""
    seen: list[dict[str, Any]] = []

    def find(what: str, workspace: Path, **options: Any) -> tuple[Any, ...]:
        seen.append(options)
        return (subject(), subject(name="decoder", input="prompts"))

    monkeypatch.setattr(ask, "find_subjects", find)
    return seen


@pytest.mark.parametrize(
    ("change", "field", "value"),
    [
        ("cuda-graph", "cuda_graph", True),
        ("zero-copy", "copies", "zero-copy"),
        ("mode=30W", "mode", "30W"),
        ("variant=32 GB", "variant", "32 GB"),
        ("output=classes", "output", "classes"),
        ("resolution=512x1024", "resolution", (512, 1024)),
        ("batch=4", "batch", 4),
    ],
)
def test_changes(change: str, field: str, value: object) -> None:
    found = change_of(ORIN, change)
    assert getattr(found, field) == value
    assert found != ORIN


@pytest.mark.parametrize(
    "change", ["", "graph", "cuda-graph=1", "mode", "mode=", "batch=many", "resolution=512", "x=1"]
)
def test_what_cannot_be_changed(change: str) -> None:
    with pytest.raises(UsageError, match="nothing to change"):
        change_of(ORIN, change)


def test_parts_run_one_after_the_other(asked: list[dict[str, Any]], tmp_path: Path) -> None:
    whole = predict("l0-sam", tmp_path, ORIN)
    assert len(whole.parts) == 2
    assert whole.ms == pytest.approx(sum(part.ms for part in whole.parts))
    assert whole.low_ms < whole.ms < whole.high_ms
    assert list(whole.parts[1].stages)[1] == "decoder"


def test_every_change_is_predicted(asked: list[dict[str, Any]], tmp_path: Path) -> None:
    base, (graph, small) = predict_changes("b1-seg", tmp_path, ORIN, ("cuda-graph", "resolution=512x1024"))
    assert base.ms == predict("b1-seg", tmp_path, ORIN).ms
    assert graph.whole.ms < base.ms
    assert small.change == "resolution=512x1024"


def test_a_graph_that_questions_share_is_made_once(asked: list[dict[str, Any]], tmp_path: Path) -> None:
    predict_changes("b1-seg", tmp_path, ORIN, ("cuda-graph", "zero-copy", "mode=30W", "resolution=512x1024"))
    assert [one["resolution"] for one in asked] == [None, (512, 1024)]


@pytest.mark.parametrize("change", ["mode=20W", "variant=3 GB", "magic"])
def test_a_change_is_refused_before_anything_is_compiled(
    asked: list[dict[str, Any]], tmp_path: Path, change: str
) -> None:
    with pytest.raises(UsageError):
        predict_changes("b1-seg", tmp_path, ORIN, ("cuda-graph", change))
    assert not asked


def test_the_sums_say_what_they_are(asked: list[dict[str, Any]], tmp_path: Path) -> None:
    found = predict("l0-sam", tmp_path, ORIN)
    assert found.to_json() == {
        "kind": PREDICTED, "total_ms": found.ms, "low_ms": found.low_ms, "high_ms": found.high_ms
    }  # fmt: skip


def test_a_machine_is_refused_before_anything_is_compiled(asked: list[dict[str, Any]], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no power mode"):
        predict("b1-seg", tmp_path, Asked("orin", mode="20W"))
    assert not asked
