# SPDX-License-Identifier: Apache-2.0
"""A small model of Segment Anything, of the real structure, whose encoder runs in milliseconds."""

from __future__ import annotations

import torch
from torch import Tensor

from evit_deploy.export.options import preprocess_rules
from evit_deploy.export.reference import settle_vector_library
from evit_deploy.models import find_model
from evit_deploy.models.backbones import BackboneSpec
from evit_deploy.models.sam import ImageEncoder, SegmentAnything
from evit_deploy.models.weights import initial_state
from evit_deploy.models.zoo import SamHeadSpec

SIDE = 128
RULES = preprocess_rules(find_model("l0-sam"))


def small_model(family: str = "l", seed: int = 0) -> SegmentAnything:
    """A model with random weights whose encoder takes 128x128 pixels, in eval mode."""
    settle_vector_library()
    widths = (8, 16, 16, 32, 64) if family == "l" else (8, 8, 16, 16, 32, 64)
    spec = BackboneSpec(family, widths, (1,) * len(widths), 32, norm_eps=1e-6)
    model = SegmentAnything(spec, SamHeadSpec(1, 2), SIDE).eval().requires_grad_(False)
    model.load_state_dict(dict(initial_state(model, seed)))
    return model


def picture(seed: int = 0) -> Tensor:
    """A normalised image [1, 3, 128, 128]."""
    return torch.randn(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(seed))


def inflate_streams(encoder: ImageEncoder, factor: float) -> None:
    """Make every residual stream behind the stem `factor` times as large; what reads one divides by as much."""
    for stage in encoder.backbone.stages[1:]:
        for index, block in enumerate(_mains(stage)):
            _scale_norm(block[-1], factor)
            if index or stage is not encoder.backbone.stages[1]:
                block[0].conv.weight.div_(factor)
    for chain in encoder.neck.input_ops:
        chain.op_list[0].conv.weight.div_(factor)
        _scale_norm(chain.op_list[0], factor)
    for block in _mains(encoder.neck.middle):
        block[0].conv.weight.div_(factor)
        _scale_norm(block[-1], factor)
    encoder.neck.output_ops[0].op_list[0].conv.weight.div_(factor)


def inflate_hidden(encoder: ImageEncoder, factor: float) -> None:
    """Make the layer in front of every block's last convolution `factor` times as large (GELU becomes ReLU)."""
    for stage in (*encoder.backbone.stages, encoder.neck.middle):
        for block in _mains(stage):
            if len(block) > 1 and block[-2].act is not None:
                _scale_norm(block[-2], factor)
                block[-1].conv.weight.div_(factor)


def inflate_output(encoder: ImageEncoder, factor: float) -> None:
    """Make what the last LayerNorm reads `factor` times as large."""
    conv = encoder.neck.output_ops[0].op_list[0].conv
    conv.weight.mul_(factor)
    conv.bias.mul_(factor)


def _mains(stage):
    """Convolution layers of every block of a stage, first and last where the stream is read and written."""
    found = []
    for part in stage.op_list:
        if hasattr(part, "context_module"):
            attention = part.context_module.main
            found += [[attention.qkv, attention.proj], list(part.local_module.main.children())]
        elif hasattr(part, "main"):
            found.append(list(part.main.children()))
    return found


def _scale_norm(layer, factor: float) -> None:
    if layer.norm is None:
        layer.conv.weight.mul_(factor)
        layer.conv.bias.mul_(factor)
    else:
        layer.norm.weight.mul_(factor)
        layer.norm.bias.mul_(factor)
