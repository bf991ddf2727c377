# SPDX-License-Identifier: Apache-2.0
"""``evit-deploy advise`` as a person calls it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from evit_deploy.cli.advise import parse_budget
from evit_deploy.errors import UsageError
from evit_deploy.profiles.advise import advice
from tests.cli.conftest import Program
from tests.profiles.advise.test_advice import Guess


@pytest.fixture(autouse=True)
def guessed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Predictions that take no time."""

    def guess(item: Any, machine: Any) -> Guess:
        return Guess(item)

    monkeypatch.setattr(advice, "predict_candidate", guess)


def test_the_table_and_the_commands(evit: Program) -> None:
    answer = evit("advise", "--target", "orin", "--budget", "30ms", "--task", "seg", "--dataset", "cityscapes")
    assert answer.code == 0
    assert "Cityscapes mIoU on orin, within 30 ms per frame" in answer.out
    rows = [line.split() for line in answer.out.splitlines() if "b1-seg" in line and "predicted" in line]
    assert ["*", "b1-seg", "1024x2048", "fp16", "80.55", "26.00"] in [row[:6] for row in rows]
    assert ["b1-seg", "512x1024", "fp16", "unknown"] in [row[:4] for row in rows]
    assert "b1-seg at 1024x2048, 80.55 %, 26.00 ms (predicted, not measured)" in answer.out
    assert "evit-deploy build b1-seg --target orin --fp16" in answer.out


def test_json(evit: Program) -> None:
    answer = evit("advise", "--target", "orin", "--budget", "30fps", "--task", "cls", "--json")
    assert answer.code == 0
    (data,) = json.loads(answer.out)
    assert data["chosen"]["model"] == "l2-cls"
    assert data["wanted"]["budget_ms"] == pytest.approx(1000 / 30)


def test_a_tight_choice_is_said_to_be_tight(evit: Program) -> None:
    answer = evit("advise", "--target", "orin", "--budget", "37", "--task", "sam")
    assert answer.code == 0
    assert "its interval reaches beyond the budget" in answer.out


def test_nothing_within_the_budget(evit: Program) -> None:
    answer = evit("advise", "--target", "orin", "--budget", "1ms", "--task", "sam")
    assert answer.code == 1
    assert "nothing of known accuracy is within 1 ms" in answer.message
    assert "predicted, not measured" in answer.message


def test_pictures(evit: Program, tmp_path: Path) -> None:
    assert evit("advise", "--target", "orin", "--budget", "30", "--task", "seg", "--out", "plot.svg").code == 0
    assert {path.name for path in tmp_path.glob("*.svg")} == {"plot.cityscapes-miou.svg", "plot.ade20k-miou.svg"}
    assert evit("advise", "--target", "orin", "--budget", "90", "--task", "sam", "--out", "plot.svg").code == 0
    assert "<svg" in (tmp_path / "plot.svg").read_text()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--target", "orin", "--budget", "soon"], "'soon' is no budget"),
        (["--target", "nowhere", "--budget", "15ms"], "there is no target 'nowhere'"),
        (["--target", "orin", "--budget", "15ms", "--mode", "31W"], "no power mode '31W'"),
        (["--target", "orin", "--budget", "15ms", "--task", "pose"], "there is no task 'pose'"),
        (["--target", "cpu", "--budget", "15ms"], "nothing was measured on this CPU yet"),
    ],
)
def test_bad_input(evit: Program, arguments: list[str], words: str) -> None:
    answer = evit("advise", *arguments)
    assert answer.code == 2
    assert words in answer.message


@pytest.mark.parametrize(("text", "ms"), [("15ms", 15), ("15", 15), ("33.3 ms", 33.3), ("50fps", 20), (".5MS", 0.5)])
def test_budgets(text: str, ms: float) -> None:
    assert parse_budget(text) == pytest.approx(ms)


@pytest.mark.parametrize("text", ["", "0", "0ms", "-1", "15s", "ms", "nan", "inf", "1e3"])
def test_what_is_no_budget(text: str) -> None:
    with pytest.raises(UsageError, match="is no budget"):
        parse_budget(text)
