# SPDX-License-Identifier: Apache-2.0
"""The models of ``evit-deploy selftest``, and what is done with each."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

from evit_deploy.agreement import require, worst
from evit_deploy.data.images import scene_frame
from evit_deploy.engines.build import build_engine
from evit_deploy.engines.compilation import compile_engine
from evit_deploy.engines.compiler import choose_compiler
from evit_deploy.errors import CheckFailedError, UnavailableError
from evit_deploy.manifest import ITSELF, Manifest, content_key, read_artifact, write_artifact
from evit_deploy.profiles.latency import Latency, Subject, measure_together
from evit_deploy.profiles.shipped import CLASSES, EXPORT, LOGITS, unpack
from evit_deploy.profiles.verify import verify_engine
from evit_deploy.progress import Progress
from evit_deploy.runtime import SegmentAnything, load
from evit_deploy.runtime.backends import obstacle
from evit_deploy.runtime.preprocess import graph_input
from evit_deploy.runtime.verify import Reference
from evit_deploy.targets import TARGETS, TargetSpec, find_target_of
from evit_deploy.targets.device import Device, this_device

RUNS = 60
SMALL = (64, 128)
WITHOUT_GPU = "sm86"
"""What is compiled for where there is no GPU, by a compiler that needs none."""


class LeftOut(Exception):  # noqa: N818  not an error: a result
    """A step that the machine at hand does not have; the text says why."""


@dataclass(frozen=True)
class Case:
    """A model and its steps.

    Attributes:
        name: Name in the table.
        steps: Name of each step, and what does it and returns what came of it in words.
    """

    name: str
    steps: tuple[tuple[str, Callable[[], str]], ...]


def cpu_cases(work: Path, progress: Progress) -> list[Case]:
    """Two models exported here, or one that travels with the package where PyTorch is missing.

    Raises:
        UnavailableError: No compiler for CPUs is installed.
    """
    choose_compiler(TARGETS["cpu"], "fp32", required=True)
    if all(find_spec(name) for name in ("torch", "onnx", "onnxsim", "onnxruntime")):
        return [_exported(work, "b0-seg", "demo", SMALL, progress), _exported(work, "b0-cls", "random", None, progress)]
    unpack(work)
    return [Case("b0-seg", (("build", lambda: _build(work / EXPORT, work, progress)), *_runs(work / "cpu", progress)))]


def gpu_cases(work: Path, progress: Progress) -> list[Case]:
    """The two lowered engines that travel with the package, compiled for the GPU at hand.

    Raises:
        UnavailableError: No compiler for it is installed, or no target has such a GPU.
    """
    device = this_device()
    spec = _gpu_target(device)
    unpack(work)
    arch = WITHOUT_GPU if device is None else None
    return [_lowered(work, name, spec, arch, progress) for name in (CLASSES, LOGITS)]


def _exported(work: Path, model: str, weights: str, resolution: tuple[int, int] | None, progress: Progress) -> Case:
    place = work / model

    def export() -> str:
        from evit_deploy.export import ExportOptions, export_model

        manifest, _ = export_model(model, place / "export", ExportOptions(weights=weights, resolution=resolution))
        assert isinstance(manifest, Manifest)  # a model of one graph
        return f"{weights} weights, {manifest.graph.resolution[0]}x{manifest.graph.resolution[1]}"

    build = ("build", lambda: _build(place / "export", place, progress))
    return Case(model, (("export", export), build, *_runs(place / "cpu", progress)))


def _build(export: Path, place: Path, progress: Progress) -> str:
    manifest, _ = build_engine(export, place / "cpu", target="cpu", progress=progress)
    return _made(manifest)


def _lowered(work: Path, name: str, spec: TargetSpec, arch: str | None, progress: Progress) -> Case:
    folder = work / f"{name}-compiled"

    def build() -> str:
        manifest = rename_target(work / name, work / f"{name}-{spec.name}", spec)
        if spec.name == "rtx" and manifest.graph.batch[0] != manifest.graph.batch[1]:
            raise LeftOut("TensorRT for RTX builds for one batch size")
        return _made(compile_engine(work / f"{name}-{spec.name}", folder, arch=arch, progress=progress)[0])

    return Case(name, (("build", build), *_runs(folder, progress)))


def rename_target(source: Path, folder: Path, spec: TargetSpec) -> Manifest:
    """Copy a lowered engine under the name of another target: the graph is the same for all GPUs.

    Raises:
        ArtifactError: It is damaged.
    """
    manifest = read_artifact(source)
    assert manifest.engine is not None
    engine = replace(manifest.engine, target=spec.name)
    with write_artifact(folder) as writer:
        for file in manifest.files:
            shutil.copyfile(source / file, writer.folder / file)
        key = content_key(lowered=manifest.key, target=spec.name)
        return writer.commit(replace(manifest, key=key, engine=engine, files={}))


def _gpu_target(device: Device | None) -> TargetSpec:
    """The target that the GPU at hand is, else the first one with such a GPU, that can be compiled for here."""
    own = find_target_of(device) if device else None
    capability = device.compute_capability if device else None
    able = [spec for spec in TARGETS.values() if capability in spec.capabilities] if device else [TARGETS["rtx"]]
    able.sort(key=lambda spec: spec is not own)
    refusal = UnavailableError(
        "there is no target for this GPU",
        found=f"{device.gpu}, compute capability {capability}" if device else "no NVIDIA GPU, or no driver for it",
    )
    for spec in able:
        try:
            choose_compiler(spec, "fp16", required=True)
        except UnavailableError as error:
            refusal = refusal if spec is not able[0] else error
            continue
        return spec
    raise refusal


def _runs(folder: Path, progress: Progress) -> tuple[tuple[str, Callable[[], str]], ...]:
    """What is done with every engine."""
    return (
        ("load", lambda: _load(folder)),
        ("verify", lambda: _verify(folder, progress)),
        ("profile", lambda: _profile(folder)),
    )


def _load(folder: Path) -> str:
    """Load an engine as a robot does, and show it a frame of another size."""
    manifest = read_artifact(folder)
    if reason := obstacle(manifest):
        raise UnavailableError("the engine cannot be run here", found=reason)
    start = time.perf_counter()
    with load(folder) as task:
        assert not isinstance(task, SegmentAnything)
        seconds = time.perf_counter() - start
        if manifest.graph.batch[0] == 1:
            task(scene_frame(0, (120, 200)).image)
        return f"{seconds:.2f} s, with {task.engine.backend_version}"


def _verify(folder: Path, progress: Progress) -> str:
    """Compare with PyTorch on the frames that the engine carries; the engine itself, no emulation."""
    _, agreement, _ = verify_engine(folder, folder.parent / "profiles", progress=progress)
    if agreement.method != ITSELF:
        raise CheckFailedError("the engine was not run", found=agreement.method)
    require(agreement, "the engine", "report it")
    row = worst(agreement.frames)
    error = "" if row.relative_l2 is None else f"relative L2 {row.relative_l2:.1e}, "
    return f"{error}classes equal {row.class_agreement:.4%}"


def _profile(folder: Path) -> str:
    """Time the raw graph on frames that it carries."""
    with load(folder) as task:
        assert not isinstance(task, SegmentAnything)
        graph, reference = task.manifest.graph, Reference.load(folder)
        inputs = {
            graph.inputs[0].name: graph_input(reference.images[: graph.batch[0]], graph, task.manifest.preprocess)
        }
        (latency,) = measure_together([Subject("engine", lambda: task.infer(inputs), RUNS)], warm_up_seconds=0.2)
    return _times(latency)


def _times(latency: Latency) -> str:
    return f"median {latency.p50:.3f} ms, 99 % under {latency.p99:.3f} ms, {latency.runs} runs"


def _made(manifest: Manifest) -> str:
    engine = manifest.engine
    assert engine is not None
    arch = f" for {engine.machine['arch']}" if "arch" in engine.machine else ""
    return f"{engine.compiler} {engine.compiler_version}, {engine.precision}{arch}"
