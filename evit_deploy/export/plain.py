# SPDX-License-Identifier: Apache-2.0
"""The graph that one gets by exporting the reference implementation as it stands, to compare with.

Float NCHW in, logits or an embedding out; attention with a row of ones under V, sums over all tokens and an epsilon;
Segment Anything with the resize from 64×64 to 64×64 that the reference cannot leave out. FP16 breaks it.
"""

from __future__ import annotations

import onnx
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from evit_deploy.export.rewrite import StaticAttention
from evit_deploy.export.trace import trace
from evit_deploy.models.attention import EPSILON, MultiScaleLinearAttention
from evit_deploy.models.sam import SegmentAnything


class PlainAttention(StaticAttention):
    """The reference's attention as it is usually exported: a row of ones under v, sums over all tokens, an epsilon."""

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, C, H, W] to [B, C, H, W]."""
        height, width = int(x.shape[2]), int(x.shape[3])
        fine = self.qkv(x)
        scales = torch.cat([fine, self.aggreg[0](fine)], dim=1)
        channels, dim = int(scales.shape[1]), self.head_dim
        q, k, v = scales.reshape(-1, channels // (3 * dim), 3 * dim, height * width).chunk(3, dim=2)
        sums = F.pad(v, (0, 0, 0, 1), value=1.0) @ k.relu().transpose(2, 3) @ q.relu()
        out = sums[:, :, :-1] / (sums[:, :, -1:] + EPSILON)
        return self.proj(out.reshape(-1, channels // 3, height, width))  # type: ignore[no-any-return]


class _Resized(nn.Module):
    """A block and the reference's resize after it, which changes nothing."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block = block

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.block(x)
        return F.interpolate(found, size=found.shape[-2:], mode="bicubic", align_corners=False)


class _Decoder(nn.Module):
    """Points to the three masks of an ambiguous prompt, as the reference exports it."""

    def __init__(self, model: SegmentAnything) -> None:
        super().__init__()
        self.model = model

    def forward(self, embedding: Tensor, coords: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        masks, iou = self.model.decode(embedding, coords, labels)
        return masks[:, 1:], iou[:, 1:]


def trace_plain(model: nn.Module, resolution: tuple[int, int]) -> onnx.ModelProto:
    """Trace a model, or the image encoder of a Segment Anything model, at batch 1 and opset 17. Changes the model."""
    network = model.image_encoder if isinstance(model, SegmentAnything) else model
    if isinstance(model, SegmentAnything):
        finest = model.image_encoder.neck.input_ops
        finest[-1] = _Resized(finest[-1])
    for module in list(network.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, MultiScaleLinearAttention):
                setattr(module, name, PlainAttention(child))
    return trace(network, torch.zeros(1, 3, *resolution), ("logits",), 17, dynamic_batch=False)


def trace_plain_decoder(model: SegmentAnything) -> onnx.ModelProto:
    """Trace prompt encoder and mask decoder for one prompt of one point."""
    example = {"embedding": torch.zeros(1, 256, 64, 64), "coords": torch.zeros(1, 1, 2), "labels": torch.ones(1, 1)}
    return trace(_Decoder(model), example, ("masks", "iou"), 17, dynamic_batch=False)
