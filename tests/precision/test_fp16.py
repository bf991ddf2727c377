# SPDX-License-Identifier: Apache-2.0
"""Typing a graph in FP16: every type decided, no superfluous cast, weights checked."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from evit_deploy.errors import CheckFailedError, UsageError
from evit_deploy.precision.arrange import arrange
from evit_deploy.precision.emulate import emulate, tensor_types
from evit_deploy.precision.fp16 import LARGEST, lower_fp16

RNG = np.random.default_rng(0)


def conv_graph(weight, bias=None, element=TensorProto.FLOAT):
    """x → Conv → y."""
    inputs = ["x", "w"] if bias is None else ["x", "w", "b"]
    arrays = {"w": weight} if bias is None else {"w": weight, "b": bias}
    channels, outputs = weight.shape[1], weight.shape[0]
    graph = helper.make_graph(
        [helper.make_node("Conv", inputs, ["y"], name="conv")],
        "g",
        [helper.make_tensor_value_info("x", element, [1, channels, 4, 4])],
        [helper.make_tensor_value_info("y", element, [1, outputs, 4, 4])],
        [numpy_helper.from_array(np.asarray(array, np.float32), name) for name, array in arrays.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def run(model, feeds):
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, feeds)[0]


def relative(found, expected):
    return float(np.linalg.norm(found.astype(np.float64) - expected) / np.linalg.norm(expected))


@pytest.mark.parametrize("io", ["fp16", "fp32"])
def test_every_tensor_is_typed_and_no_cast_is_superfluous(io, exported, tensor_exports):
    for model in (exported, *tensor_exports.values()):
        typed, notes = lower_fp16(arrange(model), io)
        onnx.checker.check_model(typed, full_check=True)
        assert not notes
        types = tensor_types(typed)
        kept = {name for node in typed.graph.node if node.op_type == "Resize" for name in node.input[1:3]}
        ends = {value.name for value in (*typed.graph.input, *typed.graph.output)}
        floats = {name for name, kind in types.items() if kind == TensorProto.FLOAT}
        assert floats <= kept | (ends if io == "fp32" else set())
        made = {name: node.op_type for node in typed.graph.node for name in node.output}
        for node in typed.graph.node:
            if node.op_type == "Cast":
                assert made.get(node.input[0]) != "Cast"
                assert ends & {*node.input, *node.output}


@settings(max_examples=30, deadline=None)
@given(log=st.floats(-8.5, 8.5), seed=st.integers(0, 2**16), with_bias=st.booleans())
def test_weights_of_any_size_survive(log, seed, with_bias):
    rng = np.random.default_rng(seed)
    weight = (rng.standard_normal((4, 3, 1, 1)) * 10.0**log).astype(np.float32)
    x = rng.standard_normal((1, 3, 4, 4))
    x = (x / max(1.0, 10.0**log / 100)).astype(np.float16)  # so that the result fits FP16
    bias = rng.standard_normal(4) * min(10.0**log, 100) if with_bias else None
    model = conv_graph(weight, bias)
    typed, notes = lower_fp16(model)
    expected = run(model, {"x": x.astype(np.float32)})
    found = run(emulate(typed), {"x": x})
    if np.abs(expected).max() > 1e-3:  # below, the result itself is subnormal
        assert relative(found, expected.astype(np.float64)) < 2e-2
    assert np.isfinite(found).all()
    if np.abs(weight).max() > LARGEST or np.abs(weight).max() < 2.0**-20:
        assert notes[0].name == "w"
        assert "scaled, and back" in str(notes[0])
        assert "w" not in {tensor.name for tensor in typed.graph.initializer}


@pytest.mark.parametrize("kind", ["Conv", "MatMul", "Gemm", "Gemm transposed"])
def test_one_channel_too_large_leaves_the_others_alone(kind):
    weight = RNG.standard_normal((4, 3)).astype(np.float32)
    weight[2] *= 1e6
    x = (RNG.standard_normal((1, 3)) * 1e-3).astype(np.float16)
    if kind == "Conv":
        model, x = conv_graph(weight[:, :, None, None], np.ones(4)), np.tile(x[:, :, None, None], (1, 1, 4, 4))
    else:
        stored = weight if kind == "Gemm transposed" else weight.T
        attributes = {"transB": 1} if kind == "Gemm transposed" else {}
        inputs = ["x", "w", "b"] if kind != "MatMul" else ["x", "w"]
        graph = helper.make_graph(
            [helper.make_node(kind.split()[0], inputs, ["y"], name="product", **attributes)],
            "g",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4])],
            [
                numpy_helper.from_array(np.ascontiguousarray(stored), "w"),
                numpy_helper.from_array(np.ones(4, np.float32), "b"),
            ],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    typed, (note,) = lower_fp16(model)
    assert "1 channel scaled" in str(note)
    expected, found = run(model, {"x": x.astype(np.float32)}), run(emulate(typed), {"x": x})
    np.testing.assert_allclose(found.astype(np.float64), expected, rtol=4e-3, atol=1e-5)


def test_small_weights_do_not_make_the_inner_result_overflow():
    """Many inputs of one sign: scaled up as far as possible, the sum would leave FP16 before it is scaled back."""
    weight = np.abs(RNG.standard_normal((8, 512, 1, 1))) * 5e-6
    model = conv_graph(weight)
    x = np.abs(RNG.standard_normal((1, 512, 4, 4)) * 3000).astype(np.float16)
    typed, notes = lower_fp16(model)
    expected, found = run(model, {"x": x.astype(np.float32)}), run(emulate(typed), {"x": x})
    assert notes
    assert relative(found, expected.astype(np.float64)) < 2e-3


def test_one_small_channel_is_seen_among_large_ones():
    weight = RNG.standard_normal((8, 64, 1, 1))
    weight[3] *= 1e-6
    model = conv_graph(weight)
    x = (RNG.standard_normal((1, 64, 4, 4)) * 100).astype(np.float16)
    typed, (note,) = lower_fp16(model)
    assert "1 channel scaled" in str(note)
    expected, found = run(model, {"x": x.astype(np.float32)}), run(emulate(typed), {"x": x})
    assert relative(found[:, 3], expected[:, 3].astype(np.float64)) < 2e-3


@pytest.mark.parametrize("size", [1e-6, 1e5])
def test_a_constant_on_the_left_of_a_product(size):
    """As the projection stands in the arranged attention."""
    weight = (RNG.standard_normal((4, 6)) * size).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["w", "x"], ["y"], name="product")],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [6, 5])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [4, 5])],
        [numpy_helper.from_array(weight, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    x = (RNG.standard_normal((6, 5)) * min(1e4, 10 / size)).astype(np.float16)
    typed, notes = lower_fp16(model)
    assert notes
    expected, found = run(model, {"x": x.astype(np.float32)}), run(emulate(typed), {"x": x})
    assert relative(found, expected.astype(np.float64)) < 2e-3


def test_ordinary_weights_are_left_alone():
    model = conv_graph(RNG.standard_normal((4, 3, 1, 1)), np.ones(4))
    typed, notes = lower_fp16(model)
    assert not notes
    assert [node.op_type for node in typed.graph.node] == ["Conv"]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_refused(value):
    weight = np.ones((4, 3, 1, 1))
    weight[1, 2] = value
    with pytest.raises(CheckFailedError, match="w is not finite") as caught:
        lower_fp16(conv_graph(weight))
    assert "checkpoint" in str(caught.value.fix)


def test_a_constant_beyond_fp16_is_refused():
    with pytest.raises(CheckFailedError, match="b does not fit FP16") as caught:
        lower_fp16(conv_graph(np.ones((4, 3, 1, 1)), np.full(4, 1e5)))
    assert caught.value.found == "1e+05"
    assert "--fp32" in str(caught.value.fix)


def test_a_vanishing_epsilon_is_reported():
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "epsilon"], ["y"], name="add")],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2])],
        [numpy_helper.from_array(np.float32(1e-15), "epsilon")],
    )
    _, notes = lower_fp16(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8))
    (note,) = notes
    assert "epsilon" in str(note)
    assert "kept as it is" in str(note)


def test_graphs_that_are_not_ours_are_refused():
    typed = conv_graph(np.ones((1, 1, 1, 1)))
    typed.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.ones((1, 1, 1, 1), np.float16), "w"))
    foreign = conv_graph(np.ones((1, 1, 1, 1)))
    foreign.graph.node[0].domain = "com.example"
    constant = conv_graph(np.ones((1, 1, 1, 1)))
    constant.graph.node.insert(0, helper.make_node("Constant", [], ["c"], name="c", value_float=1.0))
    for model, words in ((typed, "typed already"), (foreign, "other domains"), (constant, "Constant nodes")):
        with pytest.raises(UsageError, match="cannot be typed") as caught:
            lower_fp16(model)
        assert words in str(caught.value.found)
