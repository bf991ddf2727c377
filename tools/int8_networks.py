# SPDX-License-Identifier: Apache-2.0
"""Networks that others published INT8 and FP16 latencies of, as graphs without weights.

Written from the papers and configuration files that describe them; tests hold their operations and parameters to the
published ones.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import onnx
from int8_graphs import Network
from int8_yolo import yolo_11, yolo_v7, yolo_v8


def resnet(batch: int, blocks: Sequence[int], wide: bool) -> onnx.ModelProto:
    """ResNet of the ONNX model zoo, version 1; ``wide`` for bottlenecks, as from ResNet-50 on (arXiv 1512.03385)."""
    net = Network(batch, 224, "Relu")
    x = net.pool(net.conv(net.picture, 64, 7, 2), 3, 2)
    for stage, number in enumerate(blocks):
        width = 64 << stage
        for block in range(number):
            stride = 2 if stage and not block else 1
            if wide:
                inner = net.conv(net.conv(x, width, 1, stride), width, 3)
                y = net.conv(inner, 4 * width, act=None)
            else:
                y = net.conv(net.conv(x, width, 3, stride), width, 3, act=None)
            skip = x if x[1] == y[1] and stride == 1 else net.conv(x, y[1], 1, stride, act=None)
            x = net.activate(net.add(y, skip), "Relu")
    return net.model(net.classify(x))


def mobilenet_v2(batch: int) -> onnx.ModelProto:
    """MobileNetV2 (arXiv 1801.04381)."""
    net = Network(batch, 224, "Clip")
    x = net.conv(net.picture, 32, 3, 2)
    for factor, width, number, first in (
        (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1),
    ):  # fmt: skip
        for block in range(number):
            stride = 1 if block else first
            inner = x if factor == 1 else net.conv(x, x[1] * factor)
            inner = net.conv(inner, inner[1], 3, stride, inner[1])
            y = net.conv(inner, width, act=None)
            x = net.add(x, y) if stride == 1 and x[1] == width else y
    return net.model(net.classify(net.conv(x, 1280)))


NETWORKS: dict[str, Callable[[int], onnx.ModelProto]] = {
    "ResNet-18": lambda batch: resnet(batch, (2, 2, 2, 2), wide=False),
    "ResNet-50": lambda batch: resnet(batch, (3, 4, 6, 3), wide=True),
    "MobileNetV2": mobilenet_v2,
    "YOLOv7": yolo_v7,
    "YOLOv8n": lambda batch: yolo_v8(batch, 1 / 3, 0.25, 1024),
    "YOLOv8s": lambda batch: yolo_v8(batch, 1 / 3, 0.5, 1024),
    "YOLOv8m": lambda batch: yolo_v8(batch, 2 / 3, 0.75, 768),
    "YOLO11n": lambda batch: yolo_11(batch, 0.5, 0.25, 1024, deep=False),
    "YOLO11s": lambda batch: yolo_11(batch, 0.5, 0.5, 1024, deep=False),
    "YOLO11m": lambda batch: yolo_11(batch, 0.5, 1.0, 512, deep=True),
    "YOLO11l": lambda batch: yolo_11(batch, 1.0, 1.0, 512, deep=True),
    "YOLO11x": lambda batch: yolo_11(batch, 1.0, 1.5, 512, deep=True),
}
"""Graphs by name, each for a batch."""
