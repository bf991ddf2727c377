# SPDX-License-Identifier: Apache-2.0
"""What INT8 is predicted to cost: what TensorRT fuses, what it pays for, and how far from published ratios that is."""

from __future__ import annotations

import json
import math
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

pytest.importorskip("scipy")
sys.path.insert(0, str(Path(__file__).parents[3] / "tools"))

import check_int8 as tool
from int8_graphs import Network
from int8_networks import NETWORKS
from int8_published import PAIRS, boards

from evit_deploy.errors import UsageError
from evit_deploy.precision.int8.layers import find_layers
from evit_deploy.profiles.predict import conditions, predict_plan
from evit_deploy.profiles.predict.fusion import plan_from_graph
from evit_deploy.profiles.predict.int8 import PredictedOracle
from evit_deploy.profiles.predict.int8_cost import Int8Model, int8_calibration, int8_gain
from evit_deploy.profiles.predict.int8_flow import GRAPH_INPUT, Flow, flow_of
from evit_deploy.profiles.predict.plans import io_bytes
from evit_deploy.profiles.predict.subject import Subject
from evit_deploy.profiles.predict.typed_graph import TypedGraph
from tests.profiles.predict.made import subject

ORIN = conditions("orin")
SIDE, WIDTH, INNER = 64, 32, 128
STEM, EXPAND, DEPTH, PROJECT, LAST = (f"Conv_{number}" for number in (1, 3, 5, 7, 9))
ALL = (EXPAND, DEPTH, PROJECT)


def block(*, width: int = WIDTH) -> onnx.ModelProto:
    """Stem, an inverted bottleneck with its residual, and a head: nodes are numbered as they come."""
    net = Network(1, 2 * SIDE, "Relu")
    x = net.conv(net.picture, width, 3, 2)
    inner = net.conv(net.conv(x, INNER), INNER, 3, groups=INNER)
    y = net.add(net.conv(inner, width, act=None), x)
    return net.model(net.conv(y, 8, act=None))


def planned(model: onnx.ModelProto) -> Flow:
    return flow_of(TypedGraph(model), plan_from_graph(model).working)


def made(model: onnx.ModelProto) -> Subject:
    inputs, outputs = io_bytes(model.graph.input), 2 * 8 * SIDE * SIDE
    return subject(plan=plan_from_graph(model), inputs=inputs, outputs=outputs)


def oracle(model: onnx.ModelProto, machine=ORIN) -> PredictedOracle:
    return PredictedOracle(made(model), model, [layer.name for layer in find_layers(model)], machine)


def test_what_passes_between_kernels_is_what_the_plan_says() -> None:
    flow = planned(block())
    for number, kernel in enumerate(flow.kernels):
        read = sum(one.bytes for one in flow.passed for read in one.reads if read.kernel == number and read.share == 1)
        written = sum(one.bytes for one in flow.passed if one.maker == number)
        padding = 2 * 4 * SIDE * SIDE if number == 0 else 0  # pictures are filled up to four channels
        assert read == kernel.bytes_read - padding
        assert written in (kernel.bytes_written, 0)  # of the last kernel, which writes the graph's output


def test_sources_and_residuals_are_told_apart() -> None:
    flow = planned(block())
    (stem,) = (one for one in flow.passed if one.name == "Relu_2")
    assert [read.layer for read in stem.reads] == [EXPAND, ""]
    assert [one.maker for one in flow.passed if one.moved] == [GRAPH_INPUT]


@pytest.mark.parametrize("name", ["YOLO11n", "YOLOv7", "ResNet-50"])
def test_views_and_splits_are_followed(name: str) -> None:
    flow = planned(NETWORKS[name](1))
    for number, kernel in enumerate(flow.kernels):
        reads = [(read, one) for one in flow.passed for read in one.reads if read.kernel == number]
        if kernel.flops:
            found = sum({(one.name, read.share): read.share * one.bytes for read, one in reads}.values())
            assert found * (1 if number else 4 / 3) == pytest.approx(kernel.bytes_read)  # a picture has four channels


def test_fp16_is_what_predict_says() -> None:
    model = block()
    found = oracle(model).cost(())
    assert found.ms == pytest.approx(predict_plan(made(model), ORIN).ms, rel=1e-12)
    assert (found.ratio, found.low, found.high) == (1.0, 1.0, 1.0)


def changes(
    layers: tuple[str, ...], model: onnx.ModelProto | None = None, also=()
) -> tuple[np.ndarray, np.ndarray, int]:
    """Bytes of activations of every kernel in FP16 and in INT8, in maps of the block's width, and kernels added."""
    found = Int8Model(planned(model or block()), 16, also).mixed(layers)
    scale = WIDTH * SIDE * SIDE
    return found.half.activations / scale, found.eight.activations / scale, found.added


def test_a_whole_block_passes_int8_between_its_convolutions() -> None:
    half, eight, added = changes(ALL)
    # expand reads what the stem's map was quantised to, and the block's two inner maps are INT8
    np.testing.assert_allclose(half[1:4], [0, 0, 4])  # project: the residual and the sum, 2 bytes each
    np.testing.assert_allclose(eight[1:4], [1 + 4, 4 + 4, 4])
    assert added == 1
    assert (half[-1], eight[-1]) == (2, 1)  # the stem is FP16, and so is the residual: a kernel quantises its map


def test_a_depthwise_convolution_in_fp16_costs_two_conversions() -> None:
    _, _, added = changes((EXPAND, PROJECT))
    assert added == 2  # the stem's map, and the depthwise convolution's result; expand itself writes FP16
    model = block()
    one, both = oracle(model).cost((EXPAND, PROJECT)), oracle(model).cost(ALL)
    assert both.ratio < one.ratio


def test_a_result_that_is_read_in_both_types_is_quantised_by_a_kernel() -> None:
    net = Network(1, 2 * SIDE, "Relu")
    x = net.conv(net.conv(net.picture, WIDTH, 3, 2), WIDTH)
    model = net.model(net.conv(net.add(net.conv(x, WIDTH, act=None), x), 8, act=None))
    half, eight, added = changes(("Conv_3", "Conv_5"), model)
    assert added == 2  # the stem's map, and the first layer's: its residual is FP16
    assert half[1] == 2  # it writes FP16
    assert eight[1] == 1  # and reads INT8


def test_a_residual_in_fp16_makes_the_sum_fp16() -> None:
    net = Network(1, 2 * SIDE, "Relu")
    x = net.conv(net.picture, WIDTH, 3, 2)
    y = net.add(net.conv(x, WIDTH, act=None), x)
    model = net.model(net.conv(net.conv(y, WIDTH), 8, act=None))
    assert changes(("Conv_3", "Conv_5"), model)[2] == 2
    kernels = range(len(planned(model).kernels))
    _, eight, added = changes(("Conv_3", "Conv_5"), model, kernels)  # as others do: residuals in INT8 too
    assert added == 1
    assert eight[1] == 1 + 1  # what the sum adds is what its convolution reads anyway


def test_pointwise_kernels_quantise_on_the_way_and_moving_ones_do_not() -> None:
    def after(move: bool) -> onnx.ModelProto:
        net = Network(1, SIDE, "Relu")
        x = net.conv(net.picture, WIDTH, 3, 2)
        y = net.upsample(x)
        y = y if move else net.activate(y, "Relu")
        return net.model(net.conv(net.conv(y, WIDTH), 8, act=None))

    (moved,), (computed,) = ([layer.name for layer in find_layers(after(move))] for move in (True, False))
    assert changes((moved,), after(True))[2] == 1
    assert changes((computed,), after(False))[2] == 0


@pytest.mark.parametrize(("width", "stored"), [(8, 16), (16, 16), (24, 32), (32, 32)])
def test_channels_are_filled_up(width: int, stored: int) -> None:
    _, eight, _ = changes((EXPAND,), block(width=width))
    assert eight[1] * WIDTH == stored


def test_more_int8_is_cheaper_here_and_all_calls_agree() -> None:
    made_of = oracle(block())
    ratios = [made_of.cost(ALL[:number]).ratio for number in range(4)]
    assert ratios[3] < ratios[2]
    found = made_of.cost(ALL)
    assert found == made_of.cost(ALL[::-1]) == oracle(block()).cost(ALL)
    assert found.ratio == pytest.approx(found.ms / made_of.cost(()).ms)
    assert found.low < found.ratio < found.high
    assert found.high / found.ratio <= int8_calibration().margin


def test_little_int8_leaves_little_open() -> None:
    made_of = oracle(block())
    one, all_of_it = made_of.cost((EXPAND,)), made_of.cost(ALL)
    assert one.high / one.low < all_of_it.high / all_of_it.low


def test_it_is_fast() -> None:
    model = NETWORKS["YOLO11x"](1)
    flow = planned(model)
    machine = PredictedOracle(made(model), model, list(flow.products), ORIN)
    start = time.perf_counter()
    for _ in range(20):
        machine.cost(list(flow.products))
    assert (time.perf_counter() - start) / 20 < 0.1  # a millisecond here, on a machine that others do not use


def test_keys_and_words_tell_what_costs_depend_on() -> None:
    model = block()
    here, there = oracle(model), oracle(model, conditions("orin-nano"))
    assert here.key == oracle(model).key != there.key
    assert here.words == "predicted for Jetson AGX Orin 64 GB MAXN (docs/prediction.md)"
    assert "assumed" in oracle(model, conditions("thor")).words
    assert int8_gain(ORIN)[0] == pytest.approx(2.0, rel=0.01)
    assert oracle(block(width=16)).key != here.key


def test_strange_layers_and_plans_are_refused() -> None:
    with pytest.raises(UsageError, match="may not be INT8") as caught:
        oracle(block()).cost([STEM])
    assert caught.value.found == STEM
    other = replace(made(block()), plan=plan_from_graph(NETWORKS["ResNet-18"](1)))
    model = NETWORKS["MobileNetV2"](1)
    with pytest.raises(UsageError, match="not of this graph"):
        PredictedOracle(other, model, [layer.name for layer in find_layers(model)], ORIN)


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
