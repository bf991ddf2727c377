# SPDX-License-Identifier: Apache-2.0
"""``export --check-range`` and ``verify --layers``: what FP16 has room for, and where it goes wrong."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import onnx
import pytest

from evit_deploy.agreement import BUDGETS
from evit_deploy.cli.common import layer_table, range_table
from evit_deploy.manifest import read_artifact, write_artifact
from evit_deploy.manifest.model import Budget
from evit_deploy.precision.locate import LayerError
from evit_deploy.precision.ranges import TensorRange
from tests.cli.conftest import Program
from tests.precision.typed import half_graph

SMALL_EXPORT = ("export", "b0-seg", "--weights", "random", "--resolution", "64x128", "--check-range")
LOOSE = Budget(relative_l2=0.5, class_agreement=0.5, conceded_margin=2.0, confidence_error=0.5)


@pytest.fixture
def workspace(small_workspace: Path, tmp_path: Path) -> Path:
    """The test's folder, holding the small export."""
    shutil.copytree(small_workspace / "export", tmp_path / "export")
    return tmp_path


@pytest.fixture
def typed_engine(small_workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An engine that says it is FP16 and carries a typed graph; what runs is FP32, so that it runs here."""
    source = small_workspace / "engines" / "b0-seg.cpu.fp32.onnxruntime"
    manifest = read_artifact(source)
    assert manifest.engine is not None
    folder = tmp_path / "engines" / "b0-seg.typed"
    with write_artifact(folder) as writer:
        for name in manifest.files:
            shutil.copyfile(source / name, writer.folder / name)
        onnx.save(half_graph(onnx.load(source / "model.onnx")), writer.folder / "model.onnx")
        writer.commit(replace(manifest, engine=replace(manifest.engine, precision="fp16")))
    monkeypatch.setitem(BUDGETS, "fp16", LOOSE)
    return folder


def test_export_shows_the_tightest_tensors(workspace: Path, evit: Program) -> None:
    answer = evit(*SMALL_EXPORT)
    assert answer.code == 0
    assert "nothing to do" in answer.out
    assert "headroom" in answer.out
    table = answer.out.split("below 2^-14\n")[1].split("\n\n")[0].splitlines()
    assert len(table) == 1 + 15
    room = [float(line.split()[4]) for line in table[1:]]
    assert room == sorted(room)
    assert f"least headroom {room[0]:.3g} at {table[1].split()[0]}\n" in answer.out
    assert "tensors fit FP16" in answer.out
    assert "  ranges " in answer.err
    assert answer.out.index("agrees with") < answer.out.index("headroom") < answer.out.index("next:")


def test_export_gives_all_ranges_as_json(workspace: Path, evit: Program) -> None:
    data = json.loads(evit(*SMALL_EXPORT, "--json").out)
    assert data["kind"] == "export"
    assert len(data["ranges"]) > 200
    assert set(data["ranges"][0]) == {"name", "op", "largest", "smallest", "headroom", "below_normal"}
    assert "ranges" not in json.loads(evit(*SMALL_EXPORT[:-1], "--json").out)
    assert "headroom" not in evit(*SMALL_EXPORT[:-1]).out


def test_a_fresh_export_is_measured_too(evit: Program) -> None:
    answer = evit(*SMALL_EXPORT)
    assert answer.code == 0
    assert "nothing to do" not in answer.out
    assert "tensors fit FP16" in answer.out


def test_tensors_that_leave_fp16_are_said_plainly(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [
        TensorRange("fine", "Conv", 655.04, 1e-3, 100.0, 0.25),
        TensorRange("large", "MatMul", 131008.0, 1e-3, 0.5, 0.0),
        TensorRange("broken", "Div", math.nan, math.nan, math.nan, 0.0),
        TensorRange("endless", "Exp", math.inf, 1.0, 0.0, 0.0),
    ]
    range_table(rows)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[5:9]] == ["broken", "endless", "large", "fine"]
    assert lines[8].split() == ["fine", "Conv", "655", "1.0e-03", "100", "25.00%"]
    assert lines[-1] == "3 of 4 tensors leave FP16 (65504), broken first of all"


def test_verify_shows_layers(typed_engine: Path, evit: Program) -> None:
    answer = evit("verify", "b0-seg.typed", "--layers")
    assert answer.code == 0
    assert "passed against PyTorch" in answer.out
    assert "no tensor is beyond relative L2 5e-01 or not finite" in answer.out
    table = answer.out.split("not finite\n")[1].split("\n\n")[0].splitlines()
    assert len(table) == 1 + 15
    errors = [float(line.split()[2]) for line in table[1:]]
    assert errors == sorted(errors, reverse=True)
    assert errors[0] < 0.5
    stored = json.loads((typed_engine.parents[1] / "profiles" / "b0-seg.typed" / "agreement.json").read_text())
    assert stored["passed"] is True
    assert len(stored["layers"]) > 200
    assert set(stored["layers"][0]) == {"name", "op", "relative_l2", "largest", "headroom", "nonfinite"}


def test_verify_gives_all_layers_as_json(typed_engine: Path, evit: Program) -> None:
    data = json.loads(evit("verify", "b0-seg.typed", "--layers", "--json").out)
    assert len(data["layers"]) > 200
    assert "layers" not in json.loads(evit("verify", "b0-seg.typed", "--json").out)


def test_the_first_broken_layer_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [
        LayerError("good", "Conv", 1e-3, 10.0, 6550.4, 0),
        LayerError("first", "Mul", math.inf, 131008.0, 0.5, 7),
        LayerError("second", "Add", 0.5, 2.0, 32752.0, 0),
    ]
    layer_table(rows, 0.05)
    assert capsys.readouterr().out.splitlines()[-1] == (
        "first beyond relative L2 5e-02: first (Mul), 7 values not finite, largest value 1.31e+05, headroom 0.5"
    )
    layer_table([rows[0], rows[2]], 0.05)
    assert "second (Add), relative L2 5.0e-01, largest value 2," in capsys.readouterr().out


def test_layers_of_an_engine_without_a_typed_graph(
    small_workspace: Path, workspace: Path, evit: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    for compiler in ("onnxruntime", "openvino"):
        engine = small_workspace / "engines" / f"b0-seg.cpu.fp32.{compiler}"
        answer = evit("verify", engine, "--layers")
        assert answer.code == 2
        assert "cannot be compared one by one" in answer.message
        assert "fp32" in answer.message
        assert "--check-range" in answer.message
    answer = evit("verify", workspace / "export" / "b0-seg", "--layers")
    assert answer.code == 2
    assert "is an export, not an engine" in answer.message
    assert not (workspace / "profiles").exists()
