# SPDX-License-Identifier: Apache-2.0
"""Small typed graphs, made and run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

HALF, FLOAT = TensorProto.FLOAT16, TensorProto.FLOAT
OPTIMISATIONS = ("ORT_DISABLE_ALL", "ORT_ENABLE_BASIC", "ORT_ENABLE_EXTENDED", "ORT_ENABLE_ALL")
Values = Mapping[str, tuple[int, Sequence[int | str] | None]]


def make_typed(
    nodes: Sequence[onnx.NodeProto], inputs: Values, outputs: Values, opset: int = 17, **weights: np.ndarray
) -> onnx.ModelProto:
    """A model of nodes; inputs and outputs as (element type, shape) by name, weights as arrays by name."""
    values = [
        [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in side.items()]
        for side in (inputs, outputs)
    ]
    graph = helper.make_graph(
        nodes, "typed", *values, [numpy_helper.from_array(array, name) for name, array in weights.items()]
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)


def open_session(model: onnx.ModelProto, optimisation: str = "ORT_ENABLE_ALL") -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    options.graph_optimization_level = getattr(ort.GraphOptimizationLevel, optimisation)
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def run(model: onnx.ModelProto, optimisation: str = "ORT_ENABLE_ALL", **feed: np.ndarray) -> list[np.ndarray]:
    """All outputs of a model, in order."""
    return open_session(model, optimisation).run(None, feed)


def half_graph(model: onnx.ModelProto) -> onnx.ModelProto:
    """An exported FP32 graph with every float tensor declared half, as it is: no care is taken of ranges."""
    typed = onnx.ModelProto()
    typed.CopyFrom(model)
    graph = typed.graph
    del graph.value_info[:]
    for tensor in graph.initializer:
        if tensor.data_type == FLOAT:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), tensor.name))
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.name == "to" and attribute.i == FLOAT:
                attribute.i = HALF
    for value in (*graph.input, *graph.output):
        if value.type.tensor_type.elem_type == FLOAT:
            value.type.tensor_type.elem_type = HALF
    return typed


def insert_behind(model: onnx.ModelProto, tensor: str, nodes: Sequence[onnx.NodeProto]) -> None:
    """Put nodes behind a tensor: they read it, the last one's output takes its place for all who read it before."""
    graph = model.graph
    place = 1 + next(index for index, node in enumerate(graph.node) if tensor in node.output)
    for node in graph.node[place:]:
        node.input[:] = [nodes[-1].output[0] if name == tensor else name for name in node.input]
    for offset, node in enumerate(nodes):
        graph.node.insert(place + offset, node)
