# SPDX-License-Identifier: Apache-2.0
"""Where Q/DQ stand, and that the graph computes what they say."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper

from evit_deploy.errors import UsageError
from evit_deploy.precision.emulate import tensor_types
from evit_deploy.precision.faithful import FaithfulGraph
from evit_deploy.precision.fp16 import lower_fp16
from evit_deploy.precision.int8.calibrate import calibrate
from evit_deploy.precision.int8.layers import find_layers
from evit_deploy.precision.int8.place import place, tied
from evit_deploy.precision.int8.weights import LEVELS, quantise_weights
from tests.conftest import require
from tests.precision.int8.graphs import LAYERS, SOURCES, images, parse
from tests.precision.typed import run

SCALES = {"stem.act": 0.02, "expand.act": 0.03, "depth.act": 0.02, "both": 0.025}


def kinds(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


def value(model: onnx.ModelProto, name: str) -> np.ndarray:
    return numpy_helper.to_array(next(tensor for tensor in model.graph.initializer if tensor.name == name))


def all_scales(model: onnx.ModelProto) -> dict[str, float]:
    return {layer.source: 0.05 for layer in find_layers(model)}


def names(model: onnx.ModelProto) -> list[str]:
    return [layer.name for layer in find_layers(model)]


@pytest.mark.parametrize("half", [False, True], ids=["fp32", "fp16"])
def test_scales_have_the_type_of_the_graph(toy: onnx.ModelProto, half: bool) -> None:
    graph = lower_fp16(toy)[0] if half else toy
    placed = place(graph, LAYERS, SCALES)
    kind = TensorProto.FLOAT16 if half else TensorProto.FLOAT
    types = tensor_types(placed)
    for node in placed.graph.node:
        if node.op_type == "QuantizeLinear":
            assert (types[node.input[1]], types[node.output[0]]) == (kind, TensorProto.INT8)
        if node.op_type == "DequantizeLinear":
            assert (types[node.input[0]], types[node.output[0]]) == (TensorProto.INT8, kind)
    assert placed.opset_import[0].version == (19 if half else 17)


def test_residual_sums_read_what_was_never_rounded(toy: onnx.ModelProto) -> None:
    placed = place(toy, LAYERS, SCALES)
    total = next(node for node in placed.graph.node if node.op_type == "Add")
    assert list(total.input) == ["point", "stem.act"]
    assert kinds(placed).count("QuantizeLinear") == 4 and kinds(placed).count("DequantizeLinear") == 8
    for node in placed.graph.node:
        if node.name in LAYERS:
            assert node.input[0] == f"{SOURCES[node.name]}.dequantised"


def test_a_concat_is_quantised_once_with_the_scale_of_its_parts(toy: onnx.ModelProto) -> None:
    steps = tied(toy, SOURCES.values(), SCALES)
    assert steps["both"] == steps["stem.act"] == 0.025 and steps["depth.act"] == 0.02
    placed = place(toy, LAYERS, SCALES)
    concat = next(node for node in placed.graph.node if node.op_type == "Concat")
    assert list(concat.input) == ["sum", "stem.act"]
    assert value(placed, "both.step") == value(placed, "stem.act.step") == np.float32(0.025)


def test_numbers_are_those_of_quantisation(toy: onnx.ModelProto) -> None:
    """One layer: its output is the convolution of rounded values with rounded weights, and nothing else changed."""
    feed = images(1)[0]
    placed = place(toy, ["block.main.expand"], SCALES)
    for shown in (toy, placed):
        shown.graph.output.extend(onnx.ValueInfoProto(name=name) for name in ("stem.act", "expand"))
    _, stem, expand = run(placed, "ORT_DISABLE_ALL", **feed)
    np.testing.assert_array_equal(stem, run(toy, "ORT_DISABLE_ALL", **feed)[1])
    x = np.clip(np.rint(stem / np.float32(0.02)), -128, LEVELS) * np.float32(0.02)
    int8, scale = quantise_weights(value(toy, "expand.w"), np.float32)
    weights = int8 * scale.reshape(-1, 1, 1, 1)
    np.testing.assert_allclose(expand[0], np.einsum("oi,ihw->ohw", weights[:, :, 0, 0], x[0]), atol=1e-5)


def test_no_layer_is_no_change(toy: onnx.ModelProto) -> None:
    placed = place(toy, [], {})
    feed = images(1)[0]
    assert kinds(placed) == kinds(toy)
    np.testing.assert_array_equal(run(placed, **feed)[0], run(toy, **feed)[0])


@pytest.mark.parametrize(
    ("layers", "scales", "words"),
    [
        (["stem"], SCALES, "cannot be INT8"),
        (["last"], SCALES, "cannot be INT8"),
        (["nothing"], SCALES, "cannot be INT8"),
        (["merge"], {}, "'both' has no scale"),
        (["merge"], {"both": 0.0}, "'both' has no scale"),
        (["merge"], {"both": float("nan")}, "'both' has no scale"),
        (["merge"], {"both": float("inf")}, "'both' has no scale"),
    ],
)
def test_what_makes_no_sense_is_refused(toy: onnx.ModelProto, layers: list, scales: dict, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        place(toy, layers, scales)


def test_the_graph_given_stays_as_it_is(half: onnx.ModelProto) -> None:
    before = half.SerializeToString()
    place(half, names(half), all_scales(half))
    assert half.SerializeToString() == before


def test_attention_and_outputs_hold_no_q(half: onnx.ModelProto) -> None:
    placed = place(half, names(half), all_scales(half))
    for node in placed.graph.node:
        if node.op_type == "QuantizeLinear":  # the sum behind the attention may be quantised for what comes next
            assert ".context_module.main." not in node.input[0]
        elif (".context_module." in node.name and node.op_type != "DequantizeLinear") or "classify." in node.name:
            assert not any(name.endswith(".dequantised") for name in node.input)
    onnx.checker.check_model(placed, full_check=True)
    assert [output.name for output in placed.graph.output] == ["classes"]


def test_onnxruntime_and_the_emulation_say_the_same(
    arranged: onnx.ModelProto, half: onnx.ModelProto, feed: dict[str, np.ndarray]
) -> None:
    """The graph as it ships, run by ONNX Runtime, against what was verified.

    Logits differ where a value lies between two steps and the order of sums decides; such ties spread. So the whole
    graph is held to its classes, and single layers are held to their numbers above.
    """
    layers = find_layers(arranged)
    tensors = list(dict.fromkeys(layer.source for layer in layers))
    placed = place(half, [layer.name for layer in layers], calibrate(arranged, tensors, [feed], total=1).scales)
    verified = FaithfulGraph(placed).infer(feed)["classes"]
    assert (run(placed, **feed)[0] == verified).mean() > 0.9
    assert (run(placed, "ORT_DISABLE_ALL", **feed)[0] == verified).mean() > 0.9


def test_tensorrt_finds_it_well_typed(half: onnx.ModelProto) -> None:
    """NVIDIA's own parser, into a strongly typed network: a scale of the wrong type does not pass."""
    require("tensorrt_rtx")
    placed = place(half, names(half), all_scales(half))
    assert parse(placed)[0] == []
    broken = onnx.ModelProto()
    broken.CopyFrom(placed)
    scale = next(tensor for tensor in broken.graph.initializer if tensor.name.endswith(".step"))
    scale.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(scale).astype(np.float32), scale.name))
    assert parse(broken)[0] != []
