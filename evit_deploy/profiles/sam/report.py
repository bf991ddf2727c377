# SPDX-License-Identifier: Apache-2.0
"""The measured record of an engine of several parts."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from evit_deploy.manifest import DECODER, ENCODER, Manifest
from evit_deploy.manifest.model import to_json as manifest_json
from evit_deploy.profiles.files import plain
from evit_deploy.profiles.insight import Insight
from evit_deploy.profiles.latency import Latency, ratio_range
from evit_deploy.profiles.original import weights_choice, weights_seed
from evit_deploy.profiles.power.record import PowerRecord
from evit_deploy.profiles.predict.prediction import Prediction
from evit_deploy.profiles.report import REPORT_VERSION, built_name, export_name, int8_options
from evit_deploy.profiles.sam.verify import Verdict


@dataclass(frozen=True)
class Work:
    """One piece of work, done by the engine and by PyTorch in alternating blocks of one run.

    Attributes:
        name: What was done, such as "decoder, 8 prompts".
        engine: Times of the engine; a "frame" is a picture, or a prompt for a decoder.
        pytorch: Times of PyTorch; None if it was not timed.
    """

    name: str
    engine: Latency
    pytorch: Latency | None = None

    @property
    def timed(self) -> tuple[Latency, ...]:
        """The engine's times, and PyTorch's."""
        return (self.engine,) if self.pytorch is None else (self.engine, self.pytorch)

    @property
    def speedup(self) -> float | None:
        """PyTorch's median over the engine's, or None without PyTorch."""
        return None if self.pytorch is None else self.pytorch.p50 / self.engine.p50

    @property
    def speedup_range(self) -> tuple[float, float] | None:
        """Quartiles of the speed-up over the rounds of the run: how far to trust it."""
        return None if self.pytorch is None else ratio_range(self.pytorch, self.engine)

    def to_json(self) -> dict[str, Any]:
        """All figures as JSON values."""
        return {
            "name": self.name,
            "engine": self.engine.to_json(),
            "pytorch": None if self.pytorch is None else self.pytorch.to_json(),
            "speedup": self.speedup,
            "speedup_range": self.speedup_range,
        }


@dataclass(frozen=True)
class PartsReport:
    """Everything that was measured of an engine of several parts, and where.

    Attributes:
        engine: Name of the engine's folder.
        verdict: Comparison with PyTorch, made on this machine just before the timing.
        works: The encoder, the decoder for a few numbers of prompts, and the way from a frame to a mask.
        peak_memory_mb: Peak memory that a picture and one prompt add to a process, MB; `evit_deploy.profiles.memory`.
        many_peak_memory_mb: The same after 64 prompts in one call.
        load_seconds: Time to load the engine in a fresh process, s.
        engine_mb: Size of the engine's folder, MB (10⁶ bytes).
        environment: Machine, versions, load, date.
        notes: What a reader must know about the measurement, such as why PyTorch is absent.
        first_call_ms: The first picture with one prompt in a fresh process, just after the load.
        insights: What else was measured of the encoder and of the decoder for one prompt, by part.
        power: What it drew while it went from frames to masks.
        predictions: What was predicted for its parts on this machine.
    """

    engine: str
    verdict: Verdict
    works: tuple[Work, ...]
    peak_memory_mb: float
    many_peak_memory_mb: float
    load_seconds: float
    engine_mb: float
    environment: dict[str, str]
    notes: tuple[str, ...] = field(default_factory=tuple)
    first_call_ms: float | None = None
    insights: dict[str, Insight] = field(default_factory=dict)
    power: PowerRecord | None = None
    predictions: tuple[Prediction, ...] = ()

    @property
    def latencies(self) -> tuple[Latency, ...]:
        """All that was timed, in order."""
        return tuple(item for work in self.works for item in work.timed)

    @property
    def headline(self) -> tuple[Work, ...]:
        """What is said first: the encoder, the decoder for one prompt, and from a frame to its masks."""
        return self.works[0], self.works[1], self.works[-1]

    def to_json(self) -> dict[str, Any]:
        """The report as JSON values."""
        data = {
            "report": REPORT_VERSION,
            "engine": self.engine,
            "agreement": self.verdict.to_json(),
            "works": [work.to_json() for work in self.works],
            "peak_memory_mb": self.peak_memory_mb,
            "many_peak_memory_mb": self.many_peak_memory_mb,
            "load_seconds": self.load_seconds,
            "engine_mb": self.engine_mb,
            "environment": self.environment,
            "notes": self.notes,
            "first_call_ms": self.first_call_ms,
            "insights": {name: insight.to_json() for name, insight in self.insights.items()},
            "power": self.power and self.power.to_json(),
            "predictions": [prediction.to_json() for prediction in self.predictions],
            "reproduce": commands(self),
            "manifest": manifest_json(self.verdict.bundle),
            "parts": {name: manifest_json(manifest) for name, manifest in self.verdict.manifests.items()},
        }
        return plain(data)  # type: ignore[no-any-return]


def commands(report: PartsReport) -> list[str]:
    """The commands that make the engine and this report again, in order."""
    manifests = report.verdict.manifests
    encoder = manifests[ENCODER]
    engine = encoder.engine
    assert engine is not None
    export, named_compiler = export_name(report.engine, encoder)
    compiler = ["--compiler", engine.compiler] if named_compiler else []
    name = [] if export == encoder.model.name else ["--name", export]
    lines = [
        ["export", encoder.model.name, *_export_options(manifests), *name],
        ["build", export, "--target", engine.target, f"--{engine.precision}", *compiler, *_sizes(manifests),
         *int8_options(engine)],
        ["profile", built_name(report.engine, encoder), "--runs", str(report.works[0].engine.runs)],
    ]  # fmt: skip
    return [shlex.join(["evit-deploy", *line]) for line in lines]


def _export_options(manifests: Mapping[str, Manifest]) -> list[str]:
    graph, weights = manifests[ENCODER].graph, manifests[ENCODER].weights
    (low, high), seed = graph.batch, weights_seed(weights)
    decoders = [manifest.graph for name, manifest in manifests.items() if name.startswith(DECODER)]
    frame = [tensor.shape[-2:] for tensor in decoders[0].outputs if tensor.name == "pixels"]
    return [
        *("--weights", weights_choice(weights)),
        *(["--seed", str(seed)] if seed else []),
        *("--opset", str(graph.opset)),
        *(["--batch", str(low) if low == high else f"{low}..{high}"] if high > 1 else []),
        *("--input", graph.input),
        *(["--frame", "{}x{}".format(*frame[0])] if frame else []),
    ]


def _sizes(manifests: Mapping[str, Manifest]) -> list[str]:
    """The options that chose the decoders of an engine for a GPU; nothing where there is one for any number."""
    fixed = [manifest for name, manifest in manifests.items() if name.startswith(f"{DECODER}-")]
    if not fixed:
        return []
    counts = ",".join(str(manifest.graph.batch[1]) for manifest in fixed)
    return ["--prompts", counts, "--points", str(_slots(fixed[0]) - 2)]


def _slots(manifest: Manifest) -> int:
    return next(tensor for tensor in manifest.graph.inputs if tensor.name == "coords").shape[1]
