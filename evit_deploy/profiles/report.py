# SPDX-License-Identifier: Apache-2.0
"""The measured record of one engine."""

from __future__ import annotations

import shlex
from dataclasses import asdict, dataclass, field
from typing import Any

from evit_deploy.manifest import Agreement, EngineInfo, Manifest
from evit_deploy.manifest.model import to_json as manifest_json
from evit_deploy.profiles.files import plain
from evit_deploy.profiles.latency import Latency, ratio_range
from evit_deploy.profiles.layer_times.record import LayerTimes
from evit_deploy.profiles.layer_times.stages import StageTime, stage_times
from evit_deploy.profiles.original import weights_choice, weights_seed
from evit_deploy.profiles.power.record import PowerRecord
from evit_deploy.profiles.predict.prediction import Prediction
from evit_deploy.profiles.verify import agreement_record

REPORT_VERSION = 2
ENGINE_INFER = "engine infer"
ENGINE_CALL = "engine call"


@dataclass(frozen=True)
class ProfileReport:
    """Everything that was measured of an engine, and where.

    Attributes:
        engine: Name of the engine's folder.
        manifest: What the engine says about itself.
        agreement: Comparison with PyTorch, made on this machine just before the timing.
        latencies: "engine infer" (the raw graph), "engine call" (720×1280 frame in, result out; not for a fixed batch
            above 1) and PyTorch eager, measured in one run in alternating blocks.
        peak_memory_mb: Peak memory the engine adds to a process, MB; see `evit_deploy.profiles.memory`.
        load_seconds: Time to load the engine in a fresh process, s.
        engine_mb: Size of the engine's folder, MB (10⁶ bytes).
        environment: Machine, versions, load, date.
        notes: What a reader must know about the measurement, such as why PyTorch is absent.
        first_call_ms: The first call in a fresh process, just after the load.
        frames_per_second: Throughput with two runs under way; None if not measured.
        wrapper_ms: What the checks and the lock of `Engine.infer` add to every run, without the backend.
        modes: The raw graph timed as `trtexec` of several releases does; empty where its backend is no TensorRT.
        device_memory: MB on the GPU and page-locked on the host, by use; empty on CPUs.
        layer_times: By layer, from the backend's own profiler.
        power: What it drew while it ran steadily.
        prediction: What was predicted for this engine on this machine.
    """

    engine: str
    manifest: Manifest
    agreement: Agreement
    latencies: tuple[Latency, ...]
    peak_memory_mb: float
    load_seconds: float
    engine_mb: float
    environment: dict[str, str]
    notes: tuple[str, ...] = field(default_factory=tuple)
    first_call_ms: float | None = None
    frames_per_second: float | None = None
    wrapper_ms: float | None = None
    modes: tuple[Latency, ...] = ()
    device_memory: dict[str, float] = field(default_factory=dict)
    layer_times: LayerTimes | None = None
    power: PowerRecord | None = None
    prediction: Prediction | None = None

    @property
    def engine_infer(self) -> Latency:
        """Times of the raw graph."""
        return self.latencies[0]

    @property
    def engine_call(self) -> Latency | None:
        """Times from a frame to its result."""
        return next((item for item in self.latencies if item.name == ENGINE_CALL), None)

    @property
    def pytorch(self) -> Latency | None:
        """Times of PyTorch, or None if it was not timed; `notes` then says why."""
        return next((item for item in self.latencies if item.name.startswith("PyTorch")), None)

    @property
    def speedup(self) -> float | None:
        """PyTorch's median over the raw graph's, or None without PyTorch."""
        return None if self.pytorch is None else self.pytorch.p50 / self.engine_infer.p50

    @property
    def speedup_range(self) -> tuple[float, float] | None:
        """Quartiles of the speed-up over the rounds of the run: how far to trust it."""
        return None if self.pytorch is None else ratio_range(self.pytorch, self.engine_infer)

    @property
    def stages(self) -> tuple[StageTime, ...]:
        """Measured layers beside predicted kernels, by part of the network; empty without layers."""
        if self.layer_times is None:
            return ()
        return stage_times(self.layer_times, self.manifest.graph.input, self.prediction)

    def to_json(self) -> dict[str, Any]:
        """The report as JSON values."""
        data = {
            "report": REPORT_VERSION,
            "engine": self.engine,
            "agreement": agreement_record(self.agreement),
            "latencies": [item.to_json() for item in self.latencies],
            "speedup": self.speedup,
            "speedup_range": self.speedup_range,
            "peak_memory_mb": self.peak_memory_mb,
            "load_seconds": self.load_seconds,
            "engine_mb": self.engine_mb,
            "environment": self.environment,
            "notes": self.notes,
            "first_call_ms": self.first_call_ms,
            "frames_per_second": self.frames_per_second,
            "wrapper_ms": self.wrapper_ms,
            "modes": [item.to_json() for item in self.modes],
            "device_memory": self.device_memory,
            "layer_times": self.layer_times and self.layer_times.to_json(),
            "stages": [asdict(stage) for stage in self.stages],
            "power": self.power and self.power.to_json(),
            "prediction": self.prediction and self.prediction.to_json(),
            "reproduce": commands(self),
            "manifest": manifest_json(self.manifest),
        }
        return plain(data)  # type: ignore[no-any-return]


def commands(report: ProfileReport) -> list[str]:
    """The commands that make the engine and this report again, in order."""
    manifest, engine = report.manifest, report.manifest.engine
    assert engine is not None
    export, named_compiler = export_name(report.engine, manifest)
    compiler = ["--compiler", engine.compiler] if named_compiler else []
    name = [] if export == manifest.model.name else ["--name", export]
    lines = [
        ["export", manifest.model.name, *_export_options(manifest), *name],
        ["build", export, "--target", engine.target, f"--{engine.precision}", *compiler, *int8_options(engine)],
        ["profile", built_name(report.engine, manifest), "--runs", str(report.engine_infer.runs)],
    ]
    return [shlex.join(["evit-deploy", *line]) for line in lines]


def int8_options(engine: EngineInfo) -> list[str]:
    """The options that made an INT8 engine; nothing of another. Profiles that costs were taken from are not named."""
    info = engine.int8
    if info is None:
        return []
    timings = [] if info.predicted else ["--timings", "FP16_PROFILE", "--timings", "INT8_PROFILE"]
    return [
        *("--calibrate", info.source or info.calibration, "--calibration-images", str(info.images)),
        *("--calibration", info.method, "--judge-images", str(info.judged_frames), "--max-drop", f"{info.max_drop:g}"),
        *(["--max-error", f"{info.max_error:g}"] if info.max_error is not None else []),
        *(["--allow-slower"] if info.ratio >= 1 else []),
        *timings,
    ]


def export_name(name: str, manifest: Manifest) -> tuple[str, bool]:
    """Name of the export that an engine's name tells of, and whether the compiler was named explicitly."""
    engine = manifest.engine
    assert engine is not None
    stem, named = f".{engine.target}.{engine.precision}", f".{engine.compiler}"
    if name.endswith(stem + named):
        return name.removesuffix(stem + named), True
    return (name.removesuffix(stem) if name.endswith(stem) else manifest.model.name), False


def built_name(name: str, manifest: Manifest) -> str:
    """What ``build`` calls the engine that it makes of `export_name`: `name`, unless the folder was named otherwise."""
    export, named_compiler = export_name(name, manifest)
    engine = manifest.engine
    assert engine is not None
    return ".".join([export, engine.target, engine.precision, *([engine.compiler] if named_compiler else [])])


def _export_options(manifest: Manifest) -> list[str]:
    graph = manifest.graph
    (height, width), (low, high) = graph.resolution, graph.batch
    seed = weights_seed(manifest.weights)
    return [
        *("--weights", weights_choice(manifest.weights)),
        *(["--seed", str(seed)] if seed else []),
        *("--resolution", f"{height}x{width}"),
        *("--opset", str(graph.opset)),
        *("--batch", str(low) if low == high else f"{low}..{high}"),
        *("--input", graph.input, "--output", graph.output),
    ]
