# SPDX-License-Identifier: Apache-2.0
"""Run a typed graph on a CPU the way a GPU would: every FP16 tensor really rounded to FP16.

ONNX Runtime's CPU provider has next to no FP16 kernels. It computes in FP32 and keeps FP32 between neighbouring nodes,
so a graph that is NaN on every GPU looks perfect there. Here the graph is rewritten instead: every float16 tensor
becomes a float32 one that a pair Cast(float16), Cast(float32) rounds, overflow to infinity and subnormals included.
One operator alone is then as exact as FP16 can be: computed in FP32, rounded once. For +, -, ·, / and √ that is IEEE
half arithmetic itself, because 24 bits of significand are at least 2 · 11 + 2 (Figueroa, "When is double rounding
innocuous?", 1995). Sums inside an operator (convolution, MatMul, reductions) accumulate in FP32.

What it cannot show: kernels that accumulate in FP16, and fused kernels that keep more than FP16 between two operators
(those are only more exact).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx
from onnx import AttributeProto, TensorProto, helper, numpy_helper

from evit_deploy.errors import UsageError, first_line

# These only move or select values, so what was rounded before stays rounded. Leaving out the pair saves time, nothing
# else: rounding twice is rounding once.
_EXACT = {
    "Abs", "Clip", "Concat", "Constant", "ConstantOfShape", "DepthToSpace", "Expand", "Flatten", "Gather", "Identity",
    "Max", "MaxPool", "Min", "Neg", "Pad", "ReduceMax", "ReduceMin", "Relu", "Reshape", "Slice", "SpaceToDepth",
    "Split", "Squeeze", "Tile", "Transpose", "Unsqueeze", "Where",
}  # fmt: skip
_TYPE_ATTRIBUTES = ("to", "dtype", "output_dtype")
_KNOWN = {
    getattr(TensorProto, name)
    for name in (
        "FLOAT", "FLOAT16", "BOOL", "INT4", "INT8", "INT16", "INT32", "INT64",
        "UINT4", "UINT8", "UINT16", "UINT32", "UINT64",
    )
}  # fmt: skip


def emulate(model: onnx.ModelProto) -> onnx.ModelProto:
    """Rewrite a typed graph so that an FP32 backend computes it faithfully.

    Args:
        model: A graph whose tensors may be float16; it is left as it is.

    Returns:
        A graph with the same inputs and outputs, FP32 inside. Inner tensors keep their names and hold rounded values.

    Raises:
        UsageError: The graph holds bfloat16 or other types that are not known here, subgraphs, or contradicts itself.
    """
    return _rewrite(model, rounds=True)


def widen(model: onnx.ModelProto) -> onnx.ModelProto:
    """Rewrite a typed graph so that an FP32 backend computes it without rounding: what its FP16 should have been.

    Weights and half inputs have the values they are typed with; nothing else is rounded to half, or to INT8.

    Args:
        model: A graph whose tensors may be float16; it is left as it is.

    Returns:
        A graph with the same inputs, and float32 for every half output. Inner tensors keep their names.

    Raises:
        UsageError: As for `emulate`.
    """
    return _rewrite(model, rounds=False)


def tensor_types(model: onnx.ModelProto) -> dict[str, int]:
    """ONNX element type of every tensor of a graph.

    Raises:
        UsageError: The graph contradicts itself, or leaves a type open.
    """
    try:
        graph = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph
    except onnx.shape_inference.InferenceError as error:
        raise UsageError("the graph's types contradict each other", found=first_line(error)) from error
    values = (*graph.input, *graph.value_info, *graph.output)
    types = {value.name: value.type.tensor_type.elem_type for value in values}
    types |= {tensor.name: tensor.data_type for tensor in graph.initializer}
    for node in graph.node:
        for name in node.output:
            if name and not types.get(name):
                raise UsageError("the graph leaves a type open", found=f"'{name}', made by {node.op_type}")
    return types


def is_half(element_type: int) -> bool:
    """Whether an ONNX element type is float16."""
    return element_type == TensorProto.FLOAT16


def _rewrite(model: onnx.ModelProto, rounds: bool) -> onnx.ModelProto:
    types = tensor_types(model)
    _refuse_strangers(model, types)
    result = onnx.ModelProto()
    result.CopyFrom(model)
    graph = result.graph
    del graph.value_info[:]  # they say half, and are inferred again by whoever needs them
    half_inputs = {value.name for value in graph.input if is_half(types[value.name])}
    half_outputs = {value.name for value in graph.output if is_half(types[value.name])}
    if not rounds:
        for value in graph.output:
            if value.name in half_outputs - half_inputs:
                value.type.tensor_type.elem_type = TensorProto.FLOAT
        half_outputs = set()
    # Half inputs stay half, and so do outputs that are to be rounded; what nodes read is a copy in FP32.
    wide = {name: f"{name}@wide" for name in half_inputs | half_outputs}
    sources = _widen_initializers(graph, half_outputs) | half_inputs
    nodes = [_cast(name, wide[name], TensorProto.FLOAT) for name in sorted(sources)]
    quantised = {node.output[0] for node in graph.node if node.op_type == "QuantizeLinear"}
    for node in graph.node:
        node.input[:] = [wide.get(name, name) for name in node.input]
        _widen_attributes(node)
        if not rounds and quantised.intersection([*node.input[:1], *node.output[:1]]):
            node.CopyFrom(helper.make_node("Identity", node.input[:1], node.output, name=node.name))
        nodes += _rounded(node, types, wide) if rounds else [node]
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(copies)
    return result


def _refuse_strangers(model: onnx.ModelProto, types: dict[str, int]) -> None:
    for name, kind in types.items():
        if kind not in _KNOWN:
            raise UsageError(
                "this graph cannot be emulated",
                found=f"'{name}' is {TensorProto.DataType.Name(kind).lower()}",
                expected="tensors of float16, float32, integers and bool",
                fix="type the graph for FP16",
            )
    for node in model.graph.node:
        if any(attribute.type in (AttributeProto.GRAPH, AttributeProto.GRAPHS) for attribute in node.attribute):
            raise UsageError(
                "this graph cannot be emulated",
                found=f"{node.op_type} '{node.name}' holds a graph of its own",
                expected="one flat graph, as evit-deploy export writes it",
            )


def _widen_initializers(graph: onnx.GraphProto, kept: set[str]) -> set[str]:
    """Give weights their FP32 form. Returns those that are graph outputs too, and stay half for that."""
    stay = set()
    for tensor in graph.initializer:
        if tensor.name in kept:
            stay.add(tensor.name)
        elif is_half(tensor.data_type):
            tensor.CopyFrom(_wide_tensor(tensor))
    return stay


def _widen_attributes(node: onnx.NodeProto) -> None:
    for attribute in node.attribute:
        if attribute.name in _TYPE_ATTRIBUTES and is_half(attribute.i):
            attribute.i = TensorProto.FLOAT
        elif attribute.type == AttributeProto.TENSOR and is_half(attribute.t.data_type):
            attribute.t.CopyFrom(_wide_tensor(attribute.t))


def _wide_tensor(tensor: onnx.TensorProto) -> onnx.TensorProto:
    return numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float32), tensor.name)


def _rounded(node: onnx.NodeProto, types: dict[str, int], wide: dict[str, str]) -> Iterator[onnx.NodeProto]:
    """A node in FP32, and the casts that round what it makes."""
    made = list(node.output)
    rounding = [bool(name) and is_half(types[name]) and (node.op_type not in _EXACT or name in wide) for name in made]
    node.output[:] = [f"{name}@exact" if rounds else name for name, rounds in zip(made, rounding, strict=True)]
    yield node
    for name in (name for name, rounds in zip(made, rounding, strict=True) if rounds):
        half = name if name in wide else f"{name}@half"
        yield _cast(f"{name}@exact", half, TensorProto.FLOAT16)
        yield _cast(half, wide.get(name, name), TensorProto.FLOAT)


def _cast(source: str, result: str, to: int) -> onnx.NodeProto:
    return helper.make_node("Cast", [source], [result], name=f"{result}@cast", to=to)
