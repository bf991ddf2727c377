# SPDX-License-Identifier: Apache-2.0
"""The attention tool: every formulation is the same function, and its tables can be made."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import require

pytest.importorskip("torch")
pytest.importorskip("onnxruntime")
sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))

import attention_forms
import attention_numbers
import measure_attention
import onnx
import onnxruntime as ort
from gpu_cost import Cost, applied
from traffic_bound import GROUPS, least_traffic, plan_traffic

from evit_deploy.engines.plan import Kernel, Plan, PlanTensor
from evit_deploy.precision.arrange import arrange

SIZE = (64, 96)


@pytest.fixture(scope="module")
def exported() -> onnx.ModelProto:
    return measure_attention.exported("b0-seg", SIZE)


def _run(model: onnx.ModelProto) -> np.ndarray:
    x = np.random.default_rng(0).standard_normal((1, 3, *SIZE)).astype(np.float32)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    result: np.ndarray = session.run(None, {"image": x})[0]
    return result


def test_every_formulation_is_the_same_function(exported: onnx.ModelProto) -> None:
    expected = _run(exported)
    for name, change in attention_forms.changes().items():
        found = _run(applied(exported, change))
        assert np.linalg.norm(found - expected) < 2e-5 * np.linalg.norm(expected), name


def test_in_fp16_the_reference_is_not_safe_and_ours_is(monkeypatch: pytest.MonkeyPatch) -> None:
    cases = attention_numbers.hard_cases()
    monkeypatch.setattr(attention_numbers, "hard_cases", lambda: {name: cases[name] for name in ("unit", "large")})
    names = (attention_forms.REFERENCE, "ours, conv, dense")
    made = attention_forms.changes()
    verdicts = attention_numbers.judge({name: lambda model, c=made[name]: applied(model, c) for name in names})
    assert verdicts[names[0]].failed == ("large",)
    assert verdicts[names[1]].failed == ()
    assert 1.0 < verdicts[names[1]].error < 2.0


def test_prediction_adds_up() -> None:
    cost = Cost(kernels=100, traffic=1_000_000_000, macs=10**10, weights=24_000_000, transfer=10_000_000)
    assert cost.orin_ms == pytest.approx(2.257 * 5.0 + 0.594 * 20 / 42.6 + 0.723 + 0.57)
    assert (cost + cost).orin_ms == pytest.approx(2 * cost.orin_ms)


def test_traffic_by_kind_counts_a_repeated_tensor_once(exported: onnx.ModelProto) -> None:
    tensor, result = PlanTensor("x", (5,), "Half", 10), PlanTensor("y", (8,), "Half", 16)
    layers = ("head.output_ops.0.op_list.0.conv.Conv",)
    kernel = Kernel("resize", "kgen", (tensor,) * 16, (result,), 0, layers)
    assert kernel.distinct_traffic == 26
    found = plan_traffic(Plan("rtx", "1", "sm80", (kernel,)))
    assert found == {"head, the rest": 26}
    least = least_traffic(arrange(exported))
    assert least["output"] == 4 * 19 * 8 * 12
    assert least.total() > least["attention"] > 0


def test_table_of_traffic(capsys: pytest.CaptureFixture[str]) -> None:
    require("tensorrt_rtx")
    measure_attention.main(["bound", "b0-seg:64x96"])
    rows = [line.split("|")[1:-1] for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    table = {kind.strip(): [float(number) for number in numbers] for kind, *numbers in rows[1:]}
    least, ours, _ = table["all"]
    assert 0 < least < ours
    assert set(GROUPS) < set(table)
