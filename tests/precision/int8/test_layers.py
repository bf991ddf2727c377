# SPDX-License-Identifier: Apache-2.0
"""Which convolutions may be INT8, and what share of the network they are."""

from __future__ import annotations

import onnx
import pytest

from evit_deploy.precision.arrange import arrange
from evit_deploy.precision.int8.layers import conv_macs, find_layers, mac_share
from tests.precision.int8.graphs import LAYERS, SIDE, SOURCES, WIDTH


def test_first_and_last_layer_stay(toy: onnx.ModelProto) -> None:
    found = find_layers(toy)
    assert tuple(layer.name for layer in found) == LAYERS
    assert {layer.name: layer.source for layer in found} == SOURCES
    assert [layer.kind for layer in found] == ["pointwise", "depthwise", "pointwise", "pointwise"]
    pixels = SIDE * SIDE
    dense = 2 * WIDTH * WIDTH
    assert [layer.macs // pixels for layer in found] == [dense, 2 * WIDTH * 9, dense, dense]


def test_fp16_has_the_same_layers(arranged: onnx.ModelProto, half: onnx.ModelProto) -> None:
    assert find_layers(arranged) == find_layers(half)


def test_attention_first_and_last_are_left_alone(arranged: onnx.ModelProto) -> None:
    names = {layer.name for layer in find_layers(arranged)}
    assert len(names) == 38
    assert not any(".context_module." in name for name in names)
    assert "backbone.input_stem.op_list.0.conv.Conv" not in names
    assert "head.output_ops.0.op_list.1.conv.Conv" not in names
    assert {layer.kind for layer in find_layers(arranged)} == {"pointwise", "depthwise"}


@pytest.mark.parametrize("form", ["conv", "matmul", "portable"])
def test_the_share_is_of_the_network_as_exported(exported: onnx.ModelProto, form: str) -> None:
    """Merging and rearranging change how much is computed, and not how much of the network is INT8."""
    graph = arrange(exported, form)
    share = mac_share(exported, graph, [layer.name for layer in find_layers(graph)])
    assert share == pytest.approx(0.753, abs=0.001)
    assert mac_share(exported, graph, []) == 0


def test_upsampling_is_no_convolution_of_the_network(exported: onnx.ModelProto) -> None:
    macs = conv_macs(exported)
    assert "head.input_ops.0.op_list.1.Conv" not in macs and "classify.Conv" not in macs
    assert sum("Conv" in name for name in macs) == len(macs) == 57
