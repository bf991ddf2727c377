# SPDX-License-Identifier: Apache-2.0
"""What the nodes of an ONNX graph compute and in which type: the yardstick for what a compiler makes of them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from evit_deploy.errors import UsageError, extra

if TYPE_CHECKING:
    from onnx import NodeProto, TypeProto

_MATH = ("Conv", "MatMul", "Gemm")


@dataclass(frozen=True)
class GraphMath:
    """The convolutions and matrix products of a graph.

    Attributes:
        flops: Floating-point operations of each by name, two per multiply-add. A node without a name has the one
            that TensorRT gives it.
        types: ONNX element types they compute in, such as {"FLOAT16"}.
    """

    flops: dict[str, int]
    types: frozenset[str]


def graph_math(path: Path) -> GraphMath:
    """Count what an ONNX graph of fixed sizes computes.

    Raises:
        UsageError: The size of a tensor that a convolution or product reads or writes is not known.
        MissingExtraError: onnx is not installed.
    """
    with extra("export", "Counting operations"):
        import onnx
    graph = onnx.shape_inference.infer_shapes(onnx.load(path), data_prop=True).graph
    known = {value.name: value.type for value in (*graph.input, *graph.value_info, *graph.output)}
    shapes = {name: _fixed(type_) for name, type_ in known.items()}
    types = {name: type_.tensor_type.elem_type for name, type_ in known.items()}
    for weight in graph.initializer:
        shapes[weight.name], types[weight.name] = tuple(weight.dims), weight.data_type
    flops: Counter[str] = Counter()
    nodes = [node for node in graph.node if node.op_type in _MATH]
    for node in nodes:
        flops[node.name or f"node_of_{node.output[0]}"] += _flops(node, shapes)
    found = {types.get(node.input[0], onnx.TensorProto.UNDEFINED) for node in nodes}
    return GraphMath(dict(flops), frozenset(onnx.TensorProto.DataType.Name(number) for number in found))


def _fixed(type_: TypeProto) -> tuple[int, ...] | None:
    """The shape of a tensor, or None where a dimension is open."""
    if not type_.tensor_type.HasField("shape"):
        return None
    dims = type_.tensor_type.shape.dim
    return tuple(dim.dim_value for dim in dims) if all(dim.HasField("dim_value") for dim in dims) else None


def _flops(node: NodeProto, shapes: Mapping[str, tuple[int, ...] | None]) -> int:
    """Two operations for each of the products that are added up into one element of the output."""
    first, second, out = (_shape(name, node, shapes) for name in (*node.input[:2], node.output[0]))
    if node.op_type == "Conv":
        return 2 * math.prod(out) * math.prod(second[1:])  # the weight is [out, in / group, height, width]
    transposed = node.op_type == "Gemm" and any(a.name == "transA" and a.i for a in node.attribute)
    return 2 * math.prod(out) * (first[0] if transposed else first[-1])


def _shape(name: str, node: NodeProto, shapes: Mapping[str, tuple[int, ...] | None]) -> tuple[int, ...]:
    shape = shapes.get(name)
    if shape is None:
        raise UsageError(
            f"the size of the tensor '{name}' is not fixed",
            found=f"at the {node.op_type} node '{node.name}'",
            expected="a graph of fixed sizes",
            fix="evit-deploy export MODEL --batch 1",
        )
    return shape
