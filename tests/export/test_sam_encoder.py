# SPDX-License-Identifier: Apache-2.0
"""The encoder's graph: PyTorch's embeddings, whatever the canvas holds outside of the picture."""

from __future__ import annotations

import collections

import numpy as np
import onnxruntime as ort
import pytest
import torch

from evit_deploy.export.rewrite import BoundedGelu, ScaleFreeLayerNorm2d
from evit_deploy.export.sam.encoder import EncoderPeaks, trace_encoder
from evit_deploy.export.sam.reference import padded
from evit_deploy.models.sam.layers import LayerNorm2d
from evit_deploy.precision.arrange import arrange
from tests.export.small_sam import RULES, SIDE, picture, small_model

SIZES = [(SIDE, SIDE), (77, SIDE), (SIDE, 53), (1, SIDE), (SIDE, 1)]


def session(graph):
    return ort.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])


def relative_l2(found, expected):
    return np.linalg.norm(found - expected) / np.linalg.norm(expected)


@pytest.fixture(scope="module")
def model():
    return small_model()


@pytest.fixture(scope="module")
def graph(model):
    return trace_encoder(model, RULES)


@pytest.mark.parametrize("size", SIZES)
def test_pictures_of_any_shape(model, graph, size):
    """The rest of the canvas is noise here: PyTorch sees zeros there."""
    canvas = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    (found,) = session(graph).run(None, {"image": canvas[None], "size": np.array([size], np.int32)})
    with torch.inference_mode():
        expected = model(padded(canvas, np.array(size, np.int32), RULES)).numpy()
    assert relative_l2(found, expected) <= 1e-5


def test_every_picture_of_a_batch_has_a_size_of_its_own(model):
    graph = trace_encoder(model, RULES, batch=(1, 4))
    canvases = np.random.default_rng(1).integers(0, 256, (len(SIZES), SIDE, SIDE, 3), np.uint8)
    sizes = np.array(SIZES, np.int32)
    run = session(graph)
    (together,) = run.run(None, {"image": canvases, "size": sizes})
    for index in range(len(SIZES)):
        (alone,) = run.run(None, {"image": canvases[index : index + 1], "size": sizes[index : index + 1]})
        assert relative_l2(together[index], alone[0]) <= 1e-5


def test_inputs_and_outputs(model, graph):
    def described(graph):
        return [
            (value.name, value.type.tensor_type.elem_type, [d.dim_value for d in value.type.tensor_type.shape.dim])
            for value in (*graph.graph.input, *graph.graph.output)
        ]

    uint8, int32, float32, grid = 2, 6, 1, SIDE // 8
    embedding = ("embedding", float32, [1, 256, grid, grid])
    assert described(graph) == [("image", uint8, [1, SIDE, SIDE, 3]), ("size", int32, [1, 2]), embedding]
    assert described(trace_encoder(model, RULES, "tensor")) == [("image", float32, [1, 3, SIDE, SIDE]), embedding]


@pytest.mark.parametrize("family", ["l", "xl"])
def test_clean_graph(family):
    """No leftovers of training, no shape arithmetic, no resize: two upsamplings, and none from 64 to 64."""
    graph = trace_encoder(small_model(family), RULES)
    kinds = collections.Counter(node.op_type for node in graph.graph.node)
    unwanted = {"BatchNormalization", "Dropout", "Identity", "Shape", "Gather", "Constant", "Range", "Resize", "Pow"}
    assert not unwanted & set(kinds), kinds
    assert kinds["DepthToSpace"] == 2
    assert kinds["Cast"] == 1
    assert [node.op_type for node in graph.graph.node][:3] == ["Transpose", "Cast", "Sub"]


def test_the_arrangement_for_gpus_reads_it(model, graph):
    canvas = np.random.default_rng(2).integers(0, 256, (1, SIDE, SIDE, 3), np.uint8)
    inputs = {"image": canvas, "size": np.array([[90, SIDE]], np.int32)}
    (expected,) = session(graph).run(None, inputs)
    (found,) = session(arrange(graph)).run(None, inputs)
    assert relative_l2(found, expected) <= 1e-5


def test_the_model_stays_as_it_is(model):
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with torch.inference_mode(), EncoderPeaks(model) as peaks:
        model(picture())
    trace_encoder(model, RULES, peaks=peaks)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert not any(isinstance(module, BoundedGelu) for module in model.modules())


@pytest.mark.parametrize("scale", [1e-4, 1.0, 3e4])
@pytest.mark.parametrize("unit", [1.0, 64.0])
def test_layer_norm_over_channels(scale, unit):
    norm = LayerNorm2d(32, 1e-6)
    with torch.no_grad():
        norm.weight.normal_()
        norm.bias.normal_()
        x = scale * (torch.randn(2, 32, 3, 5) + 2)
        x[0, :, 1, 1] = scale  # no deviation at all
        torch.testing.assert_close(ScaleFreeLayerNorm2d(norm, unit)(x / unit), norm(x), rtol=1e-4, atol=1e-4)
