# SPDX-License-Identifier: Apache-2.0
"""Layer times of two engines of one network, one in FP16 and one in INT8, side by side.

The two fuse differently: what one computes in one layer may be three in the other. A *piece* is the smallest set of
nodes that both compute in whole layers of their own, so that its two times can be compared.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from evit_deploy.profiles.layer_times.record import LayerTimes

_QUANTISE, _DEQUANTISE = ".quantise", ".dequantise"
"""How nodes are called that `evit_deploy.precision.int8.place` adds, after the tensor that they are of."""


@dataclass(frozen=True)
class Piece:
    """Nodes that both engines compute in whole layers of their own.

    Attributes:
        nodes: Their names; those that only quantise or dequantise are left out.
        layers: The convolutions among them that may be INT8.
        fp16_ms: Milliseconds in the FP16 engine.
        int8_ms: Milliseconds in the INT8 engine.
    """

    nodes: frozenset[str]
    layers: frozenset[str]
    fp16_ms: float
    int8_ms: float


def pieces_of(fp16: LayerTimes, int8: LayerTimes, layers: Collection[str]) -> tuple[Piece, ...]:
    """Pieces of a network.

    Args:
        fp16: Layers of the FP16 engine.
        int8: Layers of the INT8 engine.
        layers: Names of the convolutions that may be INT8.

    Returns:
        The pieces, in the order of the FP16 engine. What names no node of the network is in none.
    """
    found: list[set[str]] = []
    for nodes in (*_nodes(fp16), *_nodes(int8)):
        if nodes:
            apart = [group for group in found if not group & nodes]
            joined = nodes.union(*(group for group in found if group & nodes))
            found = [*apart, joined]
    owner = {name: number for number, group in enumerate(found) for name in group}
    times = [[0.0, 0.0] for _ in found]
    for column, record in enumerate((fp16, int8)):
        for layer, nodes in zip(record.layers, _nodes(record), strict=True):
            if nodes:
                times[owner[next(iter(nodes))]][column] += layer.ms
    allowed = frozenset(layers)
    pieces = (
        Piece(frozenset(group), allowed & group, *both) for group, both in zip(found, times, strict=True)
    )  # fmt: skip
    order = {name: number for number, nodes in enumerate(_nodes(fp16)) for name in nodes}
    return tuple(
        sorted(pieces, key=lambda piece: min((order[name] for name in piece.nodes if name in order), default=0))
    )


def quantising(int8: LayerTimes) -> dict[str, float]:
    """Milliseconds of layers that do nothing but quantise, by the tensor that they quantise."""
    found: dict[str, float] = {}
    for layer in int8.layers:
        if layer.layers and not _network(layer.layers):
            tensors = [name.removesuffix(_QUANTISE) for name in layer.layers if name.endswith(_QUANTISE)]
            for name in tensors:
                found[name] = found.get(name, 0.0) + layer.ms / len(tensors)
    return found


def _nodes(record: LayerTimes) -> list[set[str]]:
    return [_network(layer.layers) for layer in record.layers]


def _network(names: Iterable[str]) -> set[str]:
    """The nodes among these that are the network's own."""
    return {name for name in names if not name.endswith((_QUANTISE, _DEQUANTISE))}
