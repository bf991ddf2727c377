# SPDX-License-Identifier: Apache-2.0
"""Weights that kill the usual decoder in FP16: its plain trace is not finite or useless, ours agrees with PyTorch.

What is scaled leaves the FP32 function as it is: one matrix is multiplied, the next is divided, or a LayerNorm follows.
Both graphs are typed by the same lowering, with points encoded in FP32, and rounded faithfully.
"""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from evit_deploy.export.reference import settle_vector_library
from evit_deploy.export.sam.decoder import OUTPUTS, trace_decoder
from evit_deploy.export.trace import trace
from evit_deploy.precision.emulate import emulate
from evit_deploy.precision.fp16 import lower_fp16
from evit_deploy.precision.prompts import encoding_nodes, fix_prompts
from tests.export.sam_prompts import EMBEDDING, MASK, mask_iou, open_graph, relative_l2, torch_answer
from tests.sam import golden_model

PROMPTS = {
    "coords": np.array([[[310.0, 420.0]], [[700.25, 90.5]]], np.float32),
    "labels": np.ones((2, 1), np.int32),
}


def times(factor, *layers):
    """Multiply weights and biases."""
    for layer in layers:
        for parameter in layer.parameters():
            parameter.mul_(factor)


def weight_times(factor, layer):
    layer.weight *= factor


def attentions(model):
    transformer = model.mask_decoder.transformer
    for layer in transformer.layers:
        yield from (layer.self_attn, layer.cross_attn_token_to_image, layer.cross_attn_image_to_token)
    yield transformer.final_attn_token_to_image


def keys(model):
    for attention in attentions(model):
        times(2.0**14, attention.k_proj)
        times(2.0**-14, attention.q_proj)


def queries(model):
    for attention in attentions(model):
        times(2.0**-14, attention.k_proj)
        times(2.0**14, attention.q_proj)


def values(model):
    for attention in attentions(model):
        times(2.0**14, attention.v_proj)
        weight_times(2.0**-14, attention.out_proj)


def hidden(model):
    for layer in model.mask_decoder.transformer.layers:
        times(2.0**14, layer.mlp.lin1)
        weight_times(2.0**-14, layer.mlp.lin2)


def kernels(model):
    for perceptron in (*model.mask_decoder.output_hypernetworks_mlps, model.mask_decoder.iou_prediction_head):
        times(2.0**14, perceptron.layers[0])
        weight_times(2.0**-14, perceptron.layers[1])


def upscaling(model):
    times(2.0**12, model.mask_decoder.output_upscaling[0])


def mask_input(model):
    times(2.0**12, model.prompt_encoder.mask_downscaling[0])
    times(2.0**12, model.prompt_encoder.mask_downscaling[3])


def everything(model):
    for case in (keys, values, hidden, kernels, upscaling, mask_input):
        case(model)


QUICK = [upscaling, everything]
SLOW = [keys, queries, values, hidden, kernels, mask_input]


class UsualDecoder(nn.Module):
    """The decoder as PyTorch has it."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, coords, labels, embedding, mask):
        masks, iou = self.model.decode(embedding, coords, labels, mask=mask)
        return masks, iou


def prepared(change=None):
    """A model of its own with changed weights."""
    model = copy.deepcopy(golden_model())
    if change is not None:
        with torch.no_grad():
            change(model)
    settle_vector_library()
    return model


def run_half(graph, inputs):
    """A graph typed in FP16 and rounded faithfully: all outputs, in order."""
    typed, _ = lower_fp16(graph, fp32=encoding_nodes(graph))
    types = {value.name: value.type.tensor_type.elem_type for value in typed.graph.input}
    half = {name: value.astype(helper.tensor_dtype_to_np_dtype(types[name])) for name, value in inputs.items()}
    with np.errstate(over="ignore"):
        return [x.astype(np.float32) for x in open_graph(emulate(typed)).run(None, half)]


def usual(model):
    """Masks [P, 4, 256, 256] of the plain trace."""
    inputs = {**PROMPTS, "embedding": EMBEDDING, "mask": MASK}
    example = {name: torch.from_numpy(value) for name, value in inputs.items()}
    graph = trace(UsualDecoder(model).eval(), example, ("masks", "iou"), 17, dynamic_batch=False)
    return run_half(graph, inputs)[0]


def ours(model):
    """Masks [P, 4, 256, 256] and IoU [P, 4] of the deployed graph, with two slots empty."""
    graph = fix_prompts(trace_decoder(model), 2, 3)
    inputs = {
        "coords": np.pad(PROMPTS["coords"], ((0, 0), (0, 2), (0, 0)), constant_values=np.nan),
        "labels": np.pad(PROMPTS["labels"], ((0, 0), (0, 2)), constant_values=-2),
        "embedding": EMBEDDING, "mask": MASK, "has_mask": np.ones(1, np.float32),
    }  # fmt: skip
    found = dict(zip(OUTPUTS, run_half(graph, inputs), strict=True))
    masks = np.concatenate([found["single_mask"], found["masks"]], axis=1)
    return masks, np.concatenate([found["single_iou"], found["iou"]], axis=1)


def expected(model):
    return torch_answer(model, **PROMPTS, mask=MASK)


def agrees(found, expected):
    masks, iou = found
    assert np.isfinite(masks).all()
    assert mask_iou(masks, expected[0]) > 0.99
    assert np.abs(iou - expected[1]).max() < 0.02


def test_weights_as_they_are():
    """Safety costs no accuracy: what is left is the rounding of FP16, which the plain trace has as well."""
    model = prepared()
    plain, (masks, iou), wanted = usual(model), ours(model), expected(model)
    agrees((masks, iou), wanted)
    assert relative_l2(masks, wanted[0]) < 1.3 * relative_l2(plain, wanted[0])


@pytest.mark.parametrize("change", [*QUICK, *(pytest.param(case, marks=pytest.mark.slow) for case in SLOW)])
def test_weights_that_kill_the_plain_trace(change):
    model = prepared(change)
    wanted, plain = expected(model), usual(model)
    assert not np.isfinite(plain).all() or mask_iou(plain, wanted[0]) < 0.5
    agrees(ours(model), wanted)


def test_every_value_of_an_empty_slot_is_finite():
    """The score of an empty slot is an FP16 number, and points are encoded in FP32."""
    graph = fix_prompts(trace_decoder(golden_model()), 1, 2)
    typed, _ = lower_fp16(graph, fp32=encoding_nodes(graph))
    types = {value.name: value.type.tensor_type.elem_type for value in typed.graph.input}
    assert types["coords"] == TensorProto.FLOAT
    encoded = {node.op_type for node in graph.graph.node if node.name in encoding_nodes(graph)}
    assert {"Sin", "Cos", "MatMul"} <= encoded
    for tensor in typed.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT16:
            assert np.isfinite(numpy_helper.to_array(tensor)).all()
