# SPDX-License-Identifier: Apache-2.0
"""Where a typed graph loses agreement: every tensor, rounded as typed, against the same graph without rounding.

Both graphs run side by side in one session, node by node, and only numbers come out (see `probe`).

Polygraphy's Comparator does the same with every tensor marked as an output. It was tried with these two graphs and left
aside: it holds all activations of both runs in memory and compares them one by one in numpy. For b0-seg at 512×1024
that took 1.8 GB and 27 s (25 of them comparing), where this takes 0.4 GB and 2 s (polygraphy 0.53.6, two CPU cores). It
also gives no relative L2.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import onnx
from onnx import TensorProto

from evit_deploy.errors import UsageError
from evit_deploy.precision.emulate import emulate, is_half, tensor_types, widen
from evit_deploy.precision.probe import MOVES, Feed, ProbedGraph, Reading
from evit_deploy.precision.ranges import headroom

_HALF, _WIDE = "half@", "wide@"
_TINY = 1e-37
# What these make was decided by values, and is none: a distance between two decisions means nothing.
_DECISIONS = {
    "And", "ArgMax", "ArgMin", "Equal", "Greater", "GreaterOrEqual", "IsInf", "IsNaN", "Less", "LessOrEqual", "Not",
    "Or", "Shape", "Size",
}  # fmt: skip


@dataclass(frozen=True)
class LayerError:
    """What rounding does to one tensor, the worst over all feeds.

    Attributes:
        name: The tensor.
        op: Operator that makes it.
        relative_l2: ‖rounded - exact‖ / ‖exact‖, all roundings from the inputs on counted; infinity where either holds
            NaN or infinity, or where only the exact one is zero throughout.
        largest: Largest magnitude of the exact tensor; NaN if it holds NaN.
        headroom: 65504 / largest: below 1 the tensor does not fit FP16.
        nonfinite: Values of the rounded tensor that are NaN or infinity, summed over all feeds.
    """

    name: str
    op: str
    relative_l2: float
    largest: float
    headroom: float
    nonfinite: int


def locate(typed: onnx.ModelProto, feeds: Iterable[Feed]) -> tuple[LayerError, ...]:
    """Compare every float tensor of a typed graph with what it would be without rounding.

    Tensors that hold only decisions, such as class numbers picked by Greater and Where, are left out: whether those are
    right is for `evit_deploy.agreement` to say.

    Args:
        typed: A graph with float16 tensors.
        feeds: Inputs by name, one run each.

    Returns:
        One row per float tensor that a node makes, in the order of the nodes.

    Raises:
        UsageError: Nothing in the graph is FP16, it cannot be emulated, no feeds, or feeds that do not fit.
    """
    types = tensor_types(typed)
    if not any(is_half(kind) for kind in types.values()):
        raise UsageError("nothing is rounded in this graph", found="no float16 tensor", expected="a typed FP16 graph")
    inner = onnx.ModelProto()
    inner.CopyFrom(typed)
    del inner.graph.output[:]  # they become inner tensors, and are rounded like all others
    graph = ProbedGraph(widen(inner), _probe)
    computed = {value.name for value in inner.graph.input}
    for original, nodes in _side_by_side(inner):
        for node in nodes:
            graph.add(node)
        if not _computes(original, computed):
            continue
        computed.update(original.output)
        for name in original.output:
            if types.get(name) in (TensorProto.FLOAT, TensorProto.FLOAT16):
                graph.watch(name, original)
    return tuple(_layer(*row) for row in graph.measure(feeds))


def first_broken(layers: Sequence[LayerError], limit: float) -> LayerError | None:
    """The first tensor, in the order of the nodes, that is not finite or whose relative L2 is beyond a limit."""
    return next((layer for layer in layers if layer.nonfinite or not layer.relative_l2 <= limit), None)


def worst(layers: Sequence[LayerError], count: int | None = None) -> list[LayerError]:
    """Tensors with the largest relative L2 first; those that only repeat another's values are left out."""
    own = [layer for layer in layers if layer.op not in MOVES]
    return sorted(own, key=lambda layer: -layer.relative_l2)[:count]


def _computes(node: onnx.NodeProto, computed: set[str]) -> bool:
    """Whether what a node makes comes from the graph's inputs by computing, not by deciding alone."""
    if node.op_type in _DECISIONS:
        return False
    values = node.input[1:] if node.op_type == "Where" else node.input
    return any(name in computed for name in values)


def _side_by_side(inner: onnx.ModelProto) -> Iterator[tuple[onnx.NodeProto, list[onnx.NodeProto]]]:
    """Every node of a graph with its rounded and its exact form, so that what both make can be compared and freed."""
    given = {value.name for value in (*inner.graph.input, *inner.graph.initializer)}
    rounded, exact = (iter(rewrite(inner).graph.node) for rewrite in (emulate, widen))
    for original in inner.graph.node:
        made = {name for name in original.output if name}
        both = [*_until(rounded, made, given, _HALF), *_until(exact, made, given, _WIDE)]
        yield original, both


def _until(nodes: Iterator[onnx.NodeProto], made: set[str], given: set[str], prefix: str) -> Iterator[onnx.NodeProto]:
    """The next nodes up to those that make some tensors, all renamed apart from what is given."""
    missing = set(made)
    while missing:
        node = next(nodes)
        missing -= set(node.output)
        node.name = node.name and prefix + node.name
        node.input[:] = [name if not name or name in given else prefix + name for name in node.input]
        node.output[:] = [name and prefix + name for name in node.output]
        yield node


def _probe(graph: ProbedGraph, name: str) -> None:
    half, wide = _HALF + name, _WIDE + name
    size = graph.op("Max", graph.largest(wide), graph.op("Neg", graph.smallest(wide)))
    # Squares of small numbers vanish in FP32, and those of large ones overflow: both norms are taken in units of the
    # largest value.
    unit = graph.op("Reciprocal", graph.op("Max", size, graph.constant(_TINY)))
    error = graph.op("Mul", graph.op("Sub", half, wide), unit)
    graph.keep(name, "largest", size)
    graph.keep(name, "error", graph.op("ReduceL2", error, keepdims=0))
    graph.keep(name, "norm", graph.op("ReduceL2", graph.op("Mul", wide, unit), keepdims=0))
    graph.keep(name, "finite", graph.count(graph.op("Less", graph.op("Abs", half), graph.constant(math.inf))))
    graph.keep(name, "size", graph.op("Size", half))


def _layer(name: str, op: str, rows: Sequence[Reading]) -> LayerError:
    nan = any(math.isnan(row["norm"]) and not math.isinf(row["largest"]) for row in rows)
    largest = math.nan if nan else max(row["largest"] for row in rows)
    return LayerError(
        name=name,
        op=op,
        relative_l2=max(_relative(row) for row in rows),
        largest=largest,
        headroom=headroom(largest),
        nonfinite=round(sum(row["size"] - row["finite"] for row in rows)),
    )


def _relative(row: dict[str, float]) -> float:
    if not (math.isfinite(row["error"]) and math.isfinite(row["norm"])):
        return math.inf
    if row["error"] == 0.0:
        return 0.0
    return row["error"] / row["norm"] if row["norm"] else math.inf
