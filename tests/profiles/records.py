# SPDX-License-Identifier: Apache-2.0
"""Profiles as they could have been measured, made in no time."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from evit_deploy.manifest import ENCODER, EngineInfo, Manifest
from evit_deploy.models.zoo import MODELS
from evit_deploy.profiles.evaluate.record import DatasetInfo, Evaluation, Speed
from evit_deploy.profiles.evaluate.task import Score
from evit_deploy.profiles.files import write_json
from evit_deploy.profiles.latency import ROUNDS, Latency
from evit_deploy.profiles.layer_times.record import LayerTime, LayerTimes
from evit_deploy.profiles.power.record import PowerRecord, Rail
from evit_deploy.profiles.predict.prediction import Conditions, KernelTime, Prediction, Terms
from evit_deploy.profiles.report import ENGINE_CALL, ENGINE_INFER, ProfileReport
from evit_deploy.profiles.sam.report import PartsReport, Work
from evit_deploy.profiles.sam.verify import Verdict
from tests.manifest.sample import sample_agreement, sample_bundle, sample_manifest

EAGER = "PyTorch eager + upsampling + argmax"
HERE = {
    "date": "2026-01-02T03:04:05+00:00",
    "processor": "a CPU",
    "architecture": "x86_64",
    "cores": "2 of 2",
    "governor": "performance",
    "evit-deploy": "0.1.0",
    "onnxruntime": "1.2.3",
}


def make_latency(name: str, ms: float, *, seed: int = 0, runs: int = 100, noise: float = 0.01, wobble: float = 0.02):
    """Calls around a median that share part of their noise with their round, to 0.1 µs as a report keeps them."""
    random = np.random.default_rng(seed)
    rounds = np.repeat(random.normal(0, wobble, ROUNDS), -(-runs // ROUNDS))[:runs]
    samples = ms * np.exp(rounds + random.normal(0, noise, runs))
    return Latency(name, tuple(round(float(value), 4) for value in samples))


def make_manifest(model: str = "b0-seg", target: str = "cpu", precision: str = "fp32", **graph: Any) -> Manifest:
    """The manifest of an engine for one frame at a time."""
    manifest = sample_manifest("engine")
    assert manifest.engine is not None
    engine: EngineInfo = replace(manifest.engine, target=target, precision=precision)
    task = MODELS[model].task
    graph = {"batch": (1, 1), "output": {"seg": "classes", "cls": "logits", "sam": "embedding"}[task], **graph}
    info = replace(manifest.model, name=model, task=task)
    return replace(manifest, engine=engine, model=info, graph=replace(manifest.graph, **graph))


def make_report(
    ms: float = 10.0, *, seed: int = 0, runs: int = 100, eager: float | None = 50.0, manifest: Manifest | None = None,
    environment: dict[str, str] | None = None, **changes: Any,
) -> ProfileReport:  # fmt: skip
    """A profile of an engine of one graph."""
    latencies = [make_latency(ENGINE_INFER, ms, seed=seed, runs=runs), make_latency(ENGINE_CALL, ms + 1, seed=seed + 1)]
    if eager is not None:
        latencies.append(make_latency(EAGER, eager, seed=seed + 2))
    report = ProfileReport(
        engine="b0-seg.cpu.fp32", manifest=manifest or make_manifest(), agreement=sample_agreement(),
        latencies=tuple(latencies), peak_memory_mb=100.0, load_seconds=0.5, engine_mb=3.0,
        environment=HERE | (environment or {}), notes=("a note",),
    )  # fmt: skip
    return replace(report, **changes)


def make_parts(ms: float = 10.0, **environment: str) -> PartsReport:
    """A profile of an engine of Segment Anything."""
    part = make_manifest("l0-sam")
    verdict = Verdict(
        sample_bundle("engine"), {ENCODER: part, "decoder": part}, {ENCODER: sample_agreement()}, sample_agreement()
    )
    works = tuple(
        Work(name, make_latency(name, ms * factor), make_latency(f"{name}, PyTorch eager", 9 * ms * factor, runs=20))
        for name, factor in (("encoder", 1.0), ("decoder, 1 prompt", 0.2), ("frame to masks", 1.3))
    )
    return PartsReport("l0-sam.cpu.fp32", verdict, works, 100.0, 200.0, 1.0, 3.0, HERE | environment)


def make_power(watts: float = 10.0, **changes: Any) -> PowerRecord:
    """Power as a Jetson's sensors could have given it."""
    record = PowerRecord(
        "tegrastats", (Rail("VDD_GPU_SOC", watts, 0.05),), ("VDD_GPU_SOC",), "sum of rails, an estimate", watts, 0.05,
        5.0, 30.0, 300, 100.0, 3000, 100 * watts, watts, {"tj": 61.5},
    )  # fmt: skip
    return replace(record, **changes)


def make_layer_times() -> LayerTimes:
    """Two layers."""
    layers = (LayerTime("conv1 + relu", "CaskConvolution", 1.5, ("/a/Conv", "/a/Relu")), LayerTime("copy", "Copy", 0.5))
    return LayerTimes("a profiler 1.2", 20, layers, 2.5, "a note")


def make_prediction() -> Prediction:
    """A prediction of one kernel."""
    kernel = KernelTime(0, "k", "conv", "stem", ("/a/Conv",), 1000, 2000, Terms(1.0, 0.0, 0.1), "traffic")
    machine = Conditions("orin", "64 GB", "MAXN", 16, 1301.0, 204.8, 42.6, ("FP16 peak (derived)",))
    return Prediction(
        "b0-seg", "b0-seg", (64, 128), 1, "fp16", "image", "classes", "a compiler 1.2", machine, 1.0, 1.3, None,
        kernel.terms, {"stem": kernel.terms}, (kernel,), ("a note",),
    )  # fmt: skip


def write_report(folder: Path, report: ProfileReport | PartsReport) -> Path:
    """Write a profile's report.json into the folder of its engine."""
    path = folder / "report.json"
    write_json(path, report.to_json())
    return path


def make_evaluation(score: float, images: int = 10) -> Evaluation:
    """What an evaluation on Cityscapes could have found."""
    info = DatasetInfo("cityscapes", "/data", "val", 10, "0123")
    return Evaluation(
        "b0-seg.cpu.fp32", "key", info, {}, Score({"mIoU": score}), images, (), Speed(images, 2.0, 5.0, 5.1), ()
    )  # fmt: skip
