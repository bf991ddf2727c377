# SPDX-License-Identifier: Apache-2.0
"""A mask decoder for a GPU: a fixed number of prompts and of slots for points, so that shapes are constants.

The export leaves both open, which a CPU takes in its stride. A GPU's compiler chooses kernels for one size, and a CUDA
graph has one. Prompts of fewer points fill their slots with label -2, which the graph ignores exactly.
"""

from __future__ import annotations

import onnx
import onnxsim
from onnx import TensorProto

from evit_deploy.errors import ArtifactError
from evit_deploy.export.trace import lift_constants

COORDS, LABELS, MASK, HAS_MASK = "coords", "labels", "mask", "has_mask"
BOX_SLOTS = 2
"""Slots behind the points: the two corners of a box."""

_ENCODED_BY = ("Sin", "Cos")


def fix_prompts(model: onnx.ModelProto, prompts: int, slots: int) -> onnx.ModelProto:
    """A copy of an exported mask decoder with fixed sizes, and without the arithmetic that open ones need.

    Args:
        model: Graph with the inputs coords [P, N, 2], labels [P, N], mask [M, 1, …] and has_mask [M].
        prompts: P, prompts per run.
        slots: N, slots for points and corners of a box.

    Returns:
        The graph for P prompts of N slots, and one mask (M = 1) for all of them.

    Raises:
        ArtifactError: Not a mask decoder as ``evit-deploy export`` writes it.
    """
    result = onnx.ModelProto()
    result.CopyFrom(model)
    graph = result.graph
    sizes = {COORDS: (prompts, slots), LABELS: (prompts, slots), MASK: (1,), HAS_MASK: (1,)}
    for value in graph.input:
        _fix(value, sizes.pop(value.name, ()))
    if sizes:
        raise ArtifactError(
            "the graph is no mask decoder", found=f"no input {' or '.join(sizes)}", fix="export the model again"
        )
    for value in graph.output:
        _fix(value, (prompts,))
    del graph.value_info[:]
    simplified, _ = onnxsim.simplify(result, check_n=0)
    lift_constants(simplified)
    return simplified  # type: ignore[no-any-return]


def _fix(value: onnx.ValueInfoProto, sizes: tuple[int, ...]) -> None:
    """Give the first axes of a tensor fixed sizes."""
    for dim, size in zip(value.type.tensor_type.shape.dim, sizes, strict=False):
        dim.dim_value = size


def encoding_nodes(model: onnx.ModelProto) -> frozenset[str]:
    """Names of the nodes that turn coordinates into sines and cosines; they are kept in FP32.

    FP16 has steps of half a pixel at 1024, and the sine of a position turns many times over the frame: what is lost
    here is lost for good. It is a few thousand numbers.
    """
    graph = model.graph
    behind = {COORDS} & {value.name for value in graph.input if value.type.tensor_type.elem_type == TensorProto.FLOAT}
    for node in graph.node:
        if behind & set(node.input):
            behind |= set(node.output)
    ahead: set[str] = set()
    names = set()
    for node in reversed(graph.node):
        encodes = node.op_type in _ENCODED_BY or bool(ahead & set(node.output))
        if encodes and behind & set(node.input):
            ahead |= set(node.input)
            names.add(node.name)
    return frozenset(names)
