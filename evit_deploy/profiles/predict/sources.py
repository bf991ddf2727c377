# SPDX-License-Identifier: Apache-2.0
"""From the name of a model, or the folder of an export or an engine, to graphs with their plans."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evit_deploy.engines.bundle import POINTS
from evit_deploy.engines.lowering import LOWERING, Fixed
from evit_deploy.errors import UsageError
from evit_deploy.export.forms import FORM, PLAIN_FORM, SAM_FORM
from evit_deploy.export.options import ExportOptions, make_plan, make_sam_plan
from evit_deploy.manifest import DECODER
from evit_deploy.models.zoo import MODELS, ModelSpec, find_model
from evit_deploy.profiles.predict import graphs
from evit_deploy.profiles.predict.artifacts import artifact_subjects
from evit_deploy.profiles.predict.plans import ARCH, READER, io_bytes, plan_of, planner
from evit_deploy.profiles.predict.store import kept
from evit_deploy.profiles.predict.subject import Subject
from evit_deploy.progress import Progress, silent

if TYPE_CHECKING:
    import onnx

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
        what: Name of a model, or folder or name of an engine or export. A model's name means the model, and a folder
            means the export of the same name.
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
    folder = None if what in MODELS else _folder(what, workspace)
    if folder is None:
        spec, frames = find_model(str(what)), 1 if batch is None else batch
        found = model_subjects(spec, resolution, output, frames, plain=plain, progress=progress)
        notes = _namesakes(what, workspace)
        return tuple(replace(one, notes=(*one.notes, *notes)) for one in found)
    if resolution or output or batch is not None or plain:
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
    make = make_sam_plan if spec.task == "sam" else make_plan
    options = make(spec, ExportOptions(resolution=resolution, output=output, batch=(batch, batch)))
    size = options.resolution
    if plain:
        if output is not None or batch != 1:
            raise UsageError(
                "the reference's graph gives logits, and is predicted for one frame",
                fix="leave --output and --batch out",
            )
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
        plan, origin = plan_of(graph, progress=progress)
        inputs, outputs = io_bytes(graph.graph.input), io_bytes(graph.graph.output)
        return Subject(
            name=name,
            model=spec.name, resolution=resolution, batch=batch, precision="fp16",
            input=ends[0], output=ends[1], plan=plan, inputs=inputs, outputs=outputs, origin=origin,
        )  # fmt: skip

    found = kept(graph_key(spec.name, resolution, batch, ends, plain), planner(), make)
    return replace(found, name=name, model=spec.name)


def graph_key(
    model: str, resolution: tuple[int, int], batch: int, ends: tuple[str, str], plain: bool
) -> dict[str, Any]:
    """What the plan of a model depends on besides its compiler; all mask decoders are of one shape."""
    decodes = ends[0] == "prompts"
    return {
        "model": "sam" if decodes else model, "resolution": list(resolution), "batch": batch, "ends": list(ends),
        "points": POINTS if decodes else None, "forms": [PLAIN_FORM] if plain else [FORM, SAM_FORM, LOWERING],
        "plain": plain, "attention": graphs.ATTENTION, "arch": ARCH, "reader": READER,
    }  # fmt: skip


def key_of(subject: Subject) -> dict[str, Any]:
    """What the graph of a model's own subject depends on."""
    return graph_key(subject.model, subject.resolution, subject.batch, (subject.input, subject.output), plain=False)


def _namesakes(name: str | Path, workspace: Path) -> list[str]:
    """What else a model's name may have meant."""
    folder = workspace / "export" / name
    if not _exists(folder / "manifest.json"):
        return []
    return [
        f"this is the model as export makes it by default; for the export of that name: evit-deploy predict {folder}"
    ]


def _folder(what: str | Path, workspace: Path) -> Path | None:
    """The folder of an artifact; None for a name that has none."""
    for candidate in (Path(what), workspace / "engines" / what, workspace / "export" / what):
        if str(what) and _exists(candidate / "manifest.json"):
            return candidate
    if isinstance(what, Path) or "/" in str(what) or _exists(Path(what)):
        raise UsageError(f"there is no engine or export in {what}", fix="name a model, such as b1-seg, or a folder")
    return None


def _exists(path: Path) -> bool:
    """Whether there is such a file; not where the name is too long for one."""
    try:
        return path.exists()
    except OSError:
        return False
