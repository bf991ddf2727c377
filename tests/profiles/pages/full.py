# SPDX-License-Identifier: Apache-2.0
"""Profiles that hold everything a profile can hold, made up."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from evit_deploy.manifest import FileInfo, Manifest
from evit_deploy.profiles.evaluate.record import DatasetInfo, Evaluation, Skipped, Speed
from evit_deploy.profiles.evaluate.task import ClassScore, Mistake, Score
from evit_deploy.profiles.insight import Insight
from evit_deploy.profiles.layer_times.record import LayerTime, LayerTimes
from evit_deploy.profiles.predict.machine import conditions
from evit_deploy.profiles.predict.prediction import KernelTime, Prediction, Terms, by_stage
from evit_deploy.profiles.reading import Evaluated
from evit_deploy.profiles.report import ProfileReport
from evit_deploy.profiles.sam.report import PartsReport
from tests.manifest.sample import SHA, sample_int8
from tests.profiles.records import make_latency, make_manifest, make_parts, make_power, make_report

STAGES = ("input", "stem", "stage 1", "stage 2", "stage 3", "stage 4", "head", "output")


def full_manifest(**changes: Any) -> Manifest:
    manifest = make_manifest(**changes)
    return replace(manifest, files={manifest.graph.file: FileInfo(SHA, 1)})


def int8_manifest(**changes: Any) -> Manifest:
    """The manifest of an engine in INT8; changes are of what it says of that."""
    manifest = full_manifest(target="orin-nx", precision="int8")
    assert manifest.engine is not None
    return replace(manifest, engine=replace(manifest.engine, int8=replace(sample_int8(), **changes)))


def full_prediction(input: str = "image", batch: int = 1) -> Prediction:
    """Forty kernels that are bound by each of the three, on a machine with an uncertain figure."""
    kernels = tuple(_kernel(number) for number in range(40))
    stages = by_stage(kernels)
    stages["input"] += Terms(copies=0.2)
    terms = sum(stages.values(), Terms())
    return Prediction(
        "an engine", "b0-seg", (64, 128), batch, "fp16", input, "classes", "a compiler 1.2", conditions("orin-nx"),
        0.9 * terms.total, 1.1 * terms.total, 0.9, terms, stages, kernels, ("a note on the prediction",),
    )  # fmt: skip


def _kernel(number: int) -> KernelTime:
    bound = ("traffic", "arithmetic", "launch")[number % 3]
    terms = {"traffic": Terms(0.1 * number), "arithmetic": Terms(0.0, 0.05 * number), "launch": Terms()}[bound]
    moved, flops = 10_000 * (number + 1) ** 2, (0 if number % 4 == 0 else 10**6 * 2 ** (number % 12))
    names = (f"backbone.stages.{number % 4}.{number}.conv",)
    terms += Terms(launches=0.007)
    return KernelTime(number, f"kernel {number}", "gemm", STAGES[number // 5], names, moved, flops, terms, bound)  # type: ignore[arg-type]


def full_layer_times() -> LayerTimes:
    layers = tuple(
        LayerTime(f"/backbone/stages.{number % 4}/a/very/long/name/of/a/layer/that/never/ends/{number}/Conv",
                  "Convolution", 0.1 * number, (f"backbone.stages.{number % 4}.{number}.conv",))
        for number in range(30)
    )  # fmt: skip
    return LayerTimes("a profiler 1.2", 20, layers, 50.0, "a note on layers")


def full_report(**changes: Any) -> ProfileReport:
    """A profile of one graph, with everything."""
    report = make_report(manifest=full_manifest())
    return replace(report, **{**_inside(), "power": make_power(), "prediction": full_prediction(), **changes})


def full_parts() -> PartsReport:
    """A profile of two parts, with everything."""
    report = make_parts()
    encoder = full_manifest(model="l0-sam")
    decoder = replace(encoder, graph=replace(encoder.graph, input="prompts"))
    verdict = replace(report.verdict, manifests={"encoder": encoder, "decoder": decoder})
    insights = {name: Insight(**{key: value for key, value in _inside().items() if key != "first_call_ms"})
                for name in ("encoder", "decoder")}  # fmt: skip
    predictions = (full_prediction(), full_prediction("prompts"))
    return replace(
        report, verdict=verdict, insights=insights, power=make_power(), predictions=predictions, first_call_ms=9.0
    )


def _inside() -> dict[str, Any]:
    return {
        "first_call_ms": 80.0,
        "frames_per_second": 41.25,
        "wrapper_ms": 0.021,
        "modes": (make_latency("as trtexec up to 10", 9.0), make_latency("as trtexec from 11", 8.0)),
        "device_memory": {"weights and code": 12.0},
        "layer_times": full_layer_times(),
    }


def full_evaluation(kind: str = "cityscapes", classes: int = 5) -> Evaluated:
    """An evaluation in which everything that can be said is said."""
    names = [f"class {number}" for number in range(classes)]
    score = Score(
        metrics={"mIoU": 0.8012, "pixel accuracy": 0.961},
        published={"mIoU": 0.8125},
        classes=tuple(ClassScore(name, 1000, None if index == 0 else 0.75) for index, name in enumerate(names)),
        confusion=[[90 if row == column else 2 for column in range(classes)] for row in range(classes)],
        mistakes=(Mistake(names[0], names[1], 12345),),
    )
    evaluation = Evaluation(
        "b0-seg.cpu.fp32", SHA, DatasetInfo(kind, "/data", "val", 500, SHA), {}, score, 499,
        (Skipped("broken.png", "no image"),), Speed(499, 100.0, 4.99, 5.4), ("a warning of the evaluation",),
    )  # fmt: skip
    return Evaluated(evaluation, "2026-01-02T03:04:05+00:00", {})
