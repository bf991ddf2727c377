# SPDX-License-Identifier: Apache-2.0
"""From a plan to a prediction: what adds up, what the interval spans, what is said."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from evit_deploy.profiles.predict import PREDICTED, conditions, predict_plan
from evit_deploy.profiles.predict.cost import Work, calibration, run_ms
from evit_deploy.profiles.predict.subject import FALLBACK
from tests.profiles.predict.made import subject

ORIN = conditions("orin")
MARGIN = calibration().margins["orin"]


def test_everything_adds_up() -> None:
    found = predict_plan(subject(), ORIN)
    assert [item.number for item in found.kernels] == [0, 1, 3, 4, 5]  # the plan's numbers: what waits is left out
    assert found.ms == pytest.approx(sum(item.ms for item in found.kernels) + found.terms.copies)
    assert found.ms == pytest.approx(sum(stage.total for stage in found.stages.values()))
    plan = subject().plan
    assert found.ms == pytest.approx(run_ms(Work.of(plan.working), 1_572_864 + 524_288, ORIN, calibration().constants))
    assert found.fps == pytest.approx(1000 / found.ms)


def test_stages_and_copies() -> None:
    found = predict_plan(subject(), ORIN)
    assert list(found.stages) == ["input", "stem", "stage 1", "head", "output"]
    assert found.stages["input"].copies == pytest.approx(3 * found.stages["output"].copies)
    assert all(stage.copies == 0 for name, stage in found.stages.items() if name not in ("input", "output"))


def test_what_bounds_a_kernel() -> None:
    found = predict_plan(subject(), ORIN).kernels
    assert [item.bound for item in found] == ["traffic", "traffic", "arithmetic", "launch", "traffic"]
    assert found[2].terms.traffic == 0 < found[2].terms.arithmetic
    assert found[1].terms.arithmetic == 0 < found[1].terms.traffic
    assert found[1].bytes == 16_000_000 + 1_000


def test_the_interval_where_latencies_were_published() -> None:
    found = predict_plan(subject(), ORIN)
    assert (found.low_ms, found.high_ms) == (pytest.approx(found.ms / MARGIN), pytest.approx(found.ms * MARGIN))
    assert found.coverage == 0.9


def test_the_interval_of_a_power_mode_spans_what_is_not_known() -> None:
    full, half = predict_plan(subject(), ORIN), predict_plan(subject(), conditions("orin", "30W"))
    assert half.coverage is None
    assert half.ms > 2 * full.ms
    assert half.low_ms < 0.8 * half.ms < half.high_ms
    assert any("assumptions" in note for note in half.notes)
    assert any("memory clock" in note for note in half.notes)


def test_a_cuda_graph_may_save_nothing() -> None:
    one_by_one, graph = predict_plan(subject(), ORIN), predict_plan(subject(), replace(ORIN, cuda_graph=True))
    assert graph.ms < one_by_one.ms
    assert graph.high_ms == pytest.approx(one_by_one.high_ms)
    assert any("CUDA graph is assumed" in note for note in graph.notes)


def test_a_guessed_plan_widens_the_interval() -> None:
    real, guessed = predict_plan(subject(), ORIN), predict_plan(subject(origin=FALLBACK), ORIN)
    assert guessed.ms == real.ms
    assert guessed.high_ms > real.high_ms
    assert guessed.low_ms < real.low_ms


def test_zero_copy_may_save_nothing() -> None:
    copied, shared = predict_plan(subject(), ORIN), predict_plan(subject(), replace(ORIN, copies="zero-copy"))
    assert shared.ms < copied.ms
    assert shared.high_ms == pytest.approx(copied.high_ms)
    assert shared.coverage is None
    assert any("with zero-copy: the interval spans assumptions" in note for note in shared.notes)


@pytest.mark.parametrize(
    ("changes", "machine"),
    [
        ({"origin": FALLBACK}, "orin"), ({"origin": "tensorrt 10.3, sm87"}, "orin"), ({"batch": 16}, "orin"),
        ({"batch": 7}, "a100"), ({"precision": "fp32"}, "orin"), ({}, "orin-nx"),
    ],
)  # fmt: skip
def test_only_what_is_like_the_held_out_latencies_is_covered(changes: dict[str, Any], machine: str) -> None:
    assert predict_plan(subject(**changes), conditions(machine)).coverage is None


def test_an_a100_is_covered_at_the_published_batches() -> None:
    assert predict_plan(subject(batch=16), conditions("a100")).coverage == 0.9


def test_fp32_is_slower_and_less_sure() -> None:
    half, full = predict_plan(subject(), ORIN), predict_plan(subject(precision="fp32"), ORIN)
    assert full.conditions.peak_tflops == ORIN.peak_tflops / 8
    (dense,) = (item.terms.arithmetic for item in half.kernels if item.bound == "arithmetic")
    assert full.kernels[2].terms.arithmetic == pytest.approx(8 * dense)
    assert full.high_ms / full.low_ms > half.high_ms / half.low_ms
    assert any("no latency in FP32" in note for note in full.notes)


def test_an_engine_for_another_target_is_said_to_be_one() -> None:
    assert any("built for orin-nano" in note for note in predict_plan(subject(target="orin-nano"), ORIN).notes)
    assert not any("built for" in note for note in predict_plan(subject(target="orin"), ORIN).notes)


def test_uncertain_figures_are_named() -> None:
    assert any("bandwidth (unchecked)" in note for note in predict_plan(subject(), conditions("thor")).notes)


def test_as_json() -> None:
    data = json.loads(json.dumps(predict_plan(subject(), ORIN).to_json()))
    assert data["kind"] == PREDICTED
    assert data["kernels"][2]["bound"] == "arithmetic"
    assert data["conditions"]["target"] == "orin"
    assert predict_plan(subject(), ORIN).to_json(kernels=False)["kernels"] == []


def test_a_subject_survives_json() -> None:
    made = subject(notes=("a note",))
    assert type(made).from_json(json.loads(json.dumps(made.to_json()))) == made
