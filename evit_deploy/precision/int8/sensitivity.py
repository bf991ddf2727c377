# SPDX-License-Identifier: Apache-2.0
"""What every layer alone loses: it orders what the search tries, and shows where a network is fragile.

Few frames suffice for an order; what is accepted is judged on all of them. The damage of a layer is its loss in points,
or, below what so few frames resolve, its error: the classes need not change for the logits to.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from evit_deploy.precision.int8.curve import LayerSensitivity, Score
from evit_deploy.precision.int8.layers import Layer
from evit_deploy.progress import Progress

FRAMES = 4
"""Frames that a layer alone is judged on."""


def measure_sensitivity(
    layers: Sequence[Layer], judge: Callable[[frozenset[str], int], Score], in_time: Callable[[], bool],
    progress: Progress,
) -> tuple[LayerSensitivity, ...]:  # fmt: skip
    """Judge layer by layer, until time is up.

    Args:
        layers: In the order of the graph.
        judge: Judges an assignment on so many frames.
        in_time: Whether there is time for another one.
        progress: Told about every layer.
    """
    found = []
    with progress("INT8, layer by layer", len(layers)) as step:
        for layer in layers:
            if not in_time():
                break
            found.append(LayerSensitivity(layer.name, judge(frozenset({layer.name}), FRAMES)))
            step.advance()
    return tuple(found)


def damage(found: Sequence[LayerSensitivity], layers: Sequence[Layer]) -> dict[str, float]:
    """How much harm each layer does, for comparison only; those that were not judged have the mean of the others.

    A layer's error is relative; points are hundredths. Both count, so that ties in points are decided by the error.
    """
    harm = {one.name: max(one.score.drop, 0.0) / 100 + one.score.error for one in found}
    usual = sum(harm.values()) / len(harm) if harm else 1.0
    return {layer.name: harm.get(layer.name, usual) for layer in layers}
