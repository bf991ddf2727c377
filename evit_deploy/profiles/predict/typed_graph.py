# SPDX-License-Identifier: Apache-2.0
"""A typed graph as a planner sees it: what every tensor takes in memory, who reads it, and what is constant."""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import cached_property

import numpy as np
import onnx
from onnx import numpy_helper

from evit_deploy.engines.plan import PlanTensor, byte_size
from evit_deploy.errors import UsageError

_TYPES = {
    "FLOAT": "Float", "FLOAT16": "Half", "UINT8": "UInt8", "INT8": "Int8", "BOOL": "Bool", "INT32": "Int32",
    "INT64": "Int32", "BFLOAT16": "BFloat16", "FLOAT8E4M3FN": "FP8", "DOUBLE": "Float",
}  # fmt: skip
"""ONNX element types in a plan's words; TensorRT computes indices in 32 bits, and doubles as floats."""

_PICTURE, _PADDED = 3, 4


class TypedGraph:
    """A graph of fixed sizes.

    Args:
        model: The graph; sizes and types of its inner tensors are inferred.

    Attributes:
        graph: The graph with what was inferred.
        constants: Bytes of every constant; shapes and indices, which kernels hold in their code, take none.
        outputs: Names of the graph's outputs.
        nodes: The nodes that read something which is not constant, in order; results of the others are constants.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        self.graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
        values = (*self.graph.input, *self.graph.value_info, *self.graph.output)
        self._values = {value.name: value.type.tensor_type for value in values}
        self._initializers = {tensor.name: tensor for tensor in self.graph.initializer}
        self.outputs = {value.name for value in self.graph.output}
        self.constants = {name: _constant_bytes(tensor) for name, tensor in self._initializers.items()}
        self.nodes: list[onnx.NodeProto] = []
        for node in self.graph.node:
            if node.op_type == "Constant":
                self._hold(node)
            elif self.activations(node):
                self.nodes.append(node)
            else:
                self.constants.update(dict.fromkeys(node.output, 0))

    def _hold(self, node: onnx.NodeProto) -> None:
        """A constant that a node gives is as good as an initializer; one that is no tensor takes nothing."""
        for item in node.attribute:
            self.constants[node.output[0]] = _constant_bytes(item.t) if item.name == "value" else 0
            if item.name == "value":
                self._initializers[node.output[0]] = item.t

    @cached_property
    def readers(self) -> dict[str, list[onnx.NodeProto]]:
        """The nodes that read each tensor."""
        found: dict[str, list[onnx.NodeProto]] = {}
        for node in self.nodes:
            for name in set(self.activations(node)):
                found.setdefault(name, []).append(node)
        return found

    def activations(self, node: onnx.NodeProto) -> list[str]:
        """What a node reads that is not constant."""
        return [name for name in node.input if name and name not in self.constants]

    def shape(self, name: str) -> tuple[int, ...]:
        """Size of a tensor by axis.

        Raises:
            UsageError: It is not fixed.
        """
        value = self._values.get(name)
        if value is None or not all(side.HasField("dim_value") for side in value.shape.dim):
            raise UsageError(
                f"the size of the tensor '{name}' is not fixed",
                expected="a graph of fixed sizes",
                fix="evit-deploy export MODEL --batch 1",
            )
        return tuple(side.dim_value for side in value.shape.dim)

    def elements(self, names: Iterable[str]) -> int:
        """Elements of the largest of some tensors; a name left empty is a tensor that a node does not have."""
        return max(math.prod(self.shape(name)) for name in names if name)

    def stored(self, name: str) -> PlanTensor:
        """A tensor as it stands in memory: pictures of three channels are filled up to four before a convolution.

        Raises:
            UsageError: Its size is not fixed.
            ValueError: Its type is not known.
        """
        shape, number = self.shape(name), self._values[name].elem_type
        word = onnx.TensorProto.DataType.Name(number)
        dtype = _TYPES.get(word, word)
        convolved = any(node.op_type == "Conv" and node.input[0] == name for node in self.readers.get(name, ()))
        if convolved and shape[1] == _PICTURE:
            shape = (shape[0], _PADDED, *shape[2:])
        return PlanTensor(name, shape, dtype, byte_size(shape, dtype))

    def reduced(self, node: onnx.NodeProto) -> tuple[int, ...]:
        """The axes that a reduction is over, counted from the last, -1; all of them where it names none."""
        rank = len(self.shape(node.input[0]))
        given = {item.name: onnx.helper.get_attribute_value(item) for item in node.attribute}
        default = range(rank) if node.op_type.startswith("Reduce") else (-1,)
        axes = given.get("axes", given.get("axis", default))
        if node.op_type.startswith("Reduce") and node.input[-1] in self._initializers:
            axes = numpy_helper.to_array(self._initializers[node.input[-1]])
        return tuple(sorted((int(axis) % rank) - rank for axis in np.atleast_1d(axes))) if rank else ()


def _constant_bytes(tensor: onnx.TensorProto) -> int:
    """Bytes of a constant; integers are shapes, axes and the like."""
    if tensor.data_type in (onnx.TensorProto.INT64, onnx.TensorProto.INT32):
        return 0
    return int(math.prod(tensor.dims) * onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize)
