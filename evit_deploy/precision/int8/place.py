# SPDX-License-Identifier: Apache-2.0
"""Q/DQ where TensorRT fuses them: before convolutions, and nowhere else.

A convolution between DQ and, further on, Q is one INT8 kernel (NVIDIA TensorRT developer guide, "Working with
quantized types"). So a tensor that INT8 convolutions read has one Q/DQ pair, which they share: the pair is pulled into
the kernel that makes it and into those that read it. Whatever else reads the tensor gets it as it was: residual sums
stay FP16, and nothing is rounded twice. A concat is quantised once, behind it; INT8 convolutions that read one of its
parts use the same scale, so that one INT8 copy serves them all. Weights are stored as INT8 and dequantised per output
channel.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from evit_deploy.errors import UsageError
from evit_deploy.precision.graph import drop_unused
from evit_deploy.precision.int8.layers import Layer, find_layers
from evit_deploy.precision.int8.opset import raise_opset
from evit_deploy.precision.int8.weights import quantise_weights, round_up

ZERO = "int8.zero"


def place(
    model: onnx.ModelProto, layers: Collection[str], scales: Mapping[str, float], *, check: bool = True
) -> onnx.ModelProto:
    """Let convolutions of a graph compute in INT8.

    Args:
        model: Arranged graph, FP32 or typed FP16; it is left as it is.
        layers: Names of the convolutions, of those that `find_layers` finds.
        scales: Step of each tensor that they read: the magnitude that becomes ±127, divided by 127.
        check: Whether to check the result; a search that tries hundreds of assignments need not.

    Returns:
        A copy with Q/DQ, whose scales have the type of the graph. An FP16 one is of opset 19 or later.

    Raises:
        UsageError: A layer that is not there or may not be INT8, or a scale that is missing or no positive number.
    """
    chosen = _chosen(model, layers)
    steps = tied(model, {layer.source for layer in chosen}, scales)
    result = onnx.ModelProto()
    result.CopyFrom(model)
    graph = result.graph
    types = {tensor.name: tensor.data_type for tensor in graph.initializer}
    pairs: dict[str, _Pair] = {}
    for layer in chosen:
        dtype = np.dtype(np.float16 if types[layer.weight] == TensorProto.FLOAT16 else np.float32)
        pairs.setdefault(layer.source, _Pair(layer.source, steps[layer.source], dtype))
    if any(pair.dtype == np.float16 for pair in pairs.values()):
        raise_opset(result)
    weights = {layer.weight for layer in chosen}
    _add_constants(graph, pairs.values(), weights)
    _rewire(graph, {layer.name for layer in chosen})
    nodes = list(_with_pairs(graph, pairs, weights))
    del graph.node[:]
    graph.node.extend(nodes)
    del graph.value_info[:]
    drop_unused(result)
    if check:
        onnx.checker.check_model(result, full_check=True)
    return result


def tied(model: onnx.ModelProto, sources: Collection[str], scales: Mapping[str, float]) -> dict[str, float]:
    """Steps of tensors, the largest of all that share an INT8 copy: those of a concat and of its parts.

    Args:
        model: The graph.
        sources: The tensors that are quantised.
        scales: Their steps.

    Raises:
        UsageError: A step is missing, or no positive number.
    """
    steps = {name: _checked(name, scales) for name in sources}
    concats = [node for node in model.graph.node if node.op_type == "Concat" and node.output[0] in steps]
    before: dict[str, float] = {}
    while steps != before:  # two concats may have a part in common
        before = dict(steps)
        for node in concats:
            shared = [name for name in (node.output[0], *node.input) if name in steps]
            steps |= dict.fromkeys(shared, max(steps[name] for name in shared))
    return steps


def _chosen(model: onnx.ModelProto, names: Collection[str]) -> list[Layer]:
    found = {layer.name: layer for layer in find_layers(model)}
    if strange := sorted(set(names) - set(found)):
        raise UsageError(
            "a layer cannot be INT8", found=strange[0],
            expected="a convolution outside the attention, neither the first nor the last",
        )  # fmt: skip
    return [layer for name, layer in found.items() if name in set(names)]


def _checked(name: str, scales: Mapping[str, float]) -> float:
    step = scales.get(name)
    if step is None or not np.isfinite(step) or step <= 0:
        raise _no_scale(name, "none" if step is None else f"{step}")
    return step


def _no_scale(name: str, found: str) -> UsageError:
    return UsageError(
        f"the tensor '{name}' has no scale to quantise it with", found=found, expected="a positive number",
        fix="calibrate this graph again",
    )  # fmt: skip


@dataclass(frozen=True)
class _Pair:
    """Q and DQ of one tensor."""

    tensor: str
    step: float
    dtype: np.dtype[Any]

    @property
    def result(self) -> str:
        return f"{self.tensor}.dequantised"

    def nodes(self) -> list[onnx.NodeProto]:
        scale, int8 = f"{self.tensor}.step", f"{self.tensor}.int8"
        return [
            helper.make_node("QuantizeLinear", [self.tensor, scale, ZERO], [int8], name=f"{self.tensor}.quantise"),
            helper.make_node("DequantizeLinear", [int8, scale, ZERO], [self.result], name=f"{self.tensor}.dequantise"),
        ]

    def constant(self) -> onnx.TensorProto:
        step: npt.NDArray[Any] = round_up(np.array(self.step, np.float64), self.dtype)
        if not np.isfinite(step):
            raise _no_scale(self.tensor, f"{self.step}, beyond {self.dtype}")
        return numpy_helper.from_array(step, f"{self.tensor}.step")


def _add_constants(graph: onnx.GraphProto, pairs: Collection[_Pair], weights: Collection[str]) -> None:
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer if tensor.name in weights}
    graph.initializer.append(numpy_helper.from_array(np.array(0, np.int8), ZERO))
    graph.initializer.extend(pair.constant() for pair in pairs)
    for name, array in arrays.items():
        int8, scale = quantise_weights(array, array.dtype)
        graph.initializer.append(numpy_helper.from_array(int8, f"{name}.int8"))
        graph.initializer.append(numpy_helper.from_array(scale, f"{name}.scale"))


def _rewire(graph: onnx.GraphProto, layers: Collection[str]) -> None:
    """Let INT8 convolutions read what was dequantised."""
    for node in graph.node:
        if node.name in layers:
            node.input[0] = f"{node.input[0]}.dequantised"
            node.input[1] = f"{node.input[1]}.dequantised"


def _with_pairs(
    graph: onnx.GraphProto, pairs: Mapping[str, _Pair], weights: Collection[str]
) -> Iterator[onnx.NodeProto]:
    """All nodes; Q/DQ of a tensor stand right behind what makes it, those of weights in front."""
    for name in sorted(weights):
        yield helper.make_node(
            "DequantizeLinear", [f"{name}.int8", f"{name}.scale"], [f"{name}.dequantised"], name=f"{name}.dequantise",
            axis=0,
        )  # fmt: skip
    made = {name for node in graph.node for name in node.output}
    for name in sorted(pairs.keys() - made):
        yield from pairs[name].nodes()
    for node in graph.node:
        yield node
        for name in node.output:
            if name in pairs:
                yield from pairs[name].nodes()
