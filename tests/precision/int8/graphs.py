# SPDX-License-Identifier: Apache-2.0
"""A network in miniature with everything that Q/DQ placement must tell apart."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

WIDTH, SIDE, CLASSES = 8, 16, 5
LAYERS = ("block.main.expand", "block.main.depth", "block.main.point", "merge")
SOURCES = {"block.main.expand": "stem.act", "block.main.depth": "expand.act", "block.main.point": "depth.act",
           "merge": "both"}  # fmt: skip


def toy_network(seed: int = 0) -> onnx.ModelProto:
    """Stem, block with a residual sum, a concat of the sum and the stem, two convolutions, the last one the logits."""
    draw = np.random.default_rng(seed)

    def weights(out: int, per_group: int, size: int) -> np.ndarray:
        scale = 1 / np.sqrt(per_group * size * size)
        return (draw.standard_normal((out, per_group, size, size)) * scale).astype(np.float32)

    arrays = {
        "stem.w": weights(WIDTH, 3, 3), "expand.w": weights(2 * WIDTH, WIDTH, 1), "depth.w": weights(2 * WIDTH, 1, 3),
        "point.w": weights(WIDTH, 2 * WIDTH, 1), "merge.w": weights(WIDTH, 2 * WIDTH, 1),
        "last.w": weights(CLASSES, WIDTH, 1),
    }  # fmt: skip
    make = helper.make_node
    nodes = [
        make("Conv", ["image", "stem.w"], ["stem"], name="stem", pads=[1] * 4),
        make("Relu", ["stem"], ["stem.act"], name="stem.relu"),
        make("Conv", ["stem.act", "expand.w"], ["expand"], name="block.main.expand"),
        make("Relu", ["expand"], ["expand.act"], name="expand.relu"),
        make("Conv", ["expand.act", "depth.w"], ["depth"], name="block.main.depth", pads=[1] * 4, group=2 * WIDTH),
        make("Relu", ["depth"], ["depth.act"], name="depth.relu"),
        make("Conv", ["depth.act", "point.w"], ["point"], name="block.main.point"),
        make("Add", ["point", "stem.act"], ["sum"], name="block.sum"),
        make("Concat", ["sum", "stem.act"], ["both"], name="concat", axis=1),
        make("Conv", ["both", "merge.w"], ["merge"], name="merge"),
        make("Relu", ["merge"], ["merge.act"], name="merge.relu"),
        make("Conv", ["merge.act", "last.w"], ["logits"], name="last"),
    ]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, SIDE, SIDE])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, CLASSES, SIDE, SIDE])
    tensors = [numpy_helper.from_array(array, name) for name, array in arrays.items()]
    graph = helper.make_graph(nodes, "toy", [image], [logits], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model


def images(count: int, seed: int = 1) -> list[dict[str, np.ndarray]]:
    """Feeds of the network."""
    draw = np.random.default_rng(seed)
    return [{"image": draw.standard_normal((1, 3, SIDE, SIDE)).astype(np.float32)} for _ in range(count)]


def parse(model: onnx.ModelProto) -> tuple[list[str], dict[str, int]]:
    """What TensorRT-RTX's parser minds when it makes a strongly typed network, and how many layers of each kind."""
    import tensorrt_rtx as trt

    logger = trt.Logger(trt.Logger.ERROR)
    maker = trt.Builder(logger)
    network = maker.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    parser.parse(model.SerializeToString())
    kinds = [network.get_layer(index).type.name for index in range(network.num_layers)]
    counts = {kind: kinds.count(kind) for kind in ("QUANTIZE", "DEQUANTIZE")}
    return [str(parser.get_error(index)) for index in range(parser.num_errors)], counts
