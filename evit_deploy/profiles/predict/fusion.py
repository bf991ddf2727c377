# SPDX-License-Identifier: Apache-2.0
"""A plan without a compiler: the kernels that TensorRT would make of a typed graph, guessed by a few rules.

Nodes are taken in order, and each joins the kernel that made its input, or begins a new one:

* A convolution or matrix product begins a kernel. Pointwise nodes of the size of its result join it: bias, activation,
  residual sum.
* Other nodes make kernels among themselves: pointwise nodes, and a reduction where it stands. What a reduction gave is
  spread again by the same kernel, but not over few tokens, and not over classes that were just upsampled.
* Softmax attention with narrow heads is one kernel.
* Reshaping and splitting move nothing. Neither does putting results of convolutions side by side for another one.
* Maps that are upsampled to one size are made by one kernel. A picture of three channels is written with four.

The rules were read off plans of TensorRT for RTX 1.7; docs/prediction.md says how close to whole plans they come.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from evit_deploy.engines.flops import math_of, node_name
from evit_deploy.engines.plan import Kernel, Plan, with_flops
from evit_deploy.errors import extra
from evit_deploy.profiles.predict.subject import FALLBACK

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

    from evit_deploy.profiles.predict.typed_graph import TypedGraph

RULES = 2
"""Raised whenever the rules change, so that plans made by earlier ones are made again."""

_DENSE = {"Conv": "convolution", "ConvTranspose": "convolution", "MatMul": "product", "Gemm": "product"}
_LIGHT = "pointwise"
_VIEWS = frozenset({"Reshape", "Squeeze", "Unsqueeze", "Flatten", "Identity", "Split", "Slice"})
_REDUCTIONS = frozenset({"ReduceMean", "ReduceMax", "ReduceSum", "Softmax", "LayerNormalization"})
_MOVES = frozenset({"Transpose", "Resize", "Concat", "Gather", "Pad", "Cast"})
"""No convolution does these on the side, as it does arithmetic."""

_MANY_TOKENS = 512
"""From so many on, what a reduction over them gave is spread over them again by the same kernel; 324 are too few."""

_HEAD = 128
"""Channels of a head up to which softmax attention is one kernel."""

_ALONE = frozenset({"ArgMax", "TopK"})


def plan_from_graph(model: ModelProto) -> Plan:
    """Guess the plan of a typed graph of fixed sizes.

    Raises:
        UsageError: The size of a tensor is not fixed.
        ValueError: The type of a tensor is not known.
        MissingExtraError: onnx is not installed.
    """
    with extra("export", "Reading a graph"):
        from evit_deploy.profiles.predict.typed_graph import TypedGraph
    graph = TypedGraph(model)
    kernels = with_flops(_Fusion(graph).kernels(), math_of(graph.graph).flops)
    return Plan(FALLBACK, "", "", kernels)


@dataclass(eq=False)
class _Group:
    """Nodes that one kernel computes.

    Attributes:
        rank: Its place among the kernels: it reads only what those of a lower rank write.
        kind: "convolution", "product" or `_LIGHT`.
        size: Elements of the largest tensor in it; of a convolution or product, of its result.
        nodes: In order.
        reduced: Tensors that a reduction of this kernel went into, with its axes.
    """

    rank: int
    kind: str
    size: int
    nodes: list[NodeProto] = field(default_factory=list)
    reduced: dict[str, tuple[int, ...]] = field(default_factory=dict)


class _Fusion:
    """The nodes of a graph, put into groups one by one."""

    def __init__(self, graph: TypedGraph) -> None:
        self.graph = graph
        self.maker: dict[str, _Group] = {}
        self.groups: list[_Group] = []
        self.rank = 0
        for node in graph.nodes:
            if not self._is_placed(node):
                self._add(node, self._joined(node) or self._new(node))

    def kernels(self) -> Iterator[Kernel]:
        """One kernel for each group that does more than view."""
        for group in sorted(self.groups, key=lambda item: item.rank):
            if any(node.op_type not in _VIEWS for node in group.nodes):
                yield self._kernel(group)

    def _is_placed(self, node: NodeProto) -> bool:
        """Whether this puts results of convolutions side by side, which write there themselves, for others."""
        makers = (self.maker.get(name) for name in node.input)
        readers = self.graph.readers.get(node.output[0], ())
        return (
            node.op_type == "Concat"
            and all(item is not None and item.kind != _LIGHT for item in makers)
            and all(reader.op_type in _DENSE for reader in readers)
            and node.output[0] not in self.graph.outputs
        )

    def _joined(self, node: NodeProto) -> _Group | None:
        """The kernel that a node becomes part of: the last one that it reads from, if that can take it."""
        makers = sorted({self.maker[name] for name in node.input if name in self.maker}, key=lambda item: -item.rank)
        if node.op_type == "Resize":
            return self._resizing(node)
        if not makers or not self._takes(makers[0], node):
            return None
        for other in makers[1:]:
            pointwise = makers[0].kind == other.kind == _LIGHT and not other.reduced
            if pointwise and self._takes(other, node) and self._is_free(other, makers[0]):
                self._merge(other, makers[0])
        return makers[0]

    def _resizing(self, node: NodeProto) -> _Group | None:
        """A kernel that resizes to the same size and that nothing has been read of yet; it is put off until now."""
        shape = self.graph.shape(node.output[0])
        for group in self.groups:
            results = [item.output[0] for item in group.nodes if item.op_type == "Resize"]
            if results and self.graph.shape(results[0]) == shape and self._is_free(group, group):
                self.rank += 1
                group.rank = self.rank
                return group
        return None

    def _takes(self, group: _Group, node: NodeProto) -> bool:
        """Whether a kernel can compute a node that reads its results."""
        if node.op_type in _VIEWS or self._attends(group, node):
            return True
        if node.op_type in _DENSE or {node.op_type, group.nodes[0].op_type} & _ALONE:
            return False
        size = self.graph.elements(node.output)
        if group.kind != _LIGHT:
            return size == group.size and node.op_type not in _MOVES | _REDUCTIONS
        if _swaps_last(node) or (size > group.size and group.reduced):
            return False
        return all(self._follows(group, name, node, size) for name in node.input)

    def _attends(self, group: _Group, node: NodeProto) -> bool:
        """Whether softmax and the product after it are made together with the product before."""
        first, last = group.nodes[0], group.nodes[-1]
        if node.op_type == "Softmax":
            return first.op_type == "MatMul" and self.graph.shape(first.input[0])[-1] <= _HEAD
        return node.op_type == "MatMul" and last.op_type == "Softmax" and first.op_type == "MatMul"

    def _follows(self, group: _Group, name: str, node: NodeProto, size: int) -> bool:
        """Whether a node that reads a tensor of a kernel can be in it, as far as a reduction there allows."""
        axes = group.reduced.get(name)
        if axes is None:
            return True
        if node.op_type in _REDUCTIONS:
            return self.graph.reduced(node) == axes
        result = self.graph.elements([name])
        if size <= result:
            return True
        if group.nodes[0].op_type == "Resize":
            return False
        channels = -3 if len(self.graph.shape(name)) == 4 else -1
        return axes in ((-1,), (channels,)) or size >= _MANY_TOKENS * result

    def _is_free(self, group: _Group, into: _Group) -> bool:
        """Whether nothing but another kernel reads from a group so far, so that it can run later."""
        readers = (
            reader for node in group.nodes for name in node.output for reader in self.graph.readers.get(name, ())
        )
        makers = (self.maker.get(reader.output[0]) for reader in readers)
        return all(item in (None, group, into) for item in makers)

    def _merge(self, group: _Group, into: _Group) -> None:
        into.nodes = [*group.nodes, *into.nodes]
        into.size = max(group.size, into.size)
        into.reduced.update(group.reduced)
        self.groups.remove(group)
        self.maker.update({name: into for node in group.nodes for name in node.output if name})

    def _new(self, node: NodeProto) -> _Group:
        self.rank += 1
        kind = _DENSE.get(node.op_type, _LIGHT)
        group = _Group(self.rank, kind, self.graph.elements(node.output))
        if kind == _LIGHT:
            group.size = max(group.size, self.graph.elements(self.graph.activations(node)))
        self.groups.append(group)
        return group

    def _add(self, node: NodeProto, group: _Group) -> None:
        group.nodes.append(node)
        self.maker.update(dict.fromkeys(filter(None, node.output), group))
        group.size = max(group.size, self.graph.elements(node.output))
        axes = [group.reduced[name] for name in node.input if name in group.reduced]
        if node.op_type in _REDUCTIONS:
            axes.append(self.graph.reduced(node))
        if axes:
            group.reduced.update(dict.fromkeys(node.output, axes[-1]))

    def _kernel(self, group: _Group) -> Kernel:
        """What a group reads and writes."""
        own = {name for node in group.nodes for name in node.output}
        read = dict.fromkeys(name for node in group.nodes for name in self.graph.activations(node) if name not in own)
        constants = {name for node in group.nodes for name in node.input if name in self.graph.constants}
        return Kernel(
            name=node_name(group.nodes[-1]),
            type=group.kind,
            inputs=tuple(map(self.graph.stored, read)),
            outputs=tuple(map(self.graph.stored, self._written(group))),
            constants=sum(self.graph.constants[name] for name in constants),
            layers=tuple(map(node_name, group.nodes)),
        )

    def _written(self, group: _Group) -> dict[str, None]:
        """What others read of a group; where that is a view of a convolution's result, the result."""
        viewed = {name: node.input[0] for node in group.nodes if node.op_type in _VIEWS for name in node.output}
        found: dict[str, None] = {}
        for name in (name for node in group.nodes for name in node.output):
            others = (self.maker.get(reader.output[0]) is not group for reader in self.graph.readers.get(name, ()))
            if name in self.graph.outputs or any(others):
                stored = name
                while group.kind != _LIGHT and stored in viewed:
                    stored = viewed[stored]
                found[stored] = None
        return found


def _swaps_last(node: NodeProto) -> bool:
    """Whether this swaps the last two axes of many matrices and nothing else, which takes a kernel of its own."""
    orders = [list(item.ints) for item in node.attribute if item.name == "perm" and node.op_type == "Transpose"]
    return any(len(order) > 2 and order == [*range(len(order) - 2), len(order) - 1, len(order) - 2] for order in orders)
