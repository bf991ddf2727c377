# SPDX-License-Identifier: Apache-2.0
"""Nodes that stay FP32 in a graph that is typed in FP16, and the casts on their shore."""

from __future__ import annotations

from collections.abc import Iterator

import onnx
from onnx import TensorProto, helper

from evit_deploy.precision.emulate import tensor_types


def cut_out(model: onnx.ModelProto, names: frozenset[str]) -> set[str]:
    """Put casts around nodes of an FP32 graph, which is changed in place.

    Args:
        model: Graph that is FP32 throughout.
        names: Names of the nodes.

    Returns:
        Names of the tensors that stay FP32: what the nodes make, what is cast for them, constants and inputs that only
        they read. The others are float16 once the graph is typed.
    """
    if not names:
        return set()
    graph = model.graph
    floats = {name for name, kind in tensor_types(model).items() if kind == TensorProto.FLOAT}
    inside = [node for node in graph.node if node.name in names]
    read_outside = {name for node in graph.node if node.name not in names for name in node.input}
    read_outside |= {value.name for value in graph.output}
    made = {name for node in inside for name in node.output} & floats
    kept = made | _own_sources(graph, inside, floats, read_outside)
    entering = sorted({name for node in inside for name in node.input} & floats - kept)
    leaving = sorted(made & read_outside)
    inner = {name: f"{name}.fp32" for name in entering}
    outer = {name: f"{name}.fp16" for name in leaving}
    for node in graph.node:
        renamed = inner if node.name in names else outer
        node.input[:] = [renamed.get(name, name) for name in node.input]
    casts = {name: helper.make_node("Cast", [name], [new], name=new, to=TensorProto.FLOAT)
             for name, new in inner.items()}  # fmt: skip
    casts |= {name: helper.make_node("Cast", [name], [new], name=new, to=TensorProto.FLOAT16)
              for name, new in outer.items()}  # fmt: skip
    nodes = list(_in_order(graph, casts))
    del graph.node[:]
    graph.node.extend(nodes)
    return kept | set(inner.values())


def _own_sources(
    graph: onnx.GraphProto, inside: list[onnx.NodeProto], floats: set[str], read_outside: set[str]
) -> set[str]:
    """Constants and inputs that nobody else reads; constants that others read as well are copied."""
    read = {name for node in inside for name in node.input} & floats
    own = {value.name for value in graph.input if value.name in read - read_outside}
    for tensor in [tensor for tensor in graph.initializer if tensor.name in read]:
        name = tensor.name
        if name in read_outside:
            copy = graph.initializer.add()
            copy.CopyFrom(tensor)
            name = copy.name = f"{tensor.name}.own"
            for node in inside:
                node.input[:] = [name if read_name == tensor.name else read_name for read_name in node.input]
        own.add(name)
    return own


def _in_order(graph: onnx.GraphProto, casts: dict[str, onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    """All nodes, and every cast as soon as what it casts is there."""
    made = {name for node in graph.node for name in node.output}
    yield from (cast for name, cast in casts.items() if name not in made)
    for node in graph.node:
        yield node
        yield from (casts[name] for name in node.output if name in casts)
