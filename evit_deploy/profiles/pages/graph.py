# SPDX-License-Identifier: Apache-2.0
"""What a page tells of one graph beyond its latency: why it is not faster, and where its time goes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from evit_deploy.manifest import DECODER
from evit_deploy.profiles.insight import Insight
from evit_deploy.profiles.latency import Latency
from evit_deploy.profiles.layer_times.record import LayerTime, LayerTimes
from evit_deploy.profiles.layer_times.stages import StageTime, stage_times
from evit_deploy.profiles.pages.charts.bars import bars
from evit_deploy.profiles.pages.charts.breakdown import CAUSES, stage_bars, waterfall
from evit_deploy.profiles.pages.charts.roofline import roofline
from evit_deploy.profiles.predict.prediction import KernelTime, Prediction
from evit_deploy.profiles.report import ProfileReport
from evit_deploy.profiles.sam.report import PartsReport

LAYERS, KERNELS = 15, 25
"""How many of each a page shows: those that take longest."""

_DECODING = "decode (the raw graph with the steps before and after it)"

_CURES = {
    "traffic": "Moving fewer bytes helps most: a smaller resolution or model.",
    "arithmetic": "Computing less helps most: a smaller resolution or model, or a lower precision.",
    "launches": "Starting fewer kernels helps most, or starting them as one CUDA graph.",
    "copies": "Copying less helps most: frames in as uint8, class maps out, or zero-copy on a Jetson.",
}


@dataclass(frozen=True)
class Bottleneck:
    """Why something is not faster.

    Attributes:
        cause: Name of what takes the most time.
        share: Its part of the time, 0..1.
        cure: What would help, in words.
        ideal_ms: What the same bytes, or the same operations if that is more, take at the machine's full rate.
    """

    cause: str
    share: float
    cure: str
    ideal_ms: float


def bottleneck(prediction: Prediction) -> Bottleneck:
    """What takes most of a predicted time, and how far the plan is from the machine's limits."""
    terms, machine = prediction.terms, prediction.conditions
    field = max(CAUSES, key=lambda name: float(getattr(terms, name)))
    moved = sum(kernel.bytes for kernel in prediction.kernels) / (machine.bandwidth_gbs * 1e6)
    computed = sum(kernel.flops for kernel in prediction.kernels) / (machine.peak_tflops * 1e9)
    return Bottleneck(
        CAUSES[field][0].lower(), getattr(terms, field) / (prediction.ms or 1.0), _CURES[field], max(moved, computed)
    )


@dataclass(frozen=True)
class Graph:
    """One graph of an engine.

    Attributes:
        part: Its name in an engine of several parts; empty for the only one.
        input: What it takes.
        latency: Times of it, by `timed`; None where only a prediction is known.
        found: What else was measured.
        prediction: What was predicted for it on this machine.
        timed: What a call of `latency` does, in words.
    """

    part: str
    input: str
    latency: Latency | None
    found: Insight | ProfileReport | None
    prediction: Prediction | None
    timed: str = "the raw graph"

    @property
    def prefix(self) -> str:
        """What begins the ids of its parts of the page."""
        return f"{self.part}-" if self.part else ""

    @property
    def bottleneck(self) -> Bottleneck | None:
        """Why it is not faster, if there is a prediction."""
        return None if self.prediction is None else bottleneck(self.prediction)

    @property
    def kernels(self) -> list[KernelTime]:
        """The predicted kernels that take longest, longest first."""
        kernels = () if self.prediction is None else self.prediction.kernels
        return sorted(kernels, key=lambda kernel: -kernel.ms)[:KERNELS]

    @property
    def times(self) -> LayerTimes | None:
        """Every measured layer; None where layers were not timed."""
        return None if self.found is None else self.found.layer_times

    @property
    def layers(self) -> list[LayerTime]:
        """The measured layers that take longest, longest first."""
        layers = () if self.times is None else self.times.layers
        return sorted(layers, key=lambda layer: -layer.ms)[:LAYERS]

    @property
    def stages(self) -> tuple[StageTime, ...]:
        """Layers by part of the network, beside predicted kernels; nothing where layers do not tell."""
        times = self.times
        return () if times is None else stage_times(times, self.input, self.prediction)

    def charts(self) -> dict[str, str]:
        """SVG by name, each name with the `prefix`."""
        painters = {**self._prediction_painters(), **self._layer_painters()}
        return {f"{self.prefix}{name}": paint(f"{self.prefix}{name}") for name, paint in painters.items()}

    def _prediction_painters(self) -> dict[str, Callable[[str], str]]:
        prediction, stages = self.prediction, self.stages
        if prediction is None:
            return {}
        measured = None if self.latency is None else self.latency.p50
        return {
            "waterfall": lambda name: waterfall(name, prediction, measured),
            "stages": lambda name: stage_bars(
                name, prediction.stages, {item.stage: item.measured_ms for item in stages}
            ),
            "roofline": lambda name: roofline(name, prediction),
        }

    def _layer_painters(self) -> dict[str, Callable[[str], str]]:
        unit, layers = "milliseconds per run", [(item.name, item.ms) for item in self.layers]
        stages = [(item.stage, item.measured_ms) for item in self.stages]
        painters: dict[str, Callable[[str], str]] = {}
        if layers:
            painters["layers"] = lambda name: bars(name, layers, unit)
        if stages and self.prediction is None:
            painters["stages"] = lambda name: bars(name, stages, unit)
        return painters


def graphs_of(report: ProfileReport | PartsReport) -> list[Graph]:
    """The graphs of an engine that were looked into; none in older reports of several parts."""
    if isinstance(report, ProfileReport):
        return [Graph("", report.manifest.graph.input, report.engine_infer, report, report.prediction)]
    return [
        _graph_of(report, part, insight, work.engine)
        for (part, insight), work in zip(report.insights.items(), report.works, strict=False)
    ]


def _graph_of(report: PartsReport, part: str, insight: Insight, latency: Latency) -> Graph:
    graph = Graph(part, report.verdict.manifests[part].graph.input, latency, insight, _predicted(report, part))
    return replace(graph, timed=_DECODING) if part.startswith(DECODER) else graph


def _predicted(report: PartsReport, part: str) -> Prediction | None:
    """The prediction of a part: what tells them apart is what they take, and how much of it."""
    graph = report.verdict.manifests[part].graph
    found = (item for item in report.predictions if (item.input, item.batch) == (graph.input, graph.batch[0]))
    return next(found, None)
