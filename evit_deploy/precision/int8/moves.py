# SPDX-License-Identifier: Apache-2.0
"""What the search changes at once: single layers, and the layers of a block together.

Alone, a layer of a block in FP16 costs two changes of type in the middle of the block; only together do its layers
show what the block is worth.
"""

from __future__ import annotations

from collections.abc import Sequence

from evit_deploy.precision.int8.layers import Layer

Move = frozenset[str]

_INSIDE = ".main."


def moves_of(layers: Sequence[Layer]) -> tuple[Move, ...]:
    """Blocks of more than one layer, then all single layers, each in the order of the graph."""
    blocks: dict[str, list[str]] = {}
    for layer in layers:
        block, inside, _ = layer.name.rpartition(_INSIDE)
        if inside:
            blocks.setdefault(block, []).append(layer.name)
    several = [frozenset(names) for names in blocks.values() if len(names) > 1]
    return (*several, *(frozenset({layer.name}) for layer in layers))
