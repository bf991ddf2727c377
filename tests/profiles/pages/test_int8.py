# SPDX-License-Identifier: Apache-2.0
"""The page of an INT8 engine: what it gains, what it loses, who says so, and how it is made again."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

from evit_deploy.manifest import ENCODER, Int8Point
from evit_deploy.profiles.pages.charts.tradeoff import tradeoff
from evit_deploy.profiles.pages.int8 import LAYERS, POINTS, Int8Section, int8_section
from evit_deploy.profiles.pages.words import points
from evit_deploy.profiles.report import commands
from evit_deploy.profiles.sam.report import commands as parts_commands
from tests.manifest.sample import sample_int8
from tests.profiles.pages.full import full_parts, full_report, int8_manifest
from tests.profiles.pages.reader import Page, page_of
from tests.profiles.pages.test_charts import words_of
from tests.profiles.pages.test_names import NASTY, require_escaped


def page(**changes: Any) -> str:
    text = page_of(full_report(manifest=int8_manifest(**changes)))
    assert Page(text).open == []
    return re.sub(r"\s+", " ", text)


def test_everything_is_said() -> None:
    text = page()
    for words in (
        "What INT8 gains and loses",
        "0.650&nbsp;× the time of FP16",
        "0.55 to 0.77",
        "6.50&nbsp;ms in place of 10.0&nbsp;ms, predicted for Jetson AGX Orin",
        "3 of 4 convolutions that may be INT8 are, 75&nbsp;% of all multiply-adds",
        "0.25 ± 0.04 points lost, of mIoU",
        "where 0.5 may be lost, on 32 frames (other frames of the demo scenes)",
        "99.22&nbsp;% of classes equal, relative L2 3.1 × 10⁻²",
        "Calibrated with 128 frames",
        "ranges by entropy (3), min-max (1)",
        "only 128 of 500 images were there",
        '<th scope="row">/stages.2/conv</th><td>0.188</td><td>FP16</td>',
        '<th scope="row">/stages.1/depth/conv</th><td>0.125</td><td>INT8</td>',
        '<th scope="row">4</th><td>88 %</td><td>6.00</td><td>0.600 ×</td><td>1.50</td>',
    ):
        assert words in text, words
    for words in ("not certain", "Time was up", "No one labelled"):
        assert words not in text


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"ratio_high": 1.2}, "whether it is faster is not certain"),
        ({"complete": False}, "Time was up before everything was searched"),
        ({"metric": "expected mIoU"}, "estimated from FP32's own probabilities"),
        ({"metric": "mask IoU"}, "overlap of masks"),
        ({"drop": -0.5}, "0.50 ± 0.04 points gained"),
    ],
)
def test_what_else_is_said(changes: dict[str, Any], words: str) -> None:
    assert words in page(**changes)


def test_only_a_prediction_has_the_mark() -> None:
    marked, plain = page(), page(oracle="timed layer by layer on Orin (a, b)")
    assert plain.count('class="predicted"') == marked.count('class="predicted"') - 1


def test_another_precision_has_no_such_section() -> None:
    assert int8_section(full_report()) is None
    assert int8_section(full_parts()) is None
    assert "INT8 gains" not in page_of(full_report())


def test_of_several_parts_the_encoder_is_told_of() -> None:
    report = full_parts()
    parts = {**report.verdict.manifests, ENCODER: int8_manifest()}
    report = replace(report, verdict=replace(report.verdict, manifests=parts))
    assert int8_section(report) == Int8Section(sample_int8())
    assert "What INT8 gains and loses" in page_of(report)
    assert "--int8 --calibrate scenes" in " ".join(parts_commands(report))


def test_names_are_no_markup() -> None:
    sensitivity = {NASTY: 1.0}
    text = page_of(
        full_report(
            manifest=int8_manifest(calibration=NASTY, judged=NASTY, oracle=NASTY, sensitivity=sensitivity, source=NASTY)
        )
    )
    require_escaped(text)


def test_long_lists_are_cut_where_it_matters_least() -> None:
    curve = tuple(Int8Point(index, 0.5, 100.0 - index, 1.0, 0.0, 0.0) for index in range(60))
    sensitivity = {f"layer {index}": float(index) for index in range(60)}
    section = Int8Section(replace(sample_int8(), curve=curve, sensitivity=sensitivity, layers=("layer 59",)))
    assert [row.drop for row in section.layers] == [float(59 - index) for index in range(LAYERS)]
    assert [row.taken for row in section.layers] == [True] + [False] * (LAYERS - 1)
    assert [point.layers for point in section.points] == [59 - index for index in range(POINTS)]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"curve": ()},
        {"max_drop": 0.0},
        {"full": Int8Point(4, 0.875, 6.0, 0.6, 70.0, 3.0)},
        {"ratio_low": 0.9, "ratio_high": 0.1},
        {"drop": -3.0},
    ],
)
def test_the_chart_is_drawn(changes: dict[str, Any]) -> None:
    svg = tradeoff("tradeoff", replace(sample_int8(), **changes))
    assert 'aria-labelledby="tradeoff-caption"' in svg
    words = words_of(svg)
    for label in ("FP16", "all in INT8", "most that may be lost", "points lost", "time, as a part of FP16"):
        assert label in words
    assert ("judged" in words) == (changes.get("curve") != ())
    assert "mathdefault" not in words, "powers of ten are written out"


@pytest.mark.parametrize(
    ("drop", "words"), [(0.25, "0.25 points lost"), (0.0, "0.00 points lost"), (-2.0, "2.00 points gained")]
)
def test_points(drop: float, words: str) -> None:
    assert points(drop) == words


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {},
            "--int8 --calibrate scenes --calibration-images 128 --calibration auto --judge-images 32 --max-drop 0.5"
            " --max-error 0.05",
        ),
        ({"source": "my frames", "max_error": None}, "--calibrate 'my frames' --calibration-images 128"),
        ({"ratio": 1.5}, "--max-error 0.05 --allow-slower"),
        ({"oracle": "timed layer by layer"}, "--timings FP16_PROFILE --timings INT8_PROFILE"),
    ],
)
def test_it_can_be_made_again(changes: dict[str, Any], words: str) -> None:
    command = commands(full_report(manifest=int8_manifest(**changes)))[1]
    assert words in command
    assert ("--allow-slower" in command) == ("ratio" in changes)
    assert ("--timings" in command) == ("oracle" in changes)
    assert "--calibrate" not in commands(full_report())[1]
