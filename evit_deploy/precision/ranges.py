# SPDX-License-Identifier: Apache-2.0
"""How much room FP16 leaves every tensor of a graph, on real images.

FP16 ends at 65504 and has its full eleven bits of significand down to 2^-14 only. An FP32 graph is run as it is, and
beside every float tensor its range is taken.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import onnx
from onnx import TensorProto

from evit_deploy.errors import UsageError
from evit_deploy.precision.emulate import is_half, tensor_types
from evit_deploy.precision.fp16 import LARGEST, SMALLEST_NORMAL
from evit_deploy.precision.probe import MOVES, Feed, ProbedGraph, Reading

_BEYOND = 3e38  # stands in for zeros where the smallest other value is sought


@dataclass(frozen=True)
class TensorRange:
    """The values of one tensor over all feeds.

    Attributes:
        name: The tensor.
        op: Operator that makes it, or "input".
        largest: Largest magnitude; NaN or infinity if the tensor holds one.
        smallest: Smallest magnitude above zero; infinity if there is none, NaN if the tensor holds one.
        headroom: 65504 / largest: below 1 the tensor does not fit FP16.
        below_normal: Fraction of the nonzero values below 2^-14, where FP16 loses bits.
    """

    name: str
    op: str
    largest: float
    smallest: float
    headroom: float
    below_normal: float

    @property
    def fits(self) -> bool:
        """Whether every value is finite in FP16; False for NaN."""
        return self.headroom >= 1.0


def measure_ranges(model: onnx.ModelProto, feeds: Iterable[Feed]) -> tuple[TensorRange, ...]:
    """Take the range of every float tensor while ONNX Runtime runs the graph.

    Args:
        model: An FP32 graph; see `evit_deploy.precision.emulate.widen` for a typed one.
        feeds: Inputs by name, one run each.

    Returns:
        One range per float tensor, inputs first, then in the order of the nodes.

    Raises:
        UsageError: The graph holds FP16, no feeds, or feeds that do not fit.
    """
    types = tensor_types(model)
    if half := sorted(name for name, kind in types.items() if is_half(kind)):
        raise UsageError(
            "ranges are taken of an FP32 graph", found=f"'{half[0]}' is float16", fix="widen the typed graph first"
        )
    graph = ProbedGraph(model, _probe)
    weights = {tensor.name for tensor in model.graph.initializer}
    for value in model.graph.input:
        if types[value.name] == TensorProto.FLOAT and value.name not in weights:
            graph.watch(value.name)
    for node in model.graph.node:
        graph.add(node)
        for name in node.output:
            if name and types[name] == TensorProto.FLOAT:
                graph.watch(name, node)
    return tuple(_range(*row) for row in graph.measure(feeds))


def tightest(ranges: Sequence[TensorRange], count: int | None = None) -> list[TensorRange]:
    """Tensors with the least headroom first, NaN before all; those that only repeat another's values are left out."""
    own = [row for row in ranges if row.op not in MOVES]
    return sorted(own, key=lambda row: -math.inf if math.isnan(row.headroom) else row.headroom)[:count]


def headroom(largest: float) -> float:
    """How often a magnitude fits into FP16's range; infinity for zero, 0 for infinity, NaN for NaN."""
    return LARGEST / largest if largest else math.inf


def _probe(graph: ProbedGraph, name: str) -> None:
    size = graph.op("Abs", name)
    zero = graph.op("Equal", size, graph.constant(0.0))
    beyond = graph.op("Mul", graph.op("Cast", zero, to=TensorProto.FLOAT), graph.constant(_BEYOND))
    nonzero = graph.op("Add", size, beyond)
    graph.keep(name, "largest", graph.largest(size))
    graph.keep(name, "sum", graph.op("ReduceSum", size, keepdims=0))  # NaN if one value is
    graph.keep(name, "smallest", graph.smallest(nonzero))
    graph.keep(name, "zeros", graph.count(zero))
    graph.keep(name, "below", graph.count(graph.op("Less", nonzero, graph.constant(SMALLEST_NORMAL))))
    graph.keep(name, "size", graph.op("Size", name))


def _range(name: str, op: str, rows: Sequence[Reading]) -> TensorRange:
    nan = any(math.isnan(row["sum"]) for row in rows)
    largest = math.nan if nan else max(row["largest"] for row in rows)
    smallest = math.nan if nan else min(row["smallest"] for row in rows)
    nonzero = sum(row["size"] - row["zeros"] for row in rows)
    return TensorRange(
        name=name,
        op=op,
        largest=largest,
        smallest=math.inf if smallest >= _BEYOND else smallest,
        headroom=headroom(largest),
        below_normal=sum(row["below"] for row in rows) / nonzero if nonzero else 0.0,
    )
