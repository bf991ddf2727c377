# SPDX-License-Identifier: Apache-2.0
"""What passes between the kernels of a plan, and which convolution reads it: what INT8 would change.

A plan says what a kernel reads and writes in the compiler's own names; the typed graph says which convolution reads
which tensor. The two meet in the names of the nodes that a kernel computes. A node that no kernel names was fused into
the kernel before it, or is a view: its readers read what it was made of.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from evit_deploy.engines.flops import math_of, node_name
from evit_deploy.engines.plan import Kernel, byte_size

if TYPE_CHECKING:
    from onnx import NodeProto

    from evit_deploy.profiles.predict.typed_graph import TypedGraph

GRAPH_INPUT = -1
"""In place of a kernel: what the graph is given."""

_VIEWS = frozenset({"Concat", "Flatten", "Identity", "Reshape", "Slice", "Split", "Squeeze", "Transpose", "Unsqueeze"})
_MOVES = frozenset({"Concat", "Gather", "Pad", "Resize", "Slice", "Split", "Transpose"})
"""What a kernel ends with that only moves data: it quantises nothing on the way."""

_PREPARING = frozenset({"kgen", "Reformat"})
_PRODUCTS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})


@dataclass(frozen=True)
class Read:
    """One kernel reads a tensor.

    Attributes:
        kernel: Its number.
        layer: The convolution that takes it as its source; "" for everything else: sums, pooling, attention.
        share: How much of the tensor it reads, 0 to 1.
    """

    kernel: int
    layer: str
    share: float


@dataclass(frozen=True)
class Passed:
    """A tensor that one kernel writes and others read.

    Attributes:
        name: In the graph.
        maker: The kernel that writes it; `GRAPH_INPUT` for what the graph is given.
        moved: Whether its maker ends with a node that only moves data.
        bytes: In the graph's own type.
        elements: How many.
        channels: Length of axis 1, which INT8 layouts pad; 1 for what has none.
        reads: Who reads it.
        leaves: Whether it is an output of the graph.
    """

    name: str
    maker: int
    moved: bool
    bytes: int
    elements: int
    channels: int
    reads: tuple[Read, ...]
    leaves: bool


@dataclass(frozen=True)
class Product:
    """A convolution or matrix product.

    Attributes:
        kernel: The kernel that computes it.
        flops: Operations.
        weights: Bytes of its constant weights in the graph's own type; bias not counted.
    """

    kernel: int
    flops: int
    weights: int


@dataclass(frozen=True)
class Flow:
    """Kernels and what passes between them.

    Attributes:
        kernels: Those of the plan that work.
        passed: The tensors between them.
        products: Convolutions and matrix products by name.
        operators: Operators of the nodes of every kernel.
    """

    kernels: tuple[Kernel, ...]
    passed: tuple[Passed, ...]
    products: dict[str, Product]
    operators: tuple[frozenset[str], ...]


def flow_of(graph: TypedGraph, kernels: Sequence[Kernel]) -> Flow:
    """Find what passes between kernels.

    Args:
        graph: The typed graph that they were planned for, of fixed sizes.
        kernels: Those that work.

    Raises:
        UsageError: The size of a tensor is not fixed.
    """
    return _Tracer(graph, kernels).flow()


class _Tracer:
    """Follows tensors from the node that makes them to the kernels that read them."""

    def __init__(self, graph: TypedGraph, kernels: Sequence[Kernel]) -> None:
        self.graph, self.kernels = graph, tuple(kernels)
        self.named = _owners(self.kernels)
        self.maker: dict[str, NodeProto] = {name: node for node in graph.nodes for name in node.output if name}
        self.owner: dict[str, int] = {}
        self.sources: dict[str, dict[str, float]] = {}
        for node in graph.nodes:
            self._place(node)

    def _place(self, node: NodeProto) -> None:
        """Give a node's results to the kernel that computes it, or to nobody: then they are views."""
        number = self.named.get(node_name(node))
        if number is None and node.op_type not in _VIEWS:
            number = max((self.owner.get(root, GRAPH_INPUT) for root in self._roots(node)), default=GRAPH_INPUT)
        for name in filter(None, node.output):
            if number is not None and number != GRAPH_INPUT:
                self.owner[name] = number
            else:
                self.sources[name] = self._roots(node)

    def _roots(self, node: NodeProto) -> dict[str, float]:
        """The tensors in memory that a node reads, with bytes of each that it reads."""
        found: dict[str, float] = {}
        for name in self.graph.activations(node):
            for root, amount in self._seen(name).items():
                found[root] = min(found.get(root, 0.0) + amount, float(self._elements(root)))
        return found

    def _seen(self, name: str) -> dict[str, float]:
        """What a tensor stands for: itself, or, where it is a view, its part of what it looks at."""
        roots = self.sources.get(name)
        if roots is None:
            return {name: float(self._elements(name))}
        whole = sum(roots.values())
        share = min(self._elements(name) / whole, 1.0) if whole else 0.0
        return {root: amount * share for root, amount in roots.items()}

    def _elements(self, name: str) -> int:
        return math.prod(self.graph.shape(name))

    def flow(self) -> Flow:
        """All of it."""
        reads: dict[str, list[Read]] = {}
        for node in self.graph.nodes:
            for root, read in self._reads(node):
                reads.setdefault(root, []).append(read)
        operators: list[set[str]] = [set() for _ in self.kernels]
        for node in self.graph.nodes:
            if node.output[0] in self.owner:
                operators[self.owner[node.output[0]]].add(node.op_type)
        left = {root for name in self.graph.outputs for root in self._seen(name)}
        passed = tuple(self._passed(root, found, root in left) for root, found in reads.items())
        return Flow(self.kernels, passed, self._products(), tuple(map(frozenset, operators)))

    def _reads(self, node: NodeProto) -> Iterable[tuple[str, Read]]:
        """What a node reads that another kernel, or nobody, made."""
        number = self.owner.get(node.output[0])
        if number is None:
            return
        for place, name in enumerate(node.input):
            if not name or name in self.graph.constants:
                continue
            layer = node_name(node) if node.op_type == "Conv" and place == 0 else ""
            for root, amount in self._seen(name).items():
                if self.owner.get(root) != number:
                    yield root, Read(number, layer, amount / self._elements(root))

    def _passed(self, name: str, reads: list[Read], leaves: bool) -> Passed:
        shape, node = self.graph.shape(name), self.maker.get(name)
        return Passed(
            name=name, maker=self.owner.get(name, GRAPH_INPUT), moved=node is None or node.op_type in _MOVES,
            bytes=byte_size(shape, self.graph.stored(name).dtype), elements=math.prod(shape),
            channels=shape[1] if len(shape) > 1 else 1, reads=tuple(reads), leaves=leaves,
        )  # fmt: skip

    def _products(self) -> dict[str, Product]:
        flops = math_of(self.graph.graph).flops
        return {
            node_name(node): Product(
                self.owner[node.output[0]], flops.get(node_name(node), 0), self.graph.constants.get(node.input[1], 0)
            )
            for node in self.graph.nodes
            if node.op_type in _PRODUCTS and node.output[0] in self.owner
        }


def _owners(kernels: Sequence[Kernel]) -> dict[str, int]:
    """The kernel that computes each named node: of several, the first that does not only prepare data."""
    found: dict[str, int] = {}
    for number, kernel in sorted(enumerate(kernels), key=lambda item: item[1].type in _PREPARING):
        for layer in kernel.layers:
            found.setdefault(layer, number)
    return found
