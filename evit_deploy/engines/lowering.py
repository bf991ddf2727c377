# SPDX-License-Identifier: Apache-2.0
"""The half of a build that needs no device: the typed graph, and its proof by emulation."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from evit_deploy.errors import ArtifactError, EvitError, UsageError, extra, first_line
from evit_deploy.manifest import GraphInfo, Manifest, TensorInfo
from evit_deploy.precision.merging import write_factors
from evit_deploy.runtime.verify import Infer
from evit_deploy.targets import TargetSpec
from evit_deploy.targets.jetpack import OPSETS

if TYPE_CHECKING:
    import onnx

LOWERING = 2
"""Raised whenever a lowered graph changes, so that engines of an earlier lowering are built again."""


def lowering_key() -> list[object]:
    """What the typed graph depends on beside the export: this code, and the libraries that write and emulate it.

    Raises:
        MissingExtraError: One of them is not installed.
    """
    with extra("export", "Lowering a graph"):
        import onnx
        import onnxruntime
    return [LOWERING, onnx.__version__, onnxruntime.__version__]


def check_opset(opset: int, spec: TargetSpec) -> None:
    """Refuse a graph of an opset that a target's TensorRT may not read.

    Raises:
        UsageError: It is newer than every TensorRT that the target runs can read; the message says which can.
    """
    if spec.opset is None or opset <= spec.opset:
        return
    able = [name for name, largest in OPSETS.items() if opset <= largest]
    raise UsageError(
        f"opset {opset} cannot be read by every TensorRT of {spec.title}",
        found=f"opset {opset}" + (f", which {' and '.join(able)} can read" if able else ""),
        expected=f"at most {spec.opset}",
        fix="export with --opset 17",
    )


@dataclass(frozen=True)
class Fixed:
    """Sizes of a mask decoder for a GPU.

    Attributes:
        prompts: Prompts per run.
        points: Points that every prompt has room for, beside a box.
    """

    prompts: int
    points: int

    @property
    def slots(self) -> int:
        """Slots for points and for the two corners of a box."""
        return self.points + 2


def lower_graph(
    source: Path, result: Path, info: GraphInfo, precision: str, attention: str, fixed: Fixed | None = None
) -> tuple[GraphInfo, tuple[str, ...]]:
    """Write the typed graph of an export, and the factors of the weights that it merges.

    Args:
        source: The exported ONNX file.
        result: Where the typed graph goes.
        info: What the export's manifest says about its graph.
        precision: "fp32" or "fp16".
        attention: Arrangement of the attention.
        fixed: Sizes of a mask decoder, which has no such attention; None for another graph.

    Returns:
        What the manifest says about the typed graph, and notes of the lowering.

    Raises:
        UsageError: No such arrangement.
        ArtifactError: The graph is not as ``evit-deploy export`` writes it.
        CheckFailedError: Weights that FP16 cannot hold.
    """
    with extra("export", "Lowering a graph"):
        import onnx

        from evit_deploy.precision.attention import find_form, merged_factors
        from evit_deploy.precision.graph import load_graph
        from evit_deploy.precision.lower import lower, lower_decoder

    model = load_graph(source)
    _require_ours(source, model, info)
    try:
        factors = merged_factors(model) if find_form(attention) and fixed is None else {}
        if fixed is None:
            lowered = lower(model, precision, attention)
        else:
            lowered = lower_decoder(model, precision, fixed.prompts, fixed.slots)
    except EvitError:
        raise
    except Exception as error:  # the passes rely on what an export looks like, and onnx has many kinds
        raise _foreign(source, first_line(error)) from error
    onnx.save(lowered.model, result)
    if factors:
        write_factors(result.parent, factors)
    graph = lowered.model.graph
    typed = replace(
        info,
        file=result.name,
        precision=precision,
        batch=info.batch if fixed is None else (fixed.prompts, fixed.prompts),
        inputs=_retyped(info.inputs, graph.input),
        outputs=_retyped(info.outputs, graph.output),
    )
    return typed, lowered.notes


def emulated(folder: Path, manifest: Manifest) -> tuple[Infer, str]:
    """The typed graph of an engine, run faithfully on the CPU.

    Returns:
        What `evit_deploy.runtime.verify.verify` calls, and how outputs come about, in words.

    Raises:
        MissingExtraError: Without onnx and ONNX Runtime.
        ArtifactError: The graph cannot be read.
    """
    with extra("export", "Emulating a typed graph"):
        from evit_deploy.precision.faithful import METHOD, FaithfulGraph
        from evit_deploy.precision.graph import load_graph

    return FaithfulGraph(load_graph(folder / manifest.graph.file)).infer, METHOD


def _require_ours(path: Path, model: onnx.ModelProto, info: GraphInfo) -> None:
    """Refuse what is not an export: the attention is found by its name, and would be left as it is without a word."""
    from evit_deploy.precision.attention import SCOPE

    for tensors, values in ((info.inputs, model.graph.input), (info.outputs, model.graph.output)):
        found, expected = [value.name for value in values], [tensor.name for tensor in tensors]
        if found != expected:
            words = f"{', '.join(found) or 'nothing'} where the manifest says {', '.join(expected)}"
            raise _foreign(path, f"inputs or outputs {words}")
    if info.input != "prompts" and not any(SCOPE in node.name for node in model.graph.node):
        raise _foreign(path, "no attention under the names that an export gives it")


def _foreign(path: Path, found: str) -> ArtifactError:
    return ArtifactError(
        f"{path} is not a graph as evit-deploy export writes it",
        found=found,
        fix="export the model again with this version",
    )


def _retyped(tensors: tuple[TensorInfo, ...], values: list[onnx.ValueInfoProto]) -> tuple[TensorInfo, ...]:
    """What a manifest says of inputs or outputs that may have other types and sizes now."""
    from onnx.helper import tensor_dtype_to_np_dtype

    found = {value.name: value.type.tensor_type for value in values}
    types = {name: np.dtype(tensor_dtype_to_np_dtype(kind.elem_type)).name for name, kind in found.items()}
    shapes = {
        name: tuple(dim.dim_value if dim.HasField("dim_value") else -1 for dim in kind.shape.dim)
        for name, kind in found.items()
    }
    return tuple(replace(tensor, dtype=types[tensor.name], shape=shapes[tensor.name]) for tensor in tensors)
