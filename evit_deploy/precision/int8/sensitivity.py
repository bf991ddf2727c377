# SPDX-License-Identifier: Apache-2.0
"""What every layer alone loses: it orders what the search tries, and shows where a network is fragile.

Few frames suffice for an order; what is accepted is judged on all of them. Points lost on few frames are mostly noise:
classes that change by rounding are as often right as wrong. How many change, and how far the logits move, is not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from evit_deploy.precision.int8.curve import LayerSensitivity, Score
from evit_deploy.precision.int8.layers import Layer
from evit_deploy.progress import Progress

FRAMES = 4
"""Frames that a layer alone is judged on."""


def measure_sensitivity(
    layers: Sequence[Layer], judge: Callable[[frozenset[str], int], Score],
    affordable: Callable[[frozenset[str], int], bool], progress: Progress,
) -> tuple[LayerSensitivity, ...]:  # fmt: skip
    """Judge layer by layer, until time is up.

    Args:
        layers: In the order of the graph.
        judge: Judges an assignment on so many frames.
        affordable: Whether there is time for that, or the answer is known.
        progress: Told about every layer.
    """
    found = []
    with progress("INT8, layer by layer", len(layers)) as step:
        for layer in layers:
            alone = frozenset({layer.name})
            if not affordable(alone, FRAMES):
                break
            found.append(LayerSensitivity(layer.name, judge(alone, FRAMES)))
            step.advance()
    return tuple(found)


def damage(found: Sequence[LayerSensitivity], layers: Sequence[Layer]) -> dict[str, float]:
    """How much harm each layer does, for comparison only; those that were not judged have the mean of the others.

    Errors of layers are independent, so that their squares add up; so do those of the shares of changed classes.
    """
    harm = {one.name: (1 - one.score.agreement) ** 2 + one.score.error**2 for one in found}
    usual = sum(harm.values()) / len(harm) if harm else 1.0
    return {layer.name: harm.get(layer.name, usual) for layer in layers}
