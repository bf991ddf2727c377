# SPDX-License-Identifier: Apache-2.0
"""``evit-deploy export``: weights in, verified artifact out."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
import onnxsim
import torch

import evit_deploy
from evit_deploy.agreement import BUDGETS, require
from evit_deploy.data.images import Frame
from evit_deploy.errors import UsageError
from evit_deploy.export.graph import FORM, LOGITS, trace_deployed
from evit_deploy.export.peaks import record_peaks
from evit_deploy.export.reference import choose_frames, make_reference
from evit_deploy.export.trace import check_graph, check_opset, hide_output
from evit_deploy.manifest import (
    Agreement,
    GraphInfo,
    Manifest,
    ModelInfo,
    Preprocess,
    TensorInfo,
    WeightsInfo,
    content_key,
    read_existing,
    utc_now,
    write_artifact,
)
from evit_deploy.models.build import build_model
from evit_deploy.models.weights import Weights, load_weights, resolve_weights
from evit_deploy.models.zoo import ModelSpec, find_model
from evit_deploy.progress import Progress, silent
from evit_deploy.runtime.backends.onnxruntime import session_options
from evit_deploy.runtime.engine import available_cores
from evit_deploy.runtime.verify import Reference, verify

GRAPH = "model.onnx"
MULTIPLE = 32
MAX_BATCH = 64
MAX_PIXELS = 4096 * 8192
INPUTS = ("image", "tensor")
OUTPUTS = ("classes", "confidence", "logits")


@dataclass(frozen=True)
class ExportOptions:
    """What to export.

    Attributes:
        opset: ONNX opset, 17 to 20.
        weights: "official", "demo", "random", a path, or None for the best that can be had.
        resolution: (height, width), multiples of 32; None for the model's own.
        batch: (smallest, largest) batch; equal for a static graph.
        input: "image" or "tensor".
        output: "classes", "confidence" or "logits"; None for classes where the model segments, else logits.
        images: Folder of frames to prove agreement on; None for installed photos and drawn scenes.
        seed: Seed of random weights.
    """

    opset: int = 17
    weights: str | None = None
    resolution: tuple[int, int] | None = None
    batch: tuple[int, int] = (1, 1)
    input: str = "image"
    output: str | None = None
    images: Path | None = None
    seed: int = 0


@dataclass(frozen=True)
class _Plan:
    """Options with every default filled in."""

    spec: ModelSpec
    opset: int
    resolution: tuple[int, int]
    batch: tuple[int, int]
    input: str
    output: str


def export_model(
    name: str, folder: Path, options: ExportOptions | None = None, progress: Progress = silent
) -> tuple[Manifest, bool]:
    """Export a model, and write it only if ONNX Runtime agrees with PyTorch on real images.

    Args:
        name: A model of the zoo.
        folder: Where to write, such as ``export/b1-seg``.
        options: What to export.
        progress: Told about every step.

    Returns:
        The manifest, and whether anything was written: False if the folder already holds exactly this export.

    Raises:
        UsageError: Options that make no sense.
        CheckFailedError: The exported graph does not agree with PyTorch.
    """
    options = options or ExportOptions()
    plan = _plan(find_model(name), options)
    with progress("weights"):
        weights = resolve_weights(plan.spec, options.weights, seed=options.seed, resolution=plan.resolution)
    frames = choose_frames(options.images, plan.resolution)
    key = _key(plan, weights, frames)
    if (existing := read_existing(folder, key)) is not None:
        return existing, False
    with write_artifact(folder) as writer:
        with progress("model"):
            model = build_model(plan.spec)
            load_weights(model, weights)
            model.eval()
        rules = preprocess_rules(plan.spec)
        with progress("PyTorch", len(frames)) as step, record_peaks(model) as peaks:
            reference = make_reference(model, frames, rules, plan.resolution, step.advance)
        with progress("trace to ONNX"):
            graph = trace_deployed(
                model, rules, plan.resolution, plan.input, plan.output,
                peaks=peaks, opset=plan.opset, batch=plan.batch,
            )  # fmt: skip
        reference.save(writer.folder)
        everything = graph.SerializeToString()
        if plan.output != LOGITS:
            hide_output(graph, LOGITS)
            check_graph(graph, plan.opset)
        onnx.save(graph, writer.folder / GRAPH)
        manifest = _manifest(plan, weights, frames, graph, key)
        with progress("verify", len(frames)) as step:
            agreement = _verify_graph(everything, manifest, reference, step.advance)
        require(agreement, f"the exported graph of {plan.spec.name}", "this is a bug: report model, options, versions")
        return writer.commit(replace(manifest, agreement=agreement)), True


def preprocess_rules(spec: ModelSpec) -> Preprocess:
    """How frames are prepared for a model, as the reference implementation evaluates.

    One difference: for ADE20K the reference lets the graph's size follow the frame (short side 512, long side rounded
    up to a multiple of 32). A graph here has one size, to which every frame is stretched; export with the size that the
    reference would choose for your camera, such as ``--resolution 512x704`` for 4:3, and both do the same.
    """
    classify = spec.task == "cls"
    return Preprocess(
        colour="RGB",
        resize="short-side-crop" if classify else "stretch",
        kernel="pillow-bicubic" if classify else "opencv-cubic",
        crop_ratio=spec.crop_ratio,
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
    )


def _verify_graph(graph: bytes, manifest: Manifest, reference: Reference, advance: Callable[[], None]) -> Agreement:
    """Compare a graph that also gives its logits, run by ONNX Runtime on the CPU, with PyTorch."""
    session = ort.InferenceSession(graph, session_options(available_cores()), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]

    def infer(inputs: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
        return dict(zip(names, session.run(names, dict(inputs)), strict=True))

    return verify(infer, manifest, reference, BUDGETS["fp32"], advance)


def _plan(spec: ModelSpec, options: ExportOptions) -> _Plan:
    check_opset(options.opset)
    resolution = options.resolution or spec.resolution
    _check_resolution(resolution)
    low, high = options.batch
    if not 1 <= low <= high <= MAX_BATCH:
        raise UsageError("the batch is out of range", found=f"{low}..{high}", expected=f"within 1..{MAX_BATCH}")
    output = options.output or ("classes" if spec.task == "seg" else "logits")
    if options.input not in INPUTS or output not in OUTPUTS:
        raise UsageError(
            "unknown input or output", found=f"{options.input}, {output}",
            expected=f"input {' or '.join(INPUTS)}; output {', '.join(OUTPUTS)}",
        )  # fmt: skip
    if spec.task == "cls" and output != "logits":
        raise UsageError(f"{spec.name} classifies whole images: it has no class map", fix="--output logits")
    return _Plan(spec, options.opset, resolution, options.batch, options.input, output)


def _check_resolution(resolution: tuple[int, int]) -> None:
    nearest = tuple(max(MULTIPLE, round(side / MULTIPLE) * MULTIPLE) for side in resolution)
    if resolution != nearest:
        raise UsageError(
            "height and width must be multiples of 32",
            found=f"{resolution[0]}x{resolution[1]}",
            expected=f"such as {nearest[0]}x{nearest[1]}, the nearest",
            fix=f"--resolution {nearest[0]}x{nearest[1]}",
        )
    if resolution[0] * resolution[1] > MAX_PIXELS:
        raise UsageError(
            "the resolution is too large",
            found=f"{resolution[0]}x{resolution[1]}",
            expected=f"at most {MAX_PIXELS / 1e6:.0f} million pixels, such as 4096x8192",
        )


def _key(plan: _Plan, weights: Weights, frames: Sequence[Frame]) -> str:
    choice = {name: value for name, value in asdict(plan).items() if name != "spec"}
    pixels = hashlib.sha256()
    for frame in frames:
        pixels.update(f"{frame.name} {frame.image.shape}".encode())
        pixels.update(frame.image.tobytes())
    return content_key(
        model=plan.spec.name,
        weights=weights.sha256,
        source=weights.source,
        frames=pixels.hexdigest(),
        tool=evit_deploy.__version__,
        form=FORM,
        **choice,
        **_versions(),
    )


def _versions() -> dict[str, str]:
    """Everything whose version can change what is written."""
    modules = (torch, onnx, onnxsim, ort, np)
    return {module.__name__: str(module.__version__) for module in modules}


def _manifest(plan: _Plan, weights: Weights, frames: Sequence[Frame], graph: onnx.ModelProto, key: str) -> Manifest:
    spec = plan.spec
    info = GraphInfo(
        file=GRAPH,
        opset=plan.opset,
        precision="fp32",
        resolution=plan.resolution,
        batch=plan.batch,
        input=plan.input,
        output=plan.output,
        inputs=tuple(_tensor(value) for value in graph.graph.input),
        outputs=tuple(_tensor(value) for value in graph.graph.output),
    )
    return Manifest(
        kind="export",
        key=key,
        created=utc_now(),
        tool=evit_deploy.__version__,
        model=ModelInfo(spec.name, spec.task, spec.dataset, spec.classes),
        weights=WeightsInfo(weights.source, weights.location, weights.sha256),
        graph=info,
        preprocess=preprocess_rules(spec),
        agreement=Agreement(f"PyTorch {torch.__version__}, FP32, CPU", False, BUDGETS["fp32"], ()),
        warnings=tuple(warning for warning in (weights.warning, _no_photo(frames)) if warning),
        environment={"python": platform.python_version(), **_versions()},
    )


def _no_photo(frames: Sequence[Frame]) -> str | None:
    if any(frame.real for frame in frames):
        return None
    return "Agreement was proven on drawn scenes only: no installed package ships a photo; --images DIR takes your own."


def _tensor(value: onnx.ValueInfoProto) -> TensorInfo:
    kind = value.type.tensor_type
    dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)).name
    return TensorInfo(value.name, dtype, tuple(-1 if d.dim_param else d.dim_value for d in kind.shape.dim))
