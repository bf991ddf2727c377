# SPDX-License-Identifier: Apache-2.0
"""The typed INT8 graphs of real networks: read by NVIDIA's parser, and the same numbers whoever runs them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from evit_deploy.data.scenes import render_scene
from evit_deploy.errors import UsageError
from evit_deploy.export import ExportOptions, export_model
from evit_deploy.precision.arrange import arrange
from evit_deploy.precision.attention import SCOPE
from evit_deploy.precision.emulate import emulate, tensor_types
from evit_deploy.precision.faithful import FaithfulGraph, with_logits
from evit_deploy.precision.fp16 import lower_fp16
from evit_deploy.precision.int8.calibrate import calibrate
from evit_deploy.precision.int8.layers import Layer, find_layers
from evit_deploy.precision.int8.place import place, tied
from tests.conftest import require
from tests.precision.int8.graphs import LAYERS, SOURCES, parse, toy_network
from tests.precision.typed import OPTIMISATIONS, make_typed, run

SIZE = (256, 512)
SCALES = {"stem.act": 0.02, "expand.act": 0.03, "depth.act": 0.02, "both": 0.025}
TOY = toy_network()


@pytest.fixture(scope="module")
def streets(tmp_path_factory: pytest.TempPathFactory) -> tuple[onnx.ModelProto, tuple[Layer, ...]]:
    """b0-seg with demo weights, 256×512: the typed graph with every layer that may be INT8, and these layers."""
    folder = tmp_path_factory.mktemp("streets") / "b0-seg"
    export_model("b0-seg", folder, ExportOptions(weights="demo", resolution=SIZE))
    model = arrange(onnx.load(folder / "model.onnx"))
    typed, layers = lower_fp16(model)[0], find_layers(model)
    feeds = [{"image": render_scene(4_000_000 + number, *SIZE).image[None]} for number in range(4)]
    scales = calibrate(model, list(dict.fromkeys(layer.source for layer in layers)), feeds, total=4).scales
    return place(typed, [layer.name for layer in layers], scales), layers


@pytest.mark.slow
@pytest.mark.parametrize(("name", "file"), [
    ("b0-seg", "model.onnx"), ("b1-cls", "model.onnx"), ("l1-seg", "model.onnx"), ("l0-sam", "encoder/encoder.onnx"),
])  # fmt: skip
def test_tensorrt_reads_every_kind_of_network(name: str, file: str, tmp_path: Path) -> None:
    resolution = SIZE if name.endswith("-seg") else None
    export_model(name, tmp_path / name, ExportOptions(weights="random", resolution=resolution))
    model = lower_fp16(arrange(onnx.load(tmp_path / name / file)))[0]
    layers = find_layers(model)
    sources = {layer.source for layer in layers}
    placed = place(model, [layer.name for layer in layers], dict.fromkeys(sources, 0.05))
    onnx.checker.check_model(placed, full_check=True)
    assert placed.opset_import[0].version == 19
    groups = {node.name: attribute.i for node in model.graph.node for attribute in node.attribute
              if attribute.name == "group"}  # fmt: skip
    assert all(layer.kind == "depthwise" or groups.get(layer.name, 1) == 1 for layer in layers)
    require("tensorrt_rtx")
    problems, counts = parse(placed)
    assert problems == []
    assert counts == {"QUANTIZE": len(sources), "DEQUANTIZE": len(sources) + len(layers)}


def alone(placed: onnx.ModelProto, layer: Layer) -> onnx.ModelProto:
    """One INT8 convolution with its Q/DQ, reading a half tensor."""
    makers = {name: node for node in placed.graph.node for name in node.output}
    conv = makers[layer.result]
    dequantise, weights = makers[conv.input[0]], makers[conv.input[1]]
    nodes = [makers[dequantise.input[0]], dequantise, weights, conv]
    needed = {name for node in nodes for name in node.input}
    tensors = {t.name: numpy_helper.to_array(t) for t in placed.graph.initializer if t.name in needed}
    group = next((attribute.i for attribute in conv.attribute if attribute.name == "group"), 1)
    channels = group * tensors[weights.input[0]].shape[1]
    ends = ({layer.source: (TensorProto.FLOAT16, [1, channels, 12, 12])}, {layer.result: (TensorProto.FLOAT16, None)})
    return make_typed(nodes, *ends, opset=19, **tensors)


def test_a_layer_has_the_same_numbers_in_onnxruntime_and_in_the_emulation(
    streets: tuple[onnx.ModelProto, tuple[Layer, ...]],
) -> None:
    """Every INT8 layer of a network by itself: half an ULP of FP16 apart, where the order of sums decides."""
    placed, layers = streets
    draw = np.random.default_rng(0)
    for layer in layers:
        model = alone(placed, layer)
        shape = [size.dim_value for size in model.graph.input[0].type.tensor_type.shape.dim]
        feed = {layer.source: (draw.standard_normal(shape) * 2).astype(np.float16)}
        verified = run(emulate(model), **feed)[0].astype(np.float64)
        for optimisation in ("ORT_DISABLE_ALL", "ORT_ENABLE_ALL"):
            found = run(model, optimisation, **feed)[0].astype(np.float64)
            error = np.linalg.norm(found - verified) / np.linalg.norm(verified)
            assert error < 2.0**-10, f"{layer.name}: {error}"


def test_the_network_finds_the_same_classes_in_onnxruntime_and_in_the_emulation(
    streets: tuple[onnx.ModelProto, tuple[Layer, ...]],
) -> None:
    """Where a value lies between two steps the order of sums decides, and such ties spread: logits 4 % apart."""
    placed, _ = streets
    verified, shown = FaithfulGraph(placed), with_logits(placed)
    equal = []
    for number in range(4):
        feed = {"image": render_scene(3_000_000 + number, *SIZE).image[None]}
        ours, (classes, logits) = verified.infer(feed), run(shown, **feed)
        exact = ours["logits"].astype(np.float64)
        error = np.linalg.norm(logits - exact) / np.linalg.norm(exact)
        assert error < 0.06
        equal.append((classes == ours["classes"]).mean())
    assert np.mean(equal) >= 0.99


@pytest.mark.parametrize("optimisation", OPTIMISATIONS)
def test_the_emulation_is_exact_whatever_onnxruntime_optimises(optimisation: str) -> None:
    """Steps that are powers of two, so that every sum is exact: rounding to even, and ±127 at the ends."""
    weights = np.array([[3, -5], [0, 0], [127, 1]], np.int8).reshape(3, 2, 1, 1)
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "step", "zero"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "step", "zero"], ["d"]),
        helper.make_node("DequantizeLinear", ["w", "scale"], ["wide"], axis=0),
        helper.make_node("Conv", ["d", "wide"], ["y"]),
    ]
    half = np.float16
    tensors = {"step": half(0.25), "zero": np.int8(0), "w": weights, "scale": np.array([0.5, 1, 2.0**-24], half)}
    ends = ({"x": (TensorProto.FLOAT16, [1, 2, 1, 6])}, {"y": (TensorProto.FLOAT16, None)})
    model = make_typed(nodes, *ends, opset=19, **tensors)
    x = np.array([[0.125, 0.375, -0.125, 100, -100, 0.1], [1, -1, 0.625, 31.75, -32, 0]], half).reshape(1, 2, 1, 6)
    steps = np.clip(np.rint(x.astype(np.float64) / 0.25), -128, 127) * 0.25
    expected = np.einsum("oi,nihw->nohw", weights[:, :, 0, 0] * np.array([[0.5], [1], [2.0**-24]]), steps)
    np.testing.assert_array_equal(run(emulate(model), optimisation, x=x)[0], expected.astype(half))


# Placement, whatever is chosen


@given(chosen=st.sets(st.sampled_from(LAYERS)), half=st.booleans())
def test_any_choice_is_well_typed_and_touches_nothing_else(chosen: set[str], half: bool) -> None:
    graph = lower_fp16(TOY)[0] if half else TOY
    placed = place(graph, chosen, SCALES)
    onnx.checker.check_model(placed, full_check=True)
    types, kinds = tensor_types(placed), [node.op_type for node in placed.graph.node]
    sources = {SOURCES[name] for name in chosen}
    assert kinds.count("QuantizeLinear") == len(sources)
    assert kinds.count("DequantizeLinear") == len(sources) + len(chosen)
    before = {node.name: node for node in graph.graph.node}
    for node in placed.graph.node:
        if node.name in before and node.name not in chosen:
            assert node == before[node.name]
        elif node.name in chosen:
            assert types[node.input[0]] == types[node.input[1]] == types[node.output[0]]
    if {"merge", "block.main.expand"} <= chosen:
        steps = {t.name: numpy_helper.to_array(t) for t in placed.graph.initializer if t.name.endswith(".step")}
        assert steps["both.step"] == steps["stem.act.step"]


def test_concats_with_a_part_in_common_have_one_scale() -> None:
    nodes = [helper.make_node("Concat", ["a", "b"], ["ab"]), helper.make_node("Concat", ["b", "c"], ["bc"])]
    floats = {name: (TensorProto.FLOAT, [1]) for name in ("a", "b", "c", "ab", "bc")}
    model = make_typed(nodes, {name: floats[name] for name in "abc"}, {name: floats[name] for name in ("ab", "bc")})
    steps = tied(model, {"a", "b", "ab", "bc"}, {"a": 1.0, "b": 2.0, "ab": 3.0, "bc": 4.0})
    assert steps == dict.fromkeys(("a", "b", "ab", "bc"), 4.0)
    assert tied(model, {"a", "ab", "bc"}, {"a": 1.0, "ab": 3.0, "bc": 4.0}) == {"a": 3.0, "ab": 3.0, "bc": 4.0}


def test_a_scale_that_fp16_cannot_hold_is_refused() -> None:
    scales = {**SCALES, "both": 1e5}
    place(TOY, ["merge"], scales)
    with pytest.raises(UsageError, match="'both' has no scale"):
        place(lower_fp16(TOY)[0], ["merge"], scales)


def test_a_tiny_scale_is_the_smallest_that_fp16_has() -> None:
    placed = place(lower_fp16(TOY)[0], ["merge"], {"both": 1e-12})
    step = next(numpy_helper.to_array(t) for t in placed.graph.initializer if t.name == "both.step")
    assert step == np.float16(2.0**-24)


def test_a_channel_of_zeros_gives_its_bias_and_no_nan(toy: onnx.ModelProto) -> None:
    tensor = next(tensor for tensor in toy.graph.initializer if tensor.name == "expand.w")
    weights = numpy_helper.to_array(tensor).copy()
    weights[3] = 0
    tensor.CopyFrom(numpy_helper.from_array(weights, tensor.name))
    placed = place(lower_fp16(toy)[0], LAYERS, SCALES)
    placed.graph.output.append(helper.make_tensor_value_info("expand", TensorProto.FLOAT16, None))
    image = np.random.default_rng(0).standard_normal((1, 3, 16, 16)).astype(np.float16)
    for logits, expand in (run(placed, image=image), run(emulate(placed), image=image)):
        assert np.isfinite(logits).all() and not expand[:, 3].any()


def test_inside_the_attention_nothing_changes(streets: tuple[onnx.ModelProto, tuple[Layer, ...]]) -> None:
    placed, _ = streets
    inner = [node for node in placed.graph.node if f"{SCOPE}main." in node.name]
    assert len(inner) > 20 and not {"QuantizeLinear", "DequantizeLinear"} & {node.op_type for node in inner}
    assert not [name for node in inner for name in node.input if name.endswith(".dequantised")]
