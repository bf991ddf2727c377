# SPDX-License-Identifier: Apache-2.0
"""Small typed graphs whose bytes and operations can be counted by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

HEIGHT, WIDTH = 32, 64
FLOPS = {"first": 2 * 16 * 8 * 9 * HEIGHT * WIDTH, "second": 2 * 32 * 16 * HEIGHT * WIDTH}


def two_convolutions(
    path: Path, dtype: str = "float16", weights: str | None = None, batch: int | str = 1, names: bool = True
) -> Path:
    """Write a 3×3 convolution (8 to 16 channels), a ReLU and a 1×1 convolution (16 to 32) over 32×64 pixels.

    Args:
        path: File to write.
        dtype: Type of the input and the output.
        weights: Type of the weights; another one than `dtype` makes the graph wrong.
        batch: A number, or the name of a dynamic dimension.
        names: Whether the nodes have names.
    """
    draw = np.random.default_rng(0)
    initializers = [
        numpy_helper.from_array(draw.standard_normal(shape).astype(weights or dtype), name)
        for name, shape in (("w1", (16, 8, 3, 3)), ("w2", (32, 16, 1, 1)))
    ]
    nodes = [
        helper.make_node("Conv", ["x", "w1"], ["a"], name="first", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["b"], name="relu"),
        helper.make_node("Conv", ["b", "w2"], ["y"], name="second"),
    ]
    for node in nodes:
        node.name = node.name if names else ""
    return save(path, nodes, {"x": (batch, 8, HEIGHT, WIDTH)}, {"y": (batch, 32, HEIGHT, WIDTH)}, initializers, dtype)


def save(
    path: Path,
    nodes: list[onnx.NodeProto],
    inputs: dict[str, tuple[int | str, ...]],
    outputs: dict[str, tuple[int | str, ...]],
    initializers: list[onnx.TensorProto] | None = None,
    dtype: str = "float16",
) -> Path:
    """Write a graph of opset 17 whose inputs and outputs have one type."""
    kind = {"float16": TensorProto.FLOAT16, "float32": TensorProto.FLOAT}[dtype]
    values = [
        [helper.make_tensor_value_info(name, kind, shape) for name, shape in group.items()]
        for group in (inputs, outputs)
    ]
    graph = helper.make_graph(nodes, "small", *values, initializers or [])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path
