# SPDX-License-Identifier: Apache-2.0
"""The table of the zoo: nothing is missing, and what is committed is what today's constants say."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from evit_deploy.models.zoo import MODELS
from evit_deploy.profiles.predict.cost import calibration
from evit_deploy.profiles.predict.machine import conditions
from evit_deploy.profiles.predict.prediction import PREDICTED
from evit_deploy.profiles.predict.published import published

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))

import zoo_table as tool

ORIN = conditions("orin", "MAXN")
COMMITTED = tool.FOLDER / "orin-zoo.json"


def test_every_model_and_every_published_row_has_a_line():
    rows = list(tool.all_rows())
    assert rows[: len(published())] == list(published())
    assert {row.model for row in rows} == set(MODELS)
    assert [row.model for row in rows[len(published()) :]] == ["b0-cls"]


def test_the_plain_column_is_near_what_was_published():
    for row in published():
        figure = tool.plain(row, ORIN)
        assert figure.low_ms < figure.ms < figure.high_ms
        assert row.orin_ms is None or figure.ms == pytest.approx(row.orin_ms, rel=0.1)


def test_a_model_that_nothing_was_published_of_has_no_plain_figure():
    assert tool.plain(list(tool.all_rows())[-1], ORIN) is None


def test_the_page():
    rows = [published()[0], list(tool.all_rows())[-1]]
    lines = [tool.Line(row, tool.plain(row, ORIN), tool.Figure(1.0, 0.9, 1.1, 50)) for row in rows]
    page = tool.markdown(lines, ORIN)
    assert "Predicted, not measured" in page
    first, last = page.splitlines()[-2:]
    assert first.startswith("| b1-cls | 224x224 | ImageNet top-1 79.4 | 1.48 | ")
    assert last == "| b0-cls | 224x224 | - | - | - | 1.00 (0.90 to 1.10) | - |"
    assert tool.record(lines, ORIN)["kind"] == PREDICTED


def test_the_committed_table_is_of_todays_constants():
    data = json.loads(COMMITTED.read_text(encoding="utf-8"))
    assert data["fitted"] == calibration().fitted
    for row, line in zip(tool.all_rows(), data["rows"], strict=True):
        assert (line["model"], line["resolution"], line["published_ms"]) == (row.model, row.size, row.orin_ms)
        figure = tool.plain(row, ORIN)
        assert (line["predicted_plain"] and line["predicted_plain"]["ms"]) == pytest.approx(figure and figure.ms)
    assert COMMITTED.with_suffix(".md").read_text(encoding="utf-8").count("\n| ") == len(data["rows"]) + 1
