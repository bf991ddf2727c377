# SPDX-License-Identifier: Apache-2.0
"""Typed graphs of zoo models without their weights: a plan depends on shapes only, so any numbers will do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from evit_deploy.engines.lowering import Fixed
from evit_deploy.errors import extra
from evit_deploy.models.zoo import ModelSpec

if TYPE_CHECKING:
    import onnx
    from torch import nn

ATTENTION = "conv"
"""Arrangement of the attention that GPUs are built with."""


def whole_graph(spec: ModelSpec, resolution: tuple[int, int], output: str, batch: int) -> onnx.ModelProto:
    """The FP16 graph of a classifier, a segmenter or an image encoder, as ``evit-deploy build`` gives it to a compiler.

    Args:
        spec: The model.
        resolution: (height, width).
        output: "classes", "confidence", "logits"; "embedding" of an image encoder.
        batch: Frames per run.

    Raises:
        MissingExtraError: PyTorch or onnx is not installed.
    """
    with extra("export", "Tracing a model"):
        from evit_deploy.export.exporter import preprocess_rules
        from evit_deploy.export.graph import LOGITS, trace_deployed
        from evit_deploy.export.sam.encoder import trace_encoder
        from evit_deploy.export.trace import hide_output
        from evit_deploy.models.sam import SegmentAnything
        from evit_deploy.precision.lower import lower
    model, rules = unweighted(spec), preprocess_rules(spec)
    if isinstance(model, SegmentAnything):
        graph = trace_encoder(model, rules, batch=(batch, batch))
    else:
        graph = trace_deployed(model, rules, resolution, "image", output, batch=(batch, batch))
        if output != LOGITS:
            hide_output(graph, LOGITS)
    return lower(graph, "fp16", ATTENTION).model


def decoder_graph(spec: ModelSpec, fixed: Fixed) -> onnx.ModelProto:
    """The FP16 graph of a mask decoder of fixed sizes, as ``evit-deploy build`` gives it to a compiler.

    Raises:
        MissingExtraError: PyTorch or onnx is not installed.
    """
    with extra("export", "Tracing a model"):
        from evit_deploy.export.sam.decoder import trace_decoder
        from evit_deploy.precision.lower import lower_decoder
    return lower_decoder(trace_decoder(unweighted(spec)), "fp16", fixed.prompts, fixed.slots).model  # type: ignore[arg-type]


def plain_graph(spec: ModelSpec, resolution: tuple[int, int]) -> onnx.ModelProto:
    """The FP16 graph of the reference's export, FP32 in and out; see `evit_deploy.export.plain`."""
    with extra("export", "Tracing a model"):
        from evit_deploy.export.plain import trace_plain
        from evit_deploy.precision.fp16 import lower_fp16
    return lower_fp16(trace_plain(unweighted(spec), resolution), "fp32")[0]


def plain_decoder_graph(spec: ModelSpec) -> onnx.ModelProto:
    """The same of the mask decoder, for one prompt of one point."""
    with extra("export", "Tracing a model"):
        from evit_deploy.export.plain import trace_plain_decoder
        from evit_deploy.precision.fp16 import lower_fp16
    return lower_fp16(trace_plain_decoder(unweighted(spec)), "fp32")[0]  # type: ignore[arg-type]


def unweighted(spec: ModelSpec) -> nn.Module:
    """A model with small numbers for weights, which no type overflows on."""
    import torch

    from evit_deploy.models.build import build_model

    model = build_model(spec)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, tensor in (*model.named_parameters(), *model.named_buffers()):
            if name.endswith(("running_var", "norm.weight")):
                tensor.fill_(1.0)
            elif tensor.is_floating_point():
                tensor.uniform_(-0.02, 0.02, generator=generator)
    return model.eval()
