# SPDX-License-Identifier: Apache-2.0
"""The comparison of lowerings: what it counts, what it forgives, and what it says of a library that is not there."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

pytest.importorskip("torch")
pytest.importorskip("cv2")
sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))

import compare_lowerings as tool
from lowerings import CONTENDERS, Contender

OURS = [contender for contender in CONTENDERS if contender.name == "ours"]


def _rows(kind: str, *cases: str) -> list[tool.Row]:
    return list(tool.compare("b0-cls", kind, OURS, (64, 64), compiles=False, cases=cases))


def test_arranged_graph_computes_right_and_keeps_nothing_in_fp32():
    (row,) = _rows("arranged images", "× 200")
    assert (row.valid, row.casts, row.pairs, row.fp32, row.epsilon) == ("yes", 1, 0, {}, "")
    assert row.tokens < 200  # balanced by the export, from more than a thousand
    assert row.error < 1e-2


def test_plain_graph_loses_its_epsilon_and_becomes_nan():
    (row,) = _rows("plain", "× 200")
    assert row.epsilon == "0.0e+00 float16"
    assert np.isnan(row.error)


def test_a_library_that_fails_becomes_a_row():
    def convert(model, image):
        raise RuntimeError("no such operator")

    (row,) = tool.compare("b0-cls", "arranged floats", [Contender("x", "x", convert)], (64, 64), False, ["as they are"])
    assert row.valid == row.error == "RuntimeError: no such operator"


def test_missing_library_is_named_and_left_out(monkeypatch, capsys):
    monkeypatch.setattr(tool, "CONTENDERS", (Contender("x", "no-such-package", None), *OURS))
    assert tool.present() == OURS
    assert capsys.readouterr().out == "x: skipped, no-such-package is not installed\n"


def test_counts_casts_pairs_fp32_nodes_and_epsilon():
    nodes = [
        helper.make_node("Cast", ["x"], ["a"], to=TensorProto.FLOAT),
        helper.make_node("Cast", ["a"], ["b"], to=TensorProto.FLOAT16),
        helper.make_node("Add", ["b", "epsilon"], ["c"]),
        helper.make_node("Div", ["b", "c"], ["d"]),
        helper.make_node("Cast", ["d"], ["e"], to=TensorProto.FLOAT),
        helper.make_node("Relu", ["e"], ["y"]),
    ]
    row = tool.count(tool.Row("m", "plain", "x", "× 200"), _model(nodes))
    assert (row.nodes, row.casts, row.pairs, row.fp32) == (6, 3, 1, {"Relu": 1})
    assert row.epsilon == "1.2e-07 float16"


def test_repairs_order_and_recorded_types():
    source = _model([helper.make_node("Add", ["x", "epsilon"], ["c"]), _to_float("c")])
    broken = _model([_to_float("c"), helper.make_node("Add", ["x", "epsilon"], ["c"])])
    broken.graph.value_info.append(helper.make_tensor_value_info("c", TensorProto.FLOAT, [2]))
    with pytest.raises(Exception, match="sorted"):
        onnx.checker.check_model(broken, full_check=True)
    onnx.checker.check_model(tool._repaired(broken, source), full_check=True)


def test_tables_show_ranges_and_the_worst(tmp_path, capsys):
    good = tool.Row("b0-cls", "plain", "ours", "× 200", valid="yes", compiled="yes", kernels=70, casts=1, error=1e-3)
    rows = [good, replace(good, model="b1-cls", kernels=110, error=float("nan")),
            replace(good, model="b2-cls", valid="ValueError: x", compiled="no", error="ValueError: x")]  # fmt: skip
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(asdict(row)) + "\n" for row in rows), encoding="utf-8")
    tool.main(["--table", str(path)])
    lines = capsys.readouterr().out.splitlines()
    (line,) = [line for line in lines if "B-cls" in line]
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells[4:8] == ["3", "2", "2", "70–110"]
    assert "1.0e-03, 1 NaN, 1 cannot run" in cells
    assert sum(line.startswith("| b") for line in lines) == 3


def _to_float(name: str) -> onnx.NodeProto:
    return helper.make_node("Cast", [name], ["y"], to=TensorProto.FLOAT)


def _model(nodes: list[onnx.NodeProto]) -> onnx.ModelProto:
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT16, [2])
    made = helper.make_tensor_value_info("y", TensorProto.FLOAT, [2])
    epsilon = numpy_helper.from_array(np.full(1, 1e-7, np.float16), "epsilon")
    graph = helper.make_graph(nodes, "g", [given], [made], [epsilon])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
