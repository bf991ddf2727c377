# SPDX-License-Identifier: Apache-2.0
"""From the name of a model, or the folder of an export or an engine, to graphs with their plans.

An engine that keeps its plan has it read; every other graph is compiled by TensorRT for RTX, for `ARCH`, or, without
it, guessed from the graph alone. An Orin is SM 8.7, for which TensorRT for RTX compiles nothing; 8.0 is next of kin.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from evit_deploy.engines.bundle import POINTS
from evit_deploy.engines.compiler import Job
from evit_deploy.engines.lowering import LOWERING, Fixed
from evit_deploy.engines.plan import PLAN, Plan, read_plan
from evit_deploy.engines.tensorrt_rtx import COMPILER
from evit_deploy.errors import UsageError, extra
from evit_deploy.manifest import DECODER, ENCODER, Manifest, is_bundle, read_artifact
from evit_deploy.models.zoo import ModelSpec, find_model
from evit_deploy.profiles.predict import graphs
from evit_deploy.profiles.predict.fusion import RULES, plan_from_graph
from evit_deploy.profiles.predict.store import kept
from evit_deploy.profiles.predict.subject import FALLBACK, Subject
from evit_deploy.progress import Progress, silent

if TYPE_CHECKING:
    import onnx

ARCH = "sm80"
FRAME = (1024, 1024)
"""What the points of a mask decoder are given in."""


def find_subjects(
    what: str | Path,
    workspace: Path,
    *,
    resolution: tuple[int, int] | None = None,
    output: str | None = None,
    batch: int | None = None,
    plain: bool = False,
    progress: Progress = silent,
) -> tuple[Subject, ...]:
    """The graphs that answer one frame, in the order they run in.

    Args:
        what: Folder or name of an engine or export, or name of a model; names are looked up in this order.
        workspace: Folder that holds engines/ and export/.
        resolution: (height, width); None for the model's own.
        output: "classes", "confidence" or "logits"; None for the model's own.
        batch: Frames per run; None for 1.
        plain: The graph as the reference exports it, in place of ours.
        progress: Told about every step.

    Returns:
        One graph; for Segment Anything the image encoder and the mask decoder for one prompt.

    Raises:
        UsageError: Nothing of that name, or a change to a graph that is made already.
        ArtifactError: A damaged artifact.
        UnavailableError: What traces or lowers a graph is not installed.
    """
    folder = _folder(what, workspace)
    if folder is None:
        spec = find_model(str(what))
        return model_subjects(spec, resolution, output, batch or 1, plain=plain, progress=progress)
    if resolution or output or batch or plain:
        raise UsageError(
            f"{folder} is a graph that is made already", found="another resolution, output or batch, or --plain",
            fix="name the model instead: evit-deploy predict MODEL",
        )  # fmt: skip
    return artifact_subjects(folder, progress)


def model_subjects(
    spec: ModelSpec,
    resolution: tuple[int, int] | None = None,
    output: str | None = None,
    batch: int = 1,
    *,
    plain: bool = False,
    progress: Progress = silent,
) -> tuple[Subject, ...]:
    """The graphs of a model of the zoo, FP16, as `export` and `build` would make them; its weights are not needed.

    Raises:
        UsageError: Options that make no sense for this model.
        UnavailableError: What traces or lowers a graph is not installed.
    """
    from evit_deploy.export.options import ExportOptions, make_plan, make_sam_plan

    make = make_sam_plan if spec.task == "sam" else make_plan
    options = make(spec, ExportOptions(resolution=resolution, output=output, batch=(batch, batch)))
    size = options.resolution
    if plain:
        return _plain_subjects(spec, size, progress)
    ends, trace = ("image", options.output), partial(graphs.whole_graph, spec, size, options.output, batch)
    whole = _subject(spec, "", size, batch, ends, trace, progress)
    if spec.task != "sam":
        return (whole,)
    fixed = Fixed(1, POINTS)
    decoder = _subject(
        spec, DECODER, FRAME, 1, ("prompts", "masks"), partial(graphs.decoder_graph, spec, fixed), progress
    )
    return whole, decoder


def _plain_subjects(spec: ModelSpec, resolution: tuple[int, int], progress: Progress) -> tuple[Subject, ...]:
    """What the reference exports, at batch 1."""
    ends = "tensor", "embedding" if spec.task == "sam" else "logits"
    whole = _subject(spec, "", resolution, 1, ends, partial(graphs.plain_graph, spec, resolution), progress, plain=True)
    if spec.task != "sam":
        return (whole,)
    make = partial(graphs.plain_decoder_graph, spec)
    return whole, _subject(spec, DECODER, FRAME, 1, ("prompts", "masks"), make, progress, plain=True)


def _subject(
    spec: ModelSpec,
    part: str,
    resolution: tuple[int, int],
    batch: int,
    ends: tuple[str, str],
    trace: Callable[[], onnx.ModelProto],
    progress: Progress,
    *,
    plain: bool = False,
) -> Subject:
    """One graph of a model: made before, or made now."""
    name = " ".join(filter(None, (spec.name, part, "(plain)" if plain else "")))

    def make() -> Subject:
        with progress(f"trace {spec.name} {part}".strip()):
            graph = trace()
        plan, origin = plan_of(graph, progress)
        inputs, outputs = _bytes(graph.graph.input), _bytes(graph.graph.output)
        return Subject(
            name=name,
            model=spec.name, resolution=resolution, batch=batch, precision="fp16",
            input=ends[0], output=ends[1], plan=plan, inputs=inputs, outputs=outputs, origin=origin,
        )  # fmt: skip

    found = kept(graph_key(spec.name, resolution, batch, ends, plain), _planner(), make)
    return replace(found, name=name, model=spec.name)


def graph_key(
    model: str, resolution: tuple[int, int], batch: int, ends: tuple[str, str], plain: bool
) -> dict[str, Any]:
    """What the graph of a model depends on; all mask decoders are of one shape."""
    from evit_deploy.export.graph import FORM
    from evit_deploy.export.sam.export import FORM as SAM_FORM

    return {
        "model": "sam" if ends[0] == "prompts" else model, "resolution": list(resolution), "batch": batch,
        "ends": list(ends), "plain": plain, "forms": [FORM, SAM_FORM, LOWERING], "attention": graphs.ATTENTION,
        "arch": ARCH,
    }  # fmt: skip


def key_of(subject: Subject) -> dict[str, Any]:
    """What the graph of a model's own subject depends on."""
    return graph_key(subject.model, subject.resolution, subject.batch, (subject.input, subject.output), plain=False)


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
        return _described(folder, manifest, plan, f"{plan.compiler} {plan.version}, {plan.arch}", None)
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
    plan, origin = plan_of(graph, progress)
    return _described(folder, manifest, plan, origin, graph)


def _described(folder: Path, manifest: Manifest, plan: Plan, origin: str, graph: onnx.ModelProto | None) -> Subject:
    info = manifest.graph
    low, _ = info.batch
    sizes = [
        sum(math.prod(low if side == -1 else side for side in t.shape) * np.dtype(t.dtype).itemsize for t in tensors)
        for tensors in (info.inputs, info.outputs)
    ]
    if graph is not None:
        sizes = [_bytes(graph.graph.input), _bytes(graph.graph.output)]
    name = folder.parent.name + "/" + folder.name if is_bundle(folder.parent) else folder.resolve().name
    return Subject(
        name=name, model=manifest.model.name, resolution=info.resolution, batch=low,
        precision="fp16" if manifest.engine is None else manifest.engine.precision,
        input=info.input, output=info.output, plan=plan, inputs=sizes[0], outputs=sizes[1], origin=origin,
    )  # fmt: skip


def maker() -> str:
    """Who makes plans here."""
    version = COMPILER.version()
    return FALLBACK if version is None else f"TensorRT for RTX {version}, {ARCH}"


def _planner() -> str:
    """What a kept plan depends on besides its graph."""
    return f"{FALLBACK}, rules {RULES}" if maker() == FALLBACK else maker()


def plan_of(graph: onnx.ModelProto, progress: Progress = silent) -> tuple[Plan, str]:
    """Compile a typed graph of fixed sizes, or guess its plan; and who did it."""
    origin = maker()
    if origin == FALLBACK:
        return plan_from_graph(graph), origin
    with extra("export", "Compiling a graph"):
        import onnx
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "model.onnx"
        onnx.save(graph, path)
        COMPILER.compile(Job(path, path.parent, "fp16", ARCH), progress)
        return read_plan(path.parent), origin


def _bytes(values: Iterable[onnx.ValueInfoProto]) -> int:
    """Bytes of the inputs or outputs of a graph of fixed sizes."""
    from onnx.helper import tensor_dtype_to_np_dtype

    kinds = [value.type.tensor_type for value in values]
    sides = ([dim.dim_value for dim in kind.shape.dim] for kind in kinds)
    return sum(
        math.prod(side) * tensor_dtype_to_np_dtype(kind.elem_type).itemsize
        for kind, side in zip(kinds, sides, strict=True)
    )


def _folder(what: str | Path, workspace: Path) -> Path | None:
    """The folder of an artifact; None for a name that has none."""
    for candidate in (Path(what), workspace / "engines" / what, workspace / "export" / what):
        if str(what) and (candidate / "manifest.json").is_file():
            return candidate
    if isinstance(what, Path) or "/" in str(what):
        raise UsageError(f"there is no engine or export in {what}", fix="name a model, such as b1-seg, or a folder")
    return None
