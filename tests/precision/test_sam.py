# SPDX-License-Identifier: Apache-2.0
"""Segment Anything in FP16: what the typed graphs compute, with golden weights and with weights made to hurt; that
TensorRT-RTX compiles them."""

from __future__ import annotations

import copy
import tempfile
from functools import lru_cache
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from evit_deploy.data.masks import PromptFrame
from evit_deploy.engines.compiler import Job
from evit_deploy.engines.plan import read_plan
from evit_deploy.engines.tensorrt_rtx import COMPILER
from evit_deploy.export.options import preprocess_rules
from evit_deploy.export.reference import settle_vector_library
from evit_deploy.export.sam.decoder import trace_decoder
from evit_deploy.export.sam.encoder import EncoderPeaks, trace_encoder
from evit_deploy.export.trace import trace
from evit_deploy.models import find_model
from evit_deploy.precision.emulate import tensor_types
from evit_deploy.precision.faithful import FaithfulGraph
from evit_deploy.precision.fp16 import lower_fp16
from evit_deploy.precision.lower import lower, lower_decoder
from evit_deploy.progress import silent
from evit_deploy.runtime.preprocess import fit_frame, fitted_size, normalise
from tests.export.sam_prompts import EMBEDDING, MASK, pack, torch_answer
from tests.sam import SAM_MODELS, fresh_model, golden_image, golden_model

SLOTS = 10
FRAME = PromptFrame(240, 333)
PROMPTS = {
    "point": {"coords": [[[400, 300]]], "labels": [[1]]},
    "two points": {"coords": [[[400, 300], [800, 100]]], "labels": [[1, 0]]},
    "box": {"box": [[100, 80, 700, 600]]},
    "point and box": {"coords": [[[300, 500]]], "labels": [[1]], "box": [[100, 80, 700, 600]]},
}


def arrays(prompt):
    return {name: np.asarray(value, np.int64 if name == "labels" else np.float32) for name, value in prompt.items()}


def typed_feed(model: onnx.ModelProto, values: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    kinds = {value.name: value.type.tensor_type.elem_type for value in model.graph.input}
    return {
        name: np.ascontiguousarray(values[name], onnx.helper.tensor_dtype_to_np_dtype(kind))
        for name, kind in kinds.items()
    }


def emulated(typed: onnx.ModelProto, prompt, embedding=EMBEDDING, mask=None):
    """Logits [4, 256, 256] and predicted IoU [4] of one prompt; NaN stands where nothing may be read."""
    given = pack(**prompt, slots=SLOTS)
    given |= {"embedding": embedding, "mask": np.full((1, 1, 256, 256), np.nan) if mask is None else mask}
    given["has_mask"] = np.full(1, mask is not None)
    out = FaithfulGraph(typed).infer(typed_feed(typed, given))
    return (
        np.concatenate([out["single_mask"][0], out["masks"][0]]).astype(np.float32),
        np.concatenate([out["single_iou"][0], out["iou"][0]]).astype(np.float32),
    )


def together(found: np.ndarray, expected: np.ndarray, frame: PromptFrame = FRAME) -> float:
    """IoU of all masks of a prompt at the picture's pixels, taken together."""
    ours, theirs = frame.pixels(found), frame.pixels(expected)
    return float((ours & theirs).sum() / max((ours | theirs).sum(), 1))


@lru_cache
def typed_decoder() -> onnx.ModelProto:
    return lower_decoder(trace_decoder(golden_model("l0-sam")), "fp16", 1, SLOTS).model


@pytest.mark.parametrize("name", [*PROMPTS, "point and mask"])
def test_fp16_masks_are_pytorch_s(name):
    settle_vector_library()
    prompt, mask = arrays(PROMPTS.get(name, PROMPTS["point"])), MASK if name == "point and mask" else None
    (expected,), (scores,) = torch_answer(golden_model("l0-sam"), **prompt, mask=mask)
    found, iou = emulated(typed_decoder(), prompt, mask=mask)
    assert np.isfinite(found).all() and np.isfinite(iou).all()
    assert together(found, expected) >= 0.99
    np.testing.assert_allclose(iou, scores, atol=0.02)


def test_only_positions_are_fp32():
    typed = typed_decoder()
    types = tensor_types(typed)
    wide = {node.op_type for node in typed.graph.node if types[node.output[0]] == onnx.TensorProto.FLOAT}
    assert {"Sin", "Cos", "MatMul"} <= wide and not wide & {"Softmax", "LayerNormalization", "Gemm", "Erf", "Conv"}


def hurt(model: nn.Module, factor: float) -> nn.Module:
    """The same function with activations `factor` times as large: wherever the next layer takes it back."""
    decoder = model.mask_decoder
    layers = decoder.transformer.layers
    pairs = [(layer.mlp.lin1, layer.mlp.lin2) for layer in layers]
    pairs += [(layer.cross_attn_token_to_image.v_proj, layer.cross_attn_token_to_image.out_proj) for layer in layers]
    with torch.no_grad():
        for one, other in pairs:
            one.weight.mul_(factor), one.bias.mul_(factor), other.weight.div_(factor)
        for layer in (decoder.output_upscaling[0], model.prompt_encoder.mask_downscaling[0]):  # a LayerNorm follows
            layer.weight.mul_(factor), layer.bias.mul_(factor)
    return model


class Usual(nn.Module):
    """The decoder as PyTorch has it, for one point."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, embedding, coords):
        masks, iou = self.model.decode(embedding, coords, torch.ones(1, 1, dtype=torch.int64))
        return masks, iou


def test_the_usual_fp16_decoder_dies_of_large_activations_and_ours_does_not():
    settle_vector_library()
    model, prompt = hurt(fresh_model("l0-sam"), 2.0**13), arrays(PROMPTS["point"])
    (expected,), _ = torch_answer(model, **prompt)
    example = {"embedding": torch.from_numpy(EMBEDDING), "coords": torch.from_numpy(prompt["coords"])}
    usual = lower_fp16(trace(Usual(copy.deepcopy(model)), example, ("masks", "iou"), 17, dynamic_batch=False))[0]
    feed = typed_feed(usual, {"embedding": EMBEDDING, **prompt})
    broken = FaithfulGraph(usual).infer(feed)["masks"][0].astype(np.float32)
    assert not np.isfinite(broken).all() or together(broken, expected) < 0.5
    ours = lower_decoder(trace_decoder(model), "fp16", 1, SLOTS).model
    found, _ = emulated(ours, prompt)
    assert np.isfinite(found).all() and together(found, expected) >= 0.99


def compiled(model: onnx.ModelProto) -> int:
    """Kernels of the plan for sm86, at the lowest optimisation level."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        onnx.save(model, folder / "graph.onnx")
        COMPILER.compile(Job(folder / "graph.onnx", folder, "fp16", "sm86", level=0), silent)
        return len(read_plan(folder).working)


@pytest.mark.slow
@pytest.mark.parametrize("prompts", [1, 8, 64])
def test_tensorrt_rtx_compiles_the_decoder(prompts):
    assert compiled(lower_decoder(trace_decoder(golden_model("l0-sam")), "fp16", prompts, SLOTS).model) < 150


@pytest.mark.slow
@pytest.mark.parametrize("name", SAM_MODELS)
def test_every_encoder_compiles_and_its_masks_are_pytorch_s(name):
    """From a picture to masks by both typed graphs, emulated."""
    settle_vector_library()
    model, rules = golden_model(name), preprocess_rules(find_model(name))
    picture, side = golden_image("a"), model.image_size
    size = np.array([fitted_size(picture.shape, side)], np.int32)
    canvas = fit_frame(picture, rules, side, side)[None]
    normalised = normalise(canvas, rules)
    normalised[:, :, size[0, 0] :], normalised[:, :, :, size[0, 1] :] = 0, 0
    with torch.inference_mode(), EncoderPeaks(model) as peaks:
        embedding = model(torch.from_numpy(normalised))
    encoder = lower(trace_encoder(model, rules, peaks=peaks), "fp16", "conv").model
    assert compiled(encoder) < 300
    found = FaithfulGraph(encoder).infer({"image": canvas, "size": size})["embedding"]
    assert np.isfinite(found).all()
    assert np.linalg.norm(found - embedding.numpy()) <= 1e-2 * np.linalg.norm(embedding.numpy())
    for prompt in (arrays(PROMPTS[kind]) for kind in ("point", "box")):
        given = [
            None if prompt.get(key) is None else torch.from_numpy(prompt[key]) for key in ("coords", "labels", "box")
        ]
        with torch.inference_mode():
            expected, _ = model.decode(embedding, *given)
        decoded, _ = emulated(lower_decoder(trace_decoder(model), "fp16", 1, SLOTS).model, prompt, found)
        assert np.isfinite(decoded).all()
        assert together(decoded, expected[0].numpy()) >= 0.99
