# SPDX-License-Identifier: Apache-2.0
"""What every export says about itself: hashes, versions, tensors, warnings; and how its graph is run to be checked."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
import onnxsim
import torch

import evit_deploy
from evit_deploy.agreement import BUDGETS
from evit_deploy.data.images import Frame
from evit_deploy.export.options import Plan, preprocess_rules
from evit_deploy.manifest import (
    Agreement,
    GraphInfo,
    Manifest,
    ModelInfo,
    TensorInfo,
    WeightsInfo,
    content_key,
    utc_now,
)
from evit_deploy.models.weights import Weights
from evit_deploy.models.zoo import ModelSpec
from evit_deploy.runtime.backends.onnxruntime import session_options
from evit_deploy.runtime.engine import available_cores
from evit_deploy.runtime.verify import Infer

A_BUG = "this is a bug: report model, options, versions"
"""What to do about an export that disagrees with PyTorch."""


def artifact_key(plan: Plan, weights: Weights, frames: Sequence[Frame], **choice: Any) -> str:
    """Hash of all inputs of an export.

    Args:
        plan: The options.
        weights: Where the weights came from.
        frames: What agreement is proven on.
        **choice: What else was chosen.
    """
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
        opset=plan.opset,
        resolution=plan.resolution,
        batch=plan.batch,
        input=plan.input,
        output=plan.output,
        **choice,
        **versions(),
    )


def versions() -> dict[str, str]:
    """Everything whose version can change what is written."""
    modules = (torch, onnx, onnxsim, ort, np)
    return {module.__name__: str(module.__version__) for module in modules}


def describe(
    key: str, spec: ModelSpec, weights: Weights, frames: Sequence[Frame], graph: GraphInfo, precision: str = "fp32"
) -> Manifest:
    """The manifest of an export, but for its agreement and its files.

    Args:
        key: Hash of all inputs.
        spec: The model.
        weights: Where the weights came from.
        frames: What agreement is proven on.
        graph: The graph.
        precision: Whose budget it is held against.
    """
    return Manifest(
        kind="export",
        key=key,
        created=utc_now(),
        tool=evit_deploy.__version__,
        model=model_info(spec),
        weights=WeightsInfo(weights.source, weights.location, weights.sha256),
        graph=graph,
        preprocess=preprocess_rules(spec),
        agreement=Agreement(f"PyTorch {torch.__version__}, FP32, CPU", False, BUDGETS[precision], ()),
        warnings=warnings_of(weights, frames),
        environment={"python": platform.python_version(), **versions()},
    )


def model_info(spec: ModelSpec) -> ModelInfo:
    """What a manifest says about the model."""
    return ModelInfo(spec.name, spec.task, spec.dataset, spec.classes)


def warnings_of(weights: Weights, frames: Sequence[Frame]) -> tuple[str, ...]:
    """What users must know about the weights and about the frames that agreement was proven on."""
    return tuple(warning for warning in (weights.warning, _no_photo(frames)) if warning)


def _no_photo(frames: Sequence[Frame]) -> str | None:
    if any(frame.real for frame in frames):
        return None
    return "Agreement was proven on drawn scenes only: no installed package ships a photo; --images DIR takes your own."


def graph_info(file: str, plan: Plan, graph: onnx.ModelProto) -> GraphInfo:
    """What a manifest says about an exported graph."""
    return GraphInfo(
        file=file,
        opset=plan.opset,
        precision="fp32",
        resolution=plan.resolution,
        batch=plan.batch,
        input=plan.input,
        output=plan.output,
        inputs=tensors(graph.graph.input),
        outputs=tensors(graph.graph.output),
    )


def tensors(values: Sequence[onnx.ValueInfoProto]) -> tuple[TensorInfo, ...]:
    """Inputs or outputs of a graph; open dimensions are -1."""
    return tuple(_tensor(value) for value in values)


def _tensor(value: onnx.ValueInfoProto) -> TensorInfo:
    kind = value.type.tensor_type
    dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)).name
    return TensorInfo(value.name, dtype, tuple(-1 if d.dim_param else d.dim_value for d in kind.shape.dim))


def runner(graph: bytes) -> Infer:
    """Run a graph by ONNX Runtime on the CPU."""
    session = ort.InferenceSession(graph, session_options(available_cores()), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]

    def infer(inputs: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
        return dict(zip(names, session.run(names, dict(inputs)), strict=True))

    return infer
