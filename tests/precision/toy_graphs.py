# SPDX-License-Identifier: Apache-2.0
"""An image encoder and a mask decoder in miniature: inputs, outputs and open axes of real ones, little arithmetic."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SIDE, CHANNELS = 64, 16
MEAN = (0.485, 0.456, 0.406)
_KINDS = {"uint8": TensorProto.UINT8, "int32": TensorProto.INT32, "float32": TensorProto.FLOAT}
IO = {
    "encoder": (
        {"image": ("uint8", (1, SIDE, SIDE, 3)), "size": ("int32", (1, 2))},
        {"embedding": ("float32", (1, 256, 64, 64))},
    ),
    "decoder": (
        {
            "coords": ("float32", ("P", "N", 2)),
            "labels": ("int32", ("P", "N")),
            "embedding": ("float32", (1, 256, 64, 64)),
            "mask": ("float32", ("M", 1, 256, 256)),
            "has_mask": ("float32", ("M",)),
        },
        {
            "masks": ("float32", ("P", 3, 256, 256)),
            "iou": ("float32", ("P", 3)),
            "single_mask": ("float32", ("P", 1, 256, 256)),
            "single_iou": ("float32", ("P", 1)),
        },
    ),
}


class _Graph:
    """Nodes and constants under one prefix."""

    def __init__(self, prefix: str) -> None:
        self.prefix, self.nodes, self.constants = prefix, [], []

    def op(self, kind: str, *inputs: str, result: str = "", **attributes: object) -> str:
        name = f"{self.prefix}.{kind}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [result or name], name=name, **attributes))
        return result or name

    def const(self, values: object, dtype: str = "float32") -> str:
        name = f"{self.prefix}.const_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(values, dtype), name))
        return name

    def model(self, part: str) -> onnx.ModelProto:
        sides = [
            [helper.make_tensor_value_info(name, _KINDS[dtype], shape) for name, (dtype, shape) in side.items()]
            for side in IO[part]
        ]
        graph = helper.make_graph(self.nodes, part, *sides, self.constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        onnx.checker.check_model(model, full_check=True)
        return model


def toy_encoder(gain: float = 1.0) -> onnx.ModelProto:
    """Picture in its canvas → normalised, zero outside → one convolution, called an attention module."""
    graph, draw = _Graph("toy.context_module.main"), np.random.default_rng(0)
    pixels = graph.op("Cast", graph.op("Transpose", "image", perm=[0, 3, 1, 2]), to=TensorProto.FLOAT)
    mean = graph.const(255 * np.array(MEAN).reshape(1, 3, 1, 1))
    height, width = graph.op("Split", "size", axis=1), "width"
    graph.nodes[-1].output.append(width)
    rows, columns = (graph.const(np.arange(SIDE).reshape(shape), "int32") for shape in ((1, 1, -1, 1), (1, 1, 1, -1)))
    four = graph.const([1, 1, 1, 1], "int64")
    inside = graph.op(
        "And",
        graph.op("Less", rows, graph.op("Reshape", height, four)),
        graph.op("Less", columns, graph.op("Reshape", width, four)),
    )
    centred = graph.op("Where", inside, graph.op("Sub", pixels, mean), graph.const(0.0))
    weight = graph.const(gain * draw.standard_normal((256, 3, 1, 1)) / 100)
    graph.op("Conv", centred, weight, result="embedding")
    return graph.model("encoder")


def toy_decoder() -> onnx.ModelProto:
    """Mean of the points' encodings → four planes of the embedding's pixels; an earlier mask is added."""
    graph, draw = _Graph("toy"), np.random.default_rng(0)
    scaled = graph.op("Mul", "coords", graph.const(1 / 512))
    angle = graph.op("MatMul", scaled, graph.const(draw.standard_normal((2, CHANNELS // 2)) * 6))
    encoding = graph.op("Concat", graph.op("Sin", angle), graph.op("Cos", angle), axis=2)
    used = graph.op("Cast", graph.op("Greater", "labels", graph.const(-2, "int32")), to=TensorProto.FLOAT)
    kept = graph.op("Mul", encoding, graph.op("Unsqueeze", used, graph.const([2], "int64")))
    token = graph.op("ReduceSum", kept, graph.const([1], "int64"), keepdims=0)
    queries = graph.op("MatMul", token, graph.const(draw.standard_normal((CHANNELS, 4 * CHANNELS)) / 4))
    queries = graph.op("Reshape", queries, graph.const([-1, 4, CHANNELS], "int64"))
    planes = graph.op("Conv", "embedding", graph.const(draw.standard_normal((CHANNELS * 16, 256, 1, 1)) / 16))
    planes = graph.op("DepthToSpace", planes, blocksize=4)
    planes = graph.op("Reshape", planes, graph.const([CHANNELS, 256 * 256], "int64"))
    logits = graph.op("Reshape", graph.op("MatMul", queries, planes), graph.const([-1, 4, 256, 256], "int64"))
    counts = graph.op("Reshape", "has_mask", graph.const([-1, 1, 1, 1], "int64"))
    logits = graph.op("Add", logits, graph.op("Mul", "mask", counts))
    scores = graph.op("MatMul", token, graph.const(draw.standard_normal((CHANNELS, 4)) / 16))
    for source, single, several in ((logits, "single_mask", "masks"), (scores, "single_iou", "iou")):
        starts, axis = [graph.const([start], "int64") for start in (0, 1, 4)], graph.const([1], "int64")
        graph.op("Slice", source, starts[0], starts[1], axis, result=single)
        graph.op("Slice", source, starts[1], starts[2], axis, result=several)
    return graph.model("decoder")
