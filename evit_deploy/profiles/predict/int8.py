# SPDX-License-Identifier: Apache-2.0
"""What an assignment of INT8 to convolutions would cost on a machine that is not at hand.

FP16 costs what ``evit-deploy predict`` says of the same export; INT8 changes that as `int8_cost` has it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from evit_deploy.errors import UsageError, extra
from evit_deploy.manifest import content_key
from evit_deploy.precision.int8.oracle import Cost
from evit_deploy.profiles.predict.artifacts import graph_subject
from evit_deploy.profiles.predict.cost import Array, calibration
from evit_deploy.profiles.predict.int8_cost import FORM, Int8Model, Mixed, int8_calibration, int8_gain, mixed_cost
from evit_deploy.profiles.predict.int8_flow import flow_of
from evit_deploy.profiles.predict.machine import conditions
from evit_deploy.profiles.predict.prediction import Conditions
from evit_deploy.profiles.predict.subject import Subject
from evit_deploy.progress import Progress, silent
from evit_deploy.targets import TARGETS

if TYPE_CHECKING:
    import onnx

    from evit_deploy.precision.int8.layers import Layer

__all__ = ["FORM", "PredictedOracle", "predicted_oracle"]


def predicted_oracle(
    export: Path, graph: onnx.ModelProto, layers: Sequence[Layer], target: str, progress: Progress = silent
) -> PredictedOracle:
    """An oracle that predicts, for a target in its unlimited power mode.

    Args:
        export: Folder of an export of one graph.
        graph: What it was lowered to: typed FP16, of fixed sizes, without Q/DQ.
        layers: The convolutions that may be INT8.
        target: Name of the target.
        progress: Told about every step.

    Raises:
        UsageError: A target without figures to predict from, or a graph of open sizes.
        ArtifactError: A damaged export.
        UnavailableError: What makes the plan is not installed.
    """
    machine = conditions(target)  # before anything that takes long
    return PredictedOracle(graph_subject(export, progress), graph, [layer.name for layer in layers], machine)


class PredictedOracle:
    """Predicts what assignments of one graph cost on one machine.

    Args:
        subject: The graph's plan in FP16.
        graph: The typed graph that it was made for, without Q/DQ.
        layers: Names of the convolutions that may be INT8.
        machine: Where it runs.

    Attributes:
        words: Who says so.
        key: Hash of everything that costs depend on.

    Raises:
        UsageError: The plan is not of this graph.
        MissingExtraError: onnx is not installed.
    """

    def __init__(self, subject: Subject, graph: onnx.ModelProto, layers: Collection[str], machine: Conditions) -> None:
        with extra("export", "Reading a graph"):
            from evit_deploy.profiles.predict.typed_graph import TypedGraph
        self._machine, self._eight = machine, int8_calibration()
        self._layers = frozenset(layers)
        flow = flow_of(TypedGraph(graph), subject.plan.working)
        named = {name for kernel in subject.plan.working for name in kernel.layers}
        if strange := sorted(self._layers - named):
            raise UsageError(
                "the plan is not of this graph", found=f"no kernel computes {strange[0]}",
                expected="the typed FP16 graph of the export that is predicted",
            )  # fmt: skip
        self._model = Int8Model(flow, self._eight.constants.channels)
        self._copies = (subject.inputs + subject.outputs) * calibration().constants.copy(machine)
        self._wide = self._times(self._model.mixed(()))
        self.words = _words(machine)
        self.key = content_key(
            form=FORM, kernels=[[*map(float, row)] for row in zip(*asdict(self._model.work).values(), strict=True)],
            copies=self._copies, machine=asdict(machine), constants=asdict(calibration().constants),
            int8=asdict(self._eight),
        )  # fmt: skip

    def cost(self, layers: Collection[str]) -> Cost:
        """What the graph costs with these layers in INT8; all others are FP16.

        The interval is that of published ratios which the model was not fitted to, as far as INT8 reaches: where only
        a part of the time is spent in kernels that change, only that part is uncertain.

        Raises:
            UsageError: A layer that may not be INT8.
        """
        if strange := sorted(set(layers) - self._layers):
            raise UsageError("a layer may not be INT8", found=strange[0], expected="layers that find_layers found")
        mixed = self._model.mixed(layers)
        times, whole = self._times(mixed), float(self._wide.sum()) + self._copies
        ms = float(times.sum()) + self._copies
        changed = (mixed.eight.activations + mixed.eight.weights)[: len(self._wide)] > 0
        margin = self._eight.margin ** float(self._wide[changed].sum() / whole)
        return Cost(ms, ms / whole, ms / whole / margin, ms / whole * margin)

    def _times(self, mixed: Mixed) -> Array:
        """Milliseconds of every kernel with its launch."""
        constants = calibration().constants
        cost = mixed_cost(mixed, self._machine, constants, self._eight.constants)
        return cost.times + constants.launch(self._machine)


def _words(machine: Conditions) -> str:
    title = " ".join(filter(None, [TARGETS[machine.target].title, machine.variant, machine.mode]))
    assumed = "" if int8_gain(machine)[1] else ", INT8 assumed twice as fast as FP16"
    return f"predicted for {title}{assumed} (docs/prediction.md)"
