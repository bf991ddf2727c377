# SPDX-License-Identifier: Apache-2.0
"""What the nodes of an ONNX graph compute and in which type: the yardstick for what a compiler makes of them."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from evit_deploy.errors import ArtifactError, UsageError, extra

if TYPE_CHECKING:
    from onnx import GraphProto, NodeProto, TypeProto

MATH = "math.json"
"""Stands beside a lowered graph, so that the device that compiles it needs no onnx."""

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
    """What an ONNX graph computes: as written beside it by `write_math`, or counted.

    Raises:
        ArtifactError: The file beside it is damaged.
        UsageError: The size of a tensor that a convolution or product reads or writes is not known.
        MissingExtraError: It must be counted, and onnx is not installed.
    """
    beside = path.with_name(MATH)
    if not beside.is_file():
        return count_math(path)
    try:
        data = json.loads(beside.read_text(encoding="utf-8"))
        return GraphMath({name: int(flops) for name, flops in data["flops"].items()}, frozenset(data["types"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise ArtifactError(f"{beside} cannot be read", found=reason, fix="build the engine again") from error


def write_math(path: Path, batch: int) -> None:
    """Count what a graph computes at a batch size, and write that beside it."""
    found = count_math(path, batch)
    data = {"batch": batch, "flops": found.flops, "types": sorted(found.types)}
    path.with_name(MATH).write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")


def count_math(path: Path, batch: int | None = None) -> GraphMath:
    """Count what an ONNX graph computes.

    Args:
        path: The ONNX file.
        batch: Size of the first dimension of every input where that is open.

    Raises:
        UsageError: The size of a tensor that a convolution or product reads or writes is not known.
        MissingExtraError: onnx is not installed.
    """
    with extra("export", "Counting operations"):
        import onnx
    model = onnx.load(path)
    for value in model.graph.input if batch is not None else ():
        if value.type.tensor_type.shape.dim[0].HasField("dim_param"):
            value.type.tensor_type.shape.dim[0].dim_value = batch
    if batch is not None:  # what is written there would contradict it
        del model.graph.value_info[:]
        for value in model.graph.output:
            value.type.tensor_type.ClearField("shape")
    return math_of(onnx.shape_inference.infer_shapes(model, data_prop=True).graph)


def math_of(graph: GraphProto) -> GraphMath:
    """Count what a graph computes that shape inference went through.

    Raises:
        UsageError: The size of a tensor that a convolution or product reads or writes is not known.
    """
    from onnx import TensorProto

    known = {value.name: value.type for value in (*graph.input, *graph.value_info, *graph.output)}
    shapes = {name: _fixed(type_) for name, type_ in known.items()}
    types = {name: type_.tensor_type.elem_type for name, type_ in known.items()}
    for weight in graph.initializer:
        shapes[weight.name], types[weight.name] = tuple(weight.dims), weight.data_type
    flops: Counter[str] = Counter()
    nodes = [node for node in graph.node if node.op_type in _MATH]
    for node in nodes:
        flops[node_name(node)] += _flops(node, shapes)
    found = {types.get(node.input[0], TensorProto.UNDEFINED) for node in nodes}
    return GraphMath(dict(flops), frozenset(TensorProto.DataType.Name(number) for number in found))


def node_name(node: NodeProto) -> str:
    """A node's name; of one without, that which TensorRT gives it."""
    return node.name or f"node_of_{node.output[0]}"


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
