# SPDX-License-Identifier: Apache-2.0
"""Which convolutions may be INT8, and how much of the network they are.

Kept in FP16 is what INT8 ruins or what gains nothing: the first layer, which sees three channels; what makes the
graph's output; the attention, whose small weights over tokens need more than 8 bits and whose normaliser divides by
them; and bicubic upsampling, which is interpolation. Depthwise convolutions are few operations but half the traffic of
a block: left in FP16 between two INT8 convolutions they cost what INT8 gains (docs/int8.md).

TensorRT wants groups of INT8 channels to be multiples of four (NvInfer.h, IConvolutionLayer::setNbGroups); depthwise
convolutions have kernels of their own. Outside the attention these networks have no other groups, and no channels that
are not a multiple of eight.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass

import onnx
from onnx import helper

from evit_deploy.precision.attention import SCOPE
from evit_deploy.precision.graph import GraphView

PICTURE = 3
"""Channels of a picture."""


@dataclass(frozen=True)
class Layer:
    """A convolution that may be INT8.

    Attributes:
        name: Its node's name.
        kind: "pointwise" (1×1), "depthwise" (one channel per group) or "spatial" (the rest).
        source: Tensor it reads.
        result: Tensor it makes.
        weight: Name of its weights, [out, in / groups, k, k].
        macs: Multiply-adds for one frame.
    """

    name: str
    kind: str
    source: str
    result: str
    weight: str
    macs: int


def find_layers(model: onnx.ModelProto) -> tuple[Layer, ...]:
    """The convolutions of an arranged graph that may be INT8, in the order of the graph.

    Args:
        model: FP32, or typed FP16: names are the same.
    """
    view = GraphView(model)
    last = _last(view)
    return tuple(
        _layer(view, node)
        for node in view.graph.node
        if _is_of_network(view, node) and SCOPE not in node.name and node.name not in last
        and view.shapes[node.input[1]][1] != PICTURE
    )  # fmt: skip


def mac_share(exported: onnx.ModelProto, arranged: onnx.ModelProto, layers: Collection[str]) -> float:
    """Share of a network's convolution multiply-adds that is INT8, 0..1.

    Counted is the network as exported, so that merging, which adds arithmetic to save traffic, changes nothing: a
    merged convolution stands for all that are no longer there since.

    Args:
        exported: The export.
        arranged: What was made of it.
        layers: Names of the INT8 convolutions of the arranged graph.
    """
    macs = conv_macs(exported)
    found = {layer.name: layer for layer in find_layers(arranged)}
    chosen = {name for name in layers if name in found}
    gone = _merged_into(exported, arranged, macs)
    counted = sum(macs[name] for name in macs if gone.get(name, name) in chosen)
    return counted / sum(macs.values())


def conv_macs(model: onnx.ModelProto) -> dict[str, int]:
    """Multiply-adds for one frame of the network's own convolutions by node name; upsampling is not one of them."""
    view = GraphView(model)
    return {node.name: _macs(view, node) for node in view.graph.node if _is_of_network(view, node)}


def _merged_into(exported: onnx.ModelProto, arranged: onnx.ModelProto, macs: dict[str, int]) -> dict[str, str]:
    """The convolution that each vanished one was merged into: the one that read the sum it was part of.

    Those of attention modules have other names now, and are never INT8.
    """
    present = {node.name for node in arranged.graph.node}
    view = GraphView(exported)
    merged: dict[str, str] = {}
    for node in view.graph.node:
        if node.name in macs and node.name not in present and SCOPE not in node.name:
            for total in (reader for reader in view.consumers(node.output[0]) if reader.op_type == "Add"):
                merged.update((node.name, reader.name) for reader in view.consumers(total.output[0]))
    return merged


def _is_of_network(view: GraphView, node: onnx.NodeProto) -> bool:
    """Whether a node is a convolution with trained weights: not computed ones, and not those of bicubic upsampling.

    The export writes upsampling as a convolution of padded planes, each an image of its own.
    """
    if node.op_type != "Conv" or node.input[1] not in view.initializers:
        return False
    planes = view.producers.get(node.input[0])
    if planes is None or planes.op_type != "Reshape":
        return True
    padded = view.producers.get(planes.input[0])
    return padded is None or padded.op_type != "Pad"


def _last(view: GraphView) -> set[str]:
    """Names of the convolutions whose results reach an output through no other convolution or product."""
    wanted, last = {value.name for value in view.graph.output}, set()
    for node in reversed(view.graph.node):
        if not wanted & set(node.output):
            continue
        if node.op_type in ("Conv", "MatMul", "Gemm"):
            last.add(node.name)
        else:
            wanted |= set(node.input)
    return last


def _layer(view: GraphView, node: onnx.NodeProto) -> Layer:
    out, per_group, *kernel = view.shapes[node.input[1]]
    kind = "spatial"
    if per_group == 1 and _groups(node) == out:
        kind = "depthwise"
    elif set(kernel) == {1}:
        kind = "pointwise"
    return Layer(node.name, kind, node.input[0], node.output[0], node.input[1], _macs(view, node))


def _macs(view: GraphView, node: onnx.NodeProto) -> int:
    _, per_group, *kernel = view.shapes[node.input[1]]
    return math.prod(view.shapes[node.output[0]][1:]) * per_group * math.prod(kernel)


def _groups(node: onnx.NodeProto) -> int:
    return next((int(helper.get_attribute_value(item)) for item in node.attribute if item.name == "group"), 1)
