# SPDX-License-Identifier: Apache-2.0
"""Rewrites of the network that keep its numbers and make its graph simple.

The trace of the model as it stands carries shape arithmetic, padding tricks and slow operators. Each rewrite here is
exact algebra in FP32, for one fixed image size:

* BatchNorm is folded into the convolution in front of it (in FP64, then rounded once).
* The attention works on static shapes, and its normaliser is a sum of its own instead of a row of ones padded to V.
* Bicubic upsampling by a whole factor f is a 5×5 convolution with f² outputs, one per sub-pixel position, and a
  DepthToSpace. ``Resize(mode="cubic")`` gives the same numbers, but ONNX Runtime computes it one pixel at a time:
  19 classes to 512×1024 take 876 ms there and 24 ms as a convolution (docs/performance.md).
"""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from evit_deploy.models.attention import EPSILON, MultiScaleLinearAttention
from evit_deploy.models.blocks import ConvLayer, Upsample


def deployable(model: nn.Module) -> nn.Module:
    """A copy of a model in eval mode with all rewrites applied; the original stays as it is."""
    model = copy.deepcopy(model).eval()
    for module in list(model.modules()):
        if isinstance(module, ConvLayer):
            fold_norm(module)
        for name, child in list(module.named_children()):
            if isinstance(child, MultiScaleLinearAttention):
                setattr(module, name, StaticAttention(child))
            elif isinstance(child, Upsample):
                setattr(module, name, PhaseUpsample(child.factor))
    return model


def fold_norm(layer: ConvLayer) -> None:
    """Fold a layer's BatchNorm into its convolution."""
    if layer.norm is not None:
        layer.conv = fuse_conv_bn_eval(layer.conv.double(), layer.norm.double()).float()
        layer.norm = None


def fold_input_scale(model: nn.Module, scale: Tensor) -> None:
    """Multiply the first convolution's weights per input channel, so that it takes unscaled input.

    Exact also at the border: the padding is zero before and after scaling.

    Args:
        model: A model whose first layer is a `ConvLayer` without BatchNorm.
        scale: float [3].
    """
    stem = next(module for module in model.modules() if isinstance(module, ConvLayer))
    with torch.no_grad():
        stem.conv.weight.copy_((stem.conv.weight.double() * scale.double().view(1, -1, 1, 1)).float())


class StaticAttention(nn.Module):
    """`MultiScaleLinearAttention` with every shape but the batch fixed when traced."""

    def __init__(self, attention: MultiScaleLinearAttention) -> None:
        super().__init__()
        self.head_dim = attention.head_dim
        self.qkv, self.aggreg, self.proj = attention.qkv, attention.aggreg, attention.proj

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, C, H, W] to [B, C, H, W]."""
        height, width = int(x.shape[2]), int(x.shape[3])
        fine = self.qkv(x)
        scales = torch.cat([fine, self.aggreg[0](fine)], dim=1)
        heads = int(scales.shape[1]) // (3 * self.head_dim)
        scales = scales.reshape(-1, heads, 3 * self.head_dim, height * width)
        q, k, v = scales.chunk(3, dim=2)  # each [B, heads, d, N]
        q, k = q.relu(), k.relu()
        kv = v @ k.transpose(-1, -2)  # [B, heads, d, d]
        total = k.sum(dim=-1, keepdim=True).transpose(-1, -2)  # [B, heads, 1, d]
        out = (kv @ q) / (total @ q + EPSILON)
        return self.proj(out.reshape(-1, heads * self.head_dim, height, width))  # type: ignore[no-any-return]


class PhaseUpsample(nn.Module):
    """Bicubic upsampling by a whole factor, exactly `evit_deploy.models.blocks.Upsample`."""

    kernel: Tensor

    def __init__(self, factor: int) -> None:
        super().__init__()
        self.factor = factor
        self.register_buffer("kernel", phase_kernel(factor))

    def phases(self, x: Tensor) -> Tensor:
        """Map [B, C, H, W] to [B · C, factor², H, W]: all sub-pixel positions of every pixel."""
        _, height, width = (int(size) for size in x.shape[1:])
        padded = F.pad(x, (2, 2, 2, 2), mode="replicate")
        return F.conv2d(padded.reshape(-1, 1, height + 4, width + 4), self.kernel)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, C, H, W] to [B, C, H · factor, W · factor]."""
        channels, height, width = (int(size) for size in x.shape[1:])
        shuffled = F.pixel_shuffle(self.phases(x), self.factor)
        return shuffled.reshape(-1, channels, height * self.factor, width * self.factor)


def phase_kernel(factor: int) -> Tensor:
    """Weights [factor², 1, 5, 5] that make all sub-pixel positions of a pixel from its 5×5 neighbourhood.

    Position p of `factor` lies at (p + 0.5) / factor - 0.5 from the pixel's centre; its four cubic taps (Keys, 1981,
    a = -0.75, as PyTorch and OpenCV) fall within two pixels on either side. Repeating the border pixels, as the
    padding does, is what bicubic interpolation does there.
    """
    offset = (torch.arange(factor, dtype=torch.float64) + 0.5) / factor - 0.5
    distance = (torch.arange(-2, 3, dtype=torch.float64) - offset[:, None]).abs()
    near = (1.25 * distance - 2.25) * distance**2 + 1
    far = -0.75 * (((distance - 5) * distance + 8) * distance - 4)
    taps = torch.where(distance < 1, near, torch.where(distance < 2, far, torch.zeros_like(distance)))
    kernel = torch.einsum("ai,bj->abij", taps, taps)
    return kernel.reshape(factor * factor, 1, 5, 5).float()
