# SPDX-License-Identifier: Apache-2.0
"""Graphs of convolutional networks without weights, node by node: shapes are all that a plan needs.

They are typed FP16, with the operators that exporters give: a SiLU is a Sigmoid and a Mul.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import onnx
from onnx import TensorProto, helper

Map = tuple[str, int]
"""Name of a map and its channels."""


class Network:
    """A graph that grows node by node.

    Args:
        batch: Frames.
        side: Height and width of the picture.
        act: Activation of convolutions that name no other: "Relu", "LeakyRelu", "Clip" or "SiLU".
    """

    def __init__(self, batch: int, side: int, act: str) -> None:
        self.act = act
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self.picture: Map = ("picture", 3)
        self.shape = (batch, 3, side, side)
        self.count = 0

    def op(self, kind: str, inputs: Sequence[str], results: int = 1, **attributes: Any) -> str:
        """Add a node; its first result is named after it, others with a number behind."""
        self.count += 1
        name = f"{kind}_{self.count}"
        outputs = [name, *(f"{name}.{number}" for number in range(1, results))]
        self.nodes.append(helper.make_node(kind, inputs, outputs, name, **attributes))
        return name

    def weight(self, *shape: int) -> str:
        """Weights of a shape, without numbers."""
        name = f"weight_{len(self.weights)}"
        self.weights.append(TensorProto(name=name, dims=shape, data_type=TensorProto.FLOAT16))
        return name

    def constant(self, values: Sequence[float], kind: int = TensorProto.INT64) -> str:
        """Numbers, such as sizes."""
        name = f"constant_{len(self.weights)}"
        self.weights.append(helper.make_tensor(name, kind, [len(values)], values))
        return name

    def conv(self, x: Map, out: int, side: int = 1, stride: int = 1, groups: int = 1, act: str | None = "") -> Map:
        """A convolution with bias and activation: "" takes the network's, None takes none."""
        weights = [self.weight(out, x[1] // groups, side, side), self.weight(out)]
        pads = [side // 2] * 4 if side != 6 else [2] * 4
        name = self.op("Conv", [x[0], *weights], kernel_shape=[side] * 2, strides=[stride] * 2, pads=pads, group=groups)
        return self.activate((name, out), self.act if act == "" else act)

    def activate(self, x: Map, act: str | None) -> Map:
        """An activation."""
        if act == "SiLU":
            return self.op("Mul", [x[0], self.op("Sigmoid", [x[0]])]), x[1]
        return x if act is None else (self.op(act, [x[0]]), x[1])

    def add(self, x: Map, y: Map) -> Map:
        """A sum."""
        return self.op("Add", [x[0], y[0]]), x[1]

    def pool(self, x: Map, side: int, stride: int) -> Map:
        """The maximum of every window."""
        pads = [side // 2] * 4 if side % 2 else [0] * 4
        return self.op("MaxPool", [x[0]], kernel_shape=[side] * 2, strides=[stride] * 2, pads=pads), x[1]

    def concat(self, *maps: Map) -> Map:
        """Maps side by side."""
        return self.op("Concat", [one[0] for one in maps], axis=1), sum(one[1] for one in maps)

    def split(self, x: Map) -> tuple[Map, Map]:
        """The two halves of the channels."""
        sizes = self.constant([x[1] // 2] * 2)
        name = self.op("Split", [x[0], sizes], 2, axis=1)
        return (name, x[1] // 2), (f"{name}.1", x[1] // 2)

    def upsample(self, x: Map) -> Map:
        """Twice the height and width."""
        scales = self.constant([1.0, 1.0, 2.0, 2.0], TensorProto.FLOAT)
        return self.op("Resize", [x[0], "", scales], mode="nearest"), x[1]

    def classify(self, x: Map, classes: int = 1000) -> Map:
        """Mean over the map, and one product."""
        mean = self.op("Flatten", [self.op("GlobalAveragePool", [x[0]])])
        weights = [self.weight(classes, x[1]), self.weight(classes)]
        return self.op("Gemm", [mean, *weights], transB=1), classes

    def model(self, *outputs: Map) -> onnx.ModelProto:
        """The graph."""
        half = TensorProto.FLOAT16
        given = [helper.make_tensor_value_info(self.picture[0], half, self.shape)]
        made = [helper.make_tensor_value_info(name, half, None) for name, _ in outputs]
        return helper.make_model(helper.make_graph(self.nodes, "network", given, made, self.weights))
