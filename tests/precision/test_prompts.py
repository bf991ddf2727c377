# SPDX-License-Identifier: Apache-2.0
"""Mask decoders for GPUs: sizes fixed without changing a number, and positions that stay FP32."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from evit_deploy.errors import ArtifactError
from evit_deploy.precision.emulate import emulate, tensor_types
from evit_deploy.precision.fp16 import lower_fp16
from evit_deploy.precision.graph import GraphView
from evit_deploy.precision.lower import lower_decoder
from evit_deploy.precision.prompts import encoding_nodes, fix_prompts
from tests.precision.toy_graphs import toy_decoder, toy_encoder
from tests.precision.typed import run


def prompts(count, slots, seed=0):
    draw = np.random.default_rng(seed)
    return {
        "coords": draw.uniform(0, 1024, (count, slots, 2)).astype(np.float32),
        "labels": draw.integers(-2, 4, (count, slots)).astype(np.int32),
        "embedding": draw.standard_normal((1, 256, 64, 64), np.float32),
        "mask": draw.standard_normal((1, 1, 256, 256), np.float32),
        "has_mask": np.ones(1, np.float32),
    }


def names(model):
    return [value.name for value in (*model.graph.input, *model.graph.output)]


@pytest.mark.parametrize(("count", "slots"), [(1, 3), (8, 10)])
def test_fixed_sizes_leave_no_axis_open_and_change_no_number(count, slots):
    model = toy_decoder()
    before = model.SerializeToString()
    fixed = fix_prompts(model, count, slots)
    assert model.SerializeToString() == before
    assert names(fixed) == names(model)
    assert all(size > 0 for shape in GraphView(fixed).shapes.values() for size in shape)
    feed = prompts(count, slots)
    for found, expected in zip(run(fixed, **feed), run(model, **feed), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_an_encoder_has_no_prompts_to_fix():
    with pytest.raises(ArtifactError, match="no mask decoder"):
        fix_prompts(toy_encoder(), 1, 3)


def test_only_what_leads_from_coordinates_to_sines_is_encoding():
    model = toy_decoder()
    kinds = {node.op_type for node in model.graph.node if node.name in encoding_nodes(model)}
    assert kinds == {"Mul", "MatMul", "Sin", "Cos"}
    assert encoding_nodes(toy_encoder()) == frozenset()


def test_positions_are_encoded_in_fp32_and_the_rest_in_fp16():
    lowered = lower_decoder(toy_decoder(), "fp16", 2, 4)
    onnx.checker.check_model(lowered.model, full_check=True)
    types = tensor_types(lowered.model)
    assert types["coords"] == TensorProto.FLOAT and types["labels"] == TensorProto.INT32
    assert {types[name] for name in ("embedding", "mask", "has_mask", "masks", "iou")} == {TensorProto.FLOAT16}
    wide = {node.op_type for node in lowered.model.graph.node if types[node.output[0]] == TensorProto.FLOAT}
    assert wide == {"Mul", "MatMul", "Sin", "Cos"}
    casts = [node for node in lowered.model.graph.node if node.op_type == "Cast" and ".fp16" in node.name]
    assert [types[node.input[0]] for node in casts] == [TensorProto.FLOAT] * 2
    assert any("FP32" in note for note in lowered.notes)


def test_half_positions_would_miss_by_more():
    """What the island is for: the same graph with and without it, emulated."""
    fixed = fix_prompts(toy_decoder(), 4, 3)
    feed = prompts(4, 3)
    expected = run(fixed, **feed)[1]
    errors = []
    for kept in (encoding_nodes(fixed), frozenset()):
        model = emulate(lower_fp16(fixed, fp32=kept)[0])
        halves = {v.name for v in model.graph.input if v.type.tensor_type.elem_type == TensorProto.FLOAT16}
        typed = {name: array.astype(np.float16) if name in halves else array for name, array in feed.items()}
        found = run(model, **typed)[1].astype(np.float64)
        errors.append(np.linalg.norm(found - expected) / np.linalg.norm(expected))
    assert errors[0] < 2e-3 and errors[1] > 2 * errors[0]


def test_fp32_is_left_alone():
    lowered = lower_decoder(toy_decoder(), "fp32", 1, 3)
    assert TensorProto.FLOAT16 not in set(tensor_types(lowered.model).values())


def island(fp32):
    """x → Relu → a → Exp → b → Add(x) → y, with some of them in FP32."""
    nodes = [
        helper.make_node("Mul", ["x", "w"], ["a"], name="mul"),
        helper.make_node("Exp", ["a"], ["b"], name="exp"),
        helper.make_node("Add", ["b", "w"], ["c"], name="add"),
        helper.make_node("Concat", ["b", "c"], ["y"], name="concat", axis=0),
    ]
    values = [[helper.make_tensor_value_info(n, TensorProto.FLOAT, [k])] for n, k in (("x", 3), ("y", 6))]
    weight = onnx.numpy_helper.from_array(np.array([1.0, 2.0, 3.0], np.float32), "w")
    graph = helper.make_graph(nodes, "g", *values, [weight])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return lower_fp16(model, fp32=frozenset(fp32))[0]


@pytest.mark.parametrize("kept", [(), ("mul",), ("exp",), ("add",), ("mul", "exp"), ("exp", "add"), ("mul", "add"),
                                  ("concat",), ("mul", "exp", "add", "concat")])  # fmt: skip
def test_any_nodes_can_stay_fp32(kept):
    """Constants that both sides read, outputs made inside, inputs read by one side only or both."""
    model = island(kept)
    onnx.checker.check_model(model, full_check=True)
    types = tensor_types(model)
    for node in model.graph.node:
        if node.op_type != "Cast":
            expected = TensorProto.FLOAT if node.name in kept else TensorProto.FLOAT16
            assert {types[name] for name in (*node.input, *node.output)} == {expected}
    x = np.array([0.1, -0.2, 0.3])
    kind = np.float32 if types["x"] == TensorProto.FLOAT else np.float16
    found = run(emulate(model), x=x.astype(kind))[0].astype(np.float64)
    scaled = np.exp(x * [1, 2, 3])
    np.testing.assert_allclose(found, np.concatenate([scaled, np.add(scaled, [1, 2, 3])]), rtol=2e-3)
