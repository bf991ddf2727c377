# SPDX-License-Identifier: Apache-2.0
"""FP32 graph → strongly typed FP16 graph.

TensorRT 11 has no precision flags left and earlier ones obey a strongly typed network exactly, so the types are decided
here: every float tensor is FP16, inputs and outputs included (half the transfer, the same numbers). Nothing has to stay
FP32: the exported graph keeps every value in range by its algebra (docs/numerics.md). Casts stand only where a graph
input or output is not FP16, and around nodes that the caller wants in FP32.

Weights are converted with a check. Where a weight would overflow, or where so many are subnormal that precision is
lost, its channels are scaled by powers of two and the result scaled back, which the compiler does in the same kernel.
docs/precision.md compares this with the libraries that convert graphs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from evit_deploy.errors import CheckFailedError, UsageError
from evit_deploy.precision.graph import Array, drop_unused
from evit_deploy.precision.island import cut_out

LARGEST = 65504.0
"""Largest finite FP16 number."""

SMALLEST_NORMAL = 2.0**-14
"""Smallest FP16 number of full precision."""

SMALLEST = 2.0**-24
"""Smallest positive FP16 number."""

_LOSS = 2.0**-10
"""Relative L2 error of a converted tensor beyond which it is scaled; rounding to nearest alone costs about 2^-12."""

_FARTHEST = 2.0**14
"""Largest factor a tensor is scaled by: the factor and its inverse are FP16 numbers of full precision."""

_KEPT_FP32 = {"Resize": (1, 2)}  # ONNX wants the roi and the scales of a Resize in FP32
_WEIGHTED = {"Conv", "Gemm", "MatMul"}
_DOMAINS = {"", "ai.onnx"}


@dataclass(frozen=True)
class WeightNote:
    """A weight tensor that does not fit FP16 as it is.

    Attributes:
        name: The tensor.
        largest: Largest magnitude.
        loss: Relative L2 error that a plain conversion would make; infinity if it overflows.
        channels: How many output channels were scaled; 0 where nothing could be done.
    """

    name: str
    largest: float
    loss: float
    channels: int

    def __str__(self) -> str:
        reason = "overflows FP16" if self.loss == float("inf") else f"loses {self.loss:.1e} of itself in FP16"
        count = f"{self.channels} channel{'s' if self.channels > 1 else ''}"
        done = f"{count} scaled, and back behind its node" if self.channels else "kept as it is"
        return f"{self.name} (largest {self.largest:.1e}) {reason}: {done}"


def lower_fp16(
    model: onnx.ModelProto, io: str = "fp16", fp32: frozenset[str] = frozenset()
) -> tuple[onnx.ModelProto, tuple[WeightNote, ...]]:
    """Type a graph in FP16.

    Args:
        model: FP32 graph, best after `evit_deploy.precision.arrange.arrange`.
        io: Type of float inputs and outputs: "fp16", or "fp32" with a Cast behind or before each.
        fp32: Names of nodes that compute in FP32; so do inputs and constants that only they read.

    Returns:
        The typed graph, and notes on weights that had to be scaled.

    Raises:
        UsageError: A graph of operators or types this cannot type.
        CheckFailedError: Weights that are not finite, or a constant beyond FP16's range.
    """
    _check_readable(model)
    result = onnx.ModelProto()
    result.CopyFrom(model)
    graph = result.graph
    del graph.value_info[:]
    notes = _scale_weights(graph, fp32)
    drop_unused(result)
    apart = cut_out(result, fp32)
    kept = _kept_fp32(graph) | apart
    notes += _lost(graph, kept)
    for tensor in graph.initializer:
        if tensor.data_type == TensorProto.FLOAT and tensor.name not in kept:
            tensor.CopyFrom(numpy_helper.from_array(_half(tensor), tensor.name))
    for node in [node for node in graph.node if node.output[0] not in apart]:
        for attribute in node.attribute:
            if node.op_type == "Cast" and attribute.name == "to" and attribute.i == TensorProto.FLOAT:
                attribute.i = TensorProto.FLOAT16
    for value in (*graph.input, *graph.output):
        if value.type.tensor_type.elem_type == TensorProto.FLOAT and value.name not in apart:
            _type_end(graph, value, io)
    onnx.checker.check_model(result, full_check=True)
    return result, notes


def _check_readable(model: onnx.ModelProto) -> None:
    foreign = sorted({node.domain for node in model.graph.node} - _DOMAINS)
    typed = [t.name for t in model.graph.initializer if t.data_type in (TensorProto.FLOAT16, TensorProto.BFLOAT16)]
    nested = [node.name for node in model.graph.node if any(a.HasField("g") for a in node.attribute)]
    constants = [node.name for node in model.graph.node if node.op_type in ("Constant", "ConstantOfShape")]
    for found, what in (
        (foreign, "operators of other domains"),
        (typed, "tensors that are typed already"),
        (nested, "subgraphs"),
        (constants, "Constant nodes (make them initializers)"),
    ):
        if found:
            raise UsageError(
                "this graph cannot be typed in FP16",
                found=f"{what}: {', '.join(found[:3])}",
                expected="an FP32 graph written by evit-deploy export",
            )


def _half(tensor: onnx.TensorProto) -> Array:
    """A tensor in FP16.

    Raises:
        CheckFailedError: Not finite, or out of range.
    """
    values = numpy_helper.to_array(tensor)
    if not np.isfinite(values).all():
        raise CheckFailedError(
            f"{tensor.name} is not finite", found="NaN or infinity", fix="the checkpoint is broken: try other weights"
        )
    if np.abs(values).max(initial=0.0) > LARGEST:
        raise CheckFailedError(
            f"{tensor.name} does not fit FP16",
            found=f"{np.abs(values).max():.3g}",
            expected=f"at most {LARGEST:.0f}",
            fix="build with --fp32",
        )
    return values.astype(np.float16)


def _kept_fp32(graph: onnx.GraphProto) -> set[str]:
    kept = set()
    for node in graph.node:
        for index in _KEPT_FP32.get(node.op_type, ()):
            kept.update(node.input[index : index + 1])
    return kept - {""}


def _scale_weights(graph: onnx.GraphProto, fp32: frozenset[str]) -> tuple[WeightNote, ...]:
    """Scale channels of weights that FP16 would hurt, and scale their nodes' results back."""
    tensors = {tensor.name: tensor for tensor in graph.initializer if tensor.data_type == TensorProto.FLOAT}
    notes, nodes = [], []
    for node in graph.node:
        nodes.append(node)
        place = None if node.name in fp32 else _weight(node, tensors)
        if place is None:
            continue
        index, axis = place
        name = node.input[index]
        rows = np.moveaxis(numpy_helper.to_array(tensors[name]), axis, 0)
        scales, loss = _channel_scales(rows.reshape(len(rows), -1))
        if loss <= _LOSS:
            continue
        notes.append(WeightNote(name, float(np.abs(rows).max()), loss, int((scales != 1).sum())))
        weights = np.moveaxis((rows.T * scales.astype(np.float32)).T, 0, axis)
        nodes += _scaled(graph, node, tensors, index, np.ascontiguousarray(weights), 1 / scales)
    del graph.node[:]
    graph.node.extend(nodes)
    return tuple(notes)


def _weight(node: onnx.NodeProto, tensors: dict[str, onnx.TensorProto]) -> tuple[int, int] | None:
    """Input that holds a node's constant weights, and their axis of output channels; None to leave them alone."""
    if node.op_type not in _WEIGHTED or any(name not in tensors for name in node.input[2:]):
        return None  # a computed bias cannot be moved behind the scaling
    if any(attribute.name in ("alpha", "beta") and attribute.f != 1 for attribute in node.attribute):
        return None
    if node.input[1] in tensors:
        dims = len(tensors[node.input[1]].dims)
        return 1, 0 if node.op_type == "Conv" or _transposed(node) else dims - 1
    if node.op_type == "MatMul" and node.input[0] in tensors and len(tensors[node.input[0]].dims) > 1:
        return 0, len(tensors[node.input[0]].dims) - 2
    return None


def _channel_scales(values: Array) -> tuple[Array, float]:
    """A power of two for each row of [channels, n] that FP16 does not hold, 1 elsewhere; and the worst row's loss.

    Small rows are moved up no further than needed: the node's result grows with them before it is scaled back.
    """
    scales, worst = np.ones(len(values)), 0.0
    for index, row in enumerate(values.astype(np.float64)):
        largest = np.abs(row).max(initial=0.0)
        if not np.isfinite(largest) or largest * _FARTHEST < SMALLEST:
            continue  # refused later, or zero in every respect
        loss = float("inf") if largest > LARGEST else _loss(row)
        worst = max(worst, loss)
        if largest > LARGEST:
            scales[index] = max(2.0 ** -np.round(np.log2(largest)), 1 / _FARTHEST)
        while loss > _LOSS and scales[index] >= 1 and scales[index] < _FARTHEST and _loss(row * scales[index]) > _LOSS:
            scales[index] *= 2
    return scales, worst


def _loss(values: Array) -> float:
    """Relative L2 error of converting values to FP16; 0 for zeros."""
    if not values.any():
        return 0.0
    error = np.linalg.norm(values - values.astype(np.float16).astype(np.float64))
    return float(error / np.linalg.norm(values))


def _lost(graph: onnx.GraphProto, kept: set[str]) -> tuple[WeightNote, ...]:
    """Notes on tensors that become zero altogether, such as an epsilon of 1e-15."""
    notes = []
    for tensor in graph.initializer:
        if tensor.data_type != TensorProto.FLOAT or tensor.name in kept:
            continue
        values = numpy_helper.to_array(tensor)
        if values.any() and 0 < np.abs(values).max() < SMALLEST / 2:
            notes.append(WeightNote(tensor.name, float(np.abs(values).max()), 1.0, 0))
    return tuple(notes)


def _transposed(node: onnx.NodeProto) -> bool:
    """Whether a Gemm's weights are [outputs, inputs]."""
    return any(attribute.name == "transB" and attribute.i for attribute in node.attribute)


def _scaled(
    graph: onnx.GraphProto,
    node: onnx.NodeProto,
    tensors: dict[str, onnx.TensorProto],
    index: int,
    weights: Array,
    undo: Array,
) -> list[onnx.NodeProto]:
    """Give a node scaled weights of its own; return the nodes that undo it per channel, and add the bias after that."""
    shape = (1, -1, 1, 1) if node.op_type == "Conv" else (-1, 1) if index == 0 else (-1,)
    name = node.name

    def constant(suffix: str, values: Array) -> str:
        graph.initializer.append(numpy_helper.from_array(values.astype(np.float32), f"{name}.{suffix}"))
        return f"{name}.{suffix}"

    node.input[index] = constant("weight.scaled", weights)
    factors = constant("weight.undo", undo.reshape(shape))
    result, node.output[0] = node.output[0], f"{name}.scaled"
    if len(node.input) < 3:
        return [helper.make_node("Mul", [node.output[0], factors], [result], name=f"{name}.undo")]
    bias = constant("bias.late", numpy_helper.to_array(tensors[node.input[2]]).reshape(shape))
    del node.input[2]
    unscaled = f"{name}.unscaled"
    return [
        helper.make_node("Mul", [node.output[0], factors], [unscaled], name=f"{name}.undo"),
        helper.make_node("Add", [unscaled, bias], [result], name=f"{name}.late"),
    ]


def _type_end(graph: onnx.GraphProto, value: onnx.ValueInfoProto, io: str) -> None:
    """Type a float input or output."""
    if io == "fp16":
        value.type.tensor_type.elem_type = TensorProto.FLOAT16
        return
    inner = f"{value.name}.fp16"
    for node in graph.node:
        node.input[:] = [inner if name == value.name else name for name in node.input]
        node.output[:] = [inner if name == value.name else name for name in node.output]
    if any(value.name == given.name for given in graph.input):
        cast = helper.make_node("Cast", [value.name], [inner], name=f"{value.name}.cast", to=TensorProto.FLOAT16)
        graph.node.insert(0, cast)
    else:
        cast = helper.make_node("Cast", [inner], [value.name], name=f"{value.name}.cast", to=TensorProto.FLOAT)
        graph.node.append(cast)
