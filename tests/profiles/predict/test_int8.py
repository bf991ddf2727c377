# SPDX-License-Identifier: Apache-2.0
"""What INT8 is predicted to cost: what TensorRT fuses and what it pays for."""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

sys.path.insert(0, str(Path(__file__).parents[3] / "tools"))

from int8_graphs import Network
from int8_networks import NETWORKS

from evit_deploy.errors import UsageError
from evit_deploy.precision.int8.layers import find_layers
from evit_deploy.profiles.predict import conditions, predict_plan
from evit_deploy.profiles.predict.fusion import plan_from_graph
from evit_deploy.profiles.predict.int8 import PredictedOracle
from evit_deploy.profiles.predict.int8_cost import Int8Model, int8_calibration, int8_gain
from evit_deploy.profiles.predict.int8_flow import GRAPH_INPUT
from tests.profiles.predict.made_int8 import (
    ALL,
    EXPAND,
    ORIN,
    PROJECT,
    SIDE,
    STEM,
    WIDTH,
    block,
    made,
    oracle,
    planned,
)


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
    return found.half.activations / scale, found.eight.activations / scale, len(found.added)


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
