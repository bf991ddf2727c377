# SPDX-License-Identifier: Apache-2.0
"""From the folder of an export or an engine to graphs with their plans.

An engine that keeps its plan has it read; of every other graph a plan is made, and kept.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from evit_deploy.engines.bundle import POINTS
from evit_deploy.engines.lowering import LOWERING, Fixed
from evit_deploy.engines.plan import PLAN, Plan, read_plan
from evit_deploy.errors import UsageError, extra
from evit_deploy.manifest import DECODER, ENCODER, Manifest, TensorInfo, is_bundle, read_artifact
from evit_deploy.profiles.predict import graphs
from evit_deploy.profiles.predict.int8_cost import FORM, int8_calibration
from evit_deploy.profiles.predict.int8_plan import int8_plan_of
from evit_deploy.profiles.predict.plans import ARCH, READER, io_bytes, plan_of, planner
from evit_deploy.profiles.predict.store import kept
from evit_deploy.profiles.predict.subject import Subject
from evit_deploy.progress import Progress, silent


def artifact_subjects(folder: Path, progress: Progress = silent) -> tuple[Subject, ...]:
    """The graphs of an export or of a GPU's engine; of a bundle, encoder and decoder for one prompt.

    Raises:
        UsageError: Not an artifact, or an engine of a CPU.
        ArtifactError: A damaged artifact.
        UnavailableError: What lowers a graph is not installed.
    """
    if not is_bundle(folder):
        return (_artifact_subject(folder, None, progress),)
    decoder = folder / f"{DECODER}-1" if (folder / f"{DECODER}-1").is_dir() else folder / DECODER
    if not decoder.is_dir():
        raise UsageError(
            f"{folder} has no decoder for one prompt", expected="decoder-1", fix="build it with --prompts 1"
        )
    return (
        _artifact_subject(folder / ENCODER, None, progress),
        _artifact_subject(decoder, Fixed(1, POINTS), progress),
    )


def graph_subject(folder: Path, progress: Progress = silent) -> Subject:
    """The one graph of an export; an image encoder's for the encoder of a bundle.

    Raises:
        UsageError: Not an export of one graph for one batch size.
        ArtifactError: A damaged artifact.
        UnavailableError: What lowers a graph is not installed.
    """
    return _artifact_subject(folder, None, progress)


def _artifact_subject(folder: Path, fixed: Fixed | None, progress: Progress) -> Subject:
    """One graph that is made already."""
    manifest = read_artifact(folder)
    if manifest.engine is not None and manifest.engine.target == "cpu":
        raise UsageError(
            f"{folder} is an engine for a CPU", expected="an engine for a GPU, an export, or a model's name",
            fix=f"evit-deploy predict {manifest.model.name}, or evit-deploy profile {folder} to measure it",
        )  # fmt: skip
    if PLAN in manifest.files:
        plan = read_plan(folder)
        origin = f"{plan.compiler} {plan.version}, {plan.arch}"
        moved = _tensor_bytes(manifest.graph.inputs), _tensor_bytes(manifest.graph.outputs)
        return _described(folder, manifest, plan, origin, moved)
    low, high = manifest.graph.batch
    if fixed is None and low != high:
        raise UsageError(
            f"{folder} takes batches of {low} to {high}", expected="a graph of one batch size to predict for",
            fix=f"evit-deploy predict {manifest.model.name} --batch N, or export with --batch N",
        )  # fmt: skip
    found = kept(_key(manifest, fixed), planner(), lambda: _make(folder, manifest, fixed, progress))
    return replace(found, name=_name(folder), model=manifest.model.name)


def _make(folder: Path, manifest: Manifest, fixed: Fixed | None, progress: Progress) -> Subject:
    """Lower an export, and make the plan of the typed graph."""
    with extra("export", "Reading a graph"):
        from evit_deploy.precision.graph import load_graph
        from evit_deploy.precision.lower import lower, lower_decoder
    graph = load_graph(folder / manifest.graph.file)
    if manifest.engine is None:
        with progress("lower to FP16"):
            if manifest.graph.input == "prompts" and fixed is not None:
                graph = lower_decoder(graph, "fp16", fixed.prompts, fixed.slots).model
            else:
                graph = lower(graph, "fp16", graphs.ATTENTION).model
    if _precision(manifest) == "int8":
        plan, origin = int8_plan_of(graph, progress)
    else:
        plan, origin = plan_of(graph, _precision(manifest), progress)
    return _described(folder, manifest, plan, origin, (io_bytes(graph.graph.input), io_bytes(graph.graph.output)))


def _key(manifest: Manifest, fixed: Fixed | None) -> dict[str, Any]:
    """What the typed graph of an artifact depends on, and what is said of it."""
    file, made = manifest.files[manifest.graph.file], dict[str, Any]()
    if manifest.engine is None:
        made = {"lowering": LOWERING, "attention": graphs.ATTENTION, "fixed": fixed and asdict(fixed)}
    elif manifest.engine.precision == "int8":
        made = {"int8": FORM, "channels": int8_calibration().constants.channels}
    return {
        "graph": file.sha256, "precision": _precision(manifest), "arch": ARCH, "reader": READER,
        "target": manifest.engine and manifest.engine.target, **made,
    }  # fmt: skip


def _described(folder: Path, manifest: Manifest, plan: Plan, origin: str, moved: tuple[int, int]) -> Subject:
    info = manifest.graph
    inputs, outputs = moved
    return Subject(
        name=_name(folder), model=manifest.model.name, resolution=info.resolution, batch=info.batch[0],
        precision=_precision(manifest), input=info.input, output=info.output, plan=plan, inputs=inputs,
        outputs=outputs, origin=origin, target=manifest.engine.target if manifest.engine else None,
    )  # fmt: skip


def _precision(manifest: Manifest) -> str:
    return "fp16" if manifest.engine is None else manifest.engine.precision


def _name(folder: Path) -> str:
    """The artifact's name; of a part of a bundle, with the bundle's before it."""
    return folder.parent.name + "/" + folder.name if is_bundle(folder.parent) else folder.resolve().name


def _tensor_bytes(tensors: Sequence[TensorInfo]) -> int:
    """Bytes of inputs or outputs at the smallest batch."""
    return sum(math.prod(max(side, 1) for side in one.shape) * np.dtype(one.dtype).itemsize for one in tensors)
