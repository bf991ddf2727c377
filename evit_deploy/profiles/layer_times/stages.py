# SPDX-License-Identifier: Apache-2.0
"""Measured layers beside predicted kernels, by part of the network.

A compiler fuses for its own GPU, so the kernels of a plan that a prediction is made from are not the layers that ran.
Both say which ONNX nodes they compute, and those tell the part of the network.
"""

from __future__ import annotations

from dataclasses import dataclass

from evit_deploy.engines.plan import Kernel
from evit_deploy.profiles.layer_times.record import LayerTimes
from evit_deploy.profiles.predict.prediction import Prediction
from evit_deploy.profiles.predict.stages import stages_of


@dataclass(frozen=True)
class StageTime:
    """One part of the network.

    Attributes:
        stage: Its name, such as "stem" or "stage 2".
        measured_ms: Sum of its layers.
        predicted_ms: Sum of its kernels without the copies of inputs and outputs, which no layer does; None without a
            prediction, or where none of its kernels is there.
    """

    stage: str
    measured_ms: float
    predicted_ms: float | None


def stage_times(layers: LayerTimes, input: str, prediction: Prediction | None = None) -> tuple[StageTime, ...]:
    """Sum layers by part of the network, in the order in which parts begin.

    Args:
        layers: What was measured.
        input: What the graph takes; see `evit_deploy.profiles.predict.stages.stages_of`.
        prediction: What was predicted.

    Returns:
        The parts; nothing where no layer says which nodes of the graph it computes.
    """
    if not any(layer.layers for layer in layers.layers):
        return ()
    kernels = [Kernel(layer.name, layer.type, (), (), 0, layer.layers) for layer in layers.layers]
    measured: dict[str, float] = {}
    for stage, layer in zip(stages_of(kernels, input), layers.layers, strict=True):
        measured[stage] = measured.get(stage, 0.0) + layer.ms
    predicted: dict[str, float] = {}
    for kernel in prediction.kernels if prediction is not None else ():
        predicted[kernel.stage] = predicted.get(kernel.stage, 0.0) + kernel.ms
    return tuple(StageTime(stage, ms, predicted.get(stage)) for stage, ms in measured.items())
