# SPDX-License-Identifier: Apache-2.0
"""How far the model of INT8 is from published ratios: what tools/check_int8.py says is so."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

pytest.importorskip("scipy")
sys.path.insert(0, str(Path(__file__).parents[3] / "tools"))

import check_int8 as tool
from int8_networks import NETWORKS
from int8_published import PAIRS, boards

from evit_deploy.profiles.predict.int8_cost import int8_calibration
from tests.profiles.predict.made_int8 import planned

PUBLISHED_SIZES = {  # GFLOP (two per multiply-add) and millions of parameters, as their authors publish them
    "ResNet-18": (3.6, 11.7), "ResNet-50": (7.7, 25.5), "MobileNetV2": (0.60, 3.5), "YOLOv7": (104.7, 36.9),
    "YOLOv8n": (8.7, 3.2), "YOLOv8s": (28.6, 11.2), "YOLOv8m": (78.9, 25.9), "YOLO11n": (6.5, 2.6),
    "YOLO11s": (21.5, 9.4), "YOLO11m": (68.0, 20.1), "YOLO11l": (86.9, 25.3), "YOLO11x": (194.9, 56.9),
}  # fmt: skip


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_are_the_published_ones(name: str) -> None:
    model = NETWORKS[name](1)
    flops = sum(product.flops for product in planned(model).products.values()) / 1e9
    weights = [one for one in model.graph.initializer if one.data_type == onnx.TensorProto.FLOAT16]
    parameters = sum(math.prod(one.dims) for one in weights) / 1e6
    assert (flops, parameters) == pytest.approx(PUBLISHED_SIZES[name], rel=0.025)


def test_the_model_reproduces_published_ratios_as_well_as_it_says() -> None:
    fitted = {pair: tool.ratio(pair, int8_calibration().constants) for pair in PAIRS}
    errors = tool.errors(fitted)
    assert np.median(errors) < 0.035
    assert errors.mean() < 0.055
    named = {(pair.network, pair.batch): value for pair, value in fitted.items() if pair.source == PAIRS[0].source}
    assert all(0.6 < named[name, 1] < 0.7 for name in ("ResNet-18", "ResNet-50"))  # published: 0.64 and 0.66
    assert named["MobileNetV2", 8] == pytest.approx(0.62, abs=0.05)


def test_the_margin_holds_what_it_says() -> None:
    held = tool.held_out(PAIRS, int8_calibration().constants.channels)
    assert tool.margin(held) == pytest.approx(int8_calibration().margin, rel=1e-3)
    assert tool.words(held) == "median 3.9%, mean 6.2%, worst 30.1%"
    allowed = math.log(int8_calibration().margin) + 1e-3
    assert np.mean([abs(math.log(value / pair.ratio)) <= allowed for pair, value in held.items()]) > 0.9


def test_pairs_name_sources_networks_and_boards() -> None:
    assert all(pair.source.startswith("https://") for pair in PAIRS)
    assert {pair.network for pair in PAIRS} == set(NETWORKS)
    assert {pair.board for pair in PAIRS} == set(boards())


def test_the_tool_writes_what_ships(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setattr(tool, "CALIBRATION", tmp_path / "int8.json")
    monkeypatch.setattr(sys, "argv", ["check_int8.py"])
    tool.main()
    written = json.loads((tmp_path / "int8.json").read_text())
    assert written["constants"] == pytest.approx(int8_calibration().constants.__dict__, rel=1e-3)
    printed = capsys.readouterr().out
    page = (Path(__file__).parents[3] / "docs" / "prediction.md").read_text(encoding="utf-8")
    assert all(line in page for line in printed.splitlines() if line.startswith("| ResNet"))
