# SPDX-License-Identifier: Apache-2.0
"""Rewrites of the network that keep its numbers and make its graph simple.

The trace of the model as it stands carries shape arithmetic, padding tricks and slow operators, and in FP16 it
overflows and divides zero by zero. Each rewrite here is exact algebra in FP32, for one fixed image size, and keeps
what it rewrites within FP16's range (docs/numerics.md derives the bounds):

* BatchNorm is folded into the convolution in front of it (in FP64, then rounded once).
* The attention is a convex combination of convex combinations, on static shapes (`StaticAttention`).
* GELU and LayerNorm are written so that nothing in them grows (`BoundedGelu`, `ScaleFreeLayerNorm`).
* Bicubic upsampling by a whole factor f is a 5×5 convolution with f² outputs, one per sub-pixel position, and a
  DepthToSpace. ``Resize(mode="cubic")`` gives the same numbers, but ONNX Runtime computes it one pixel at a time:
  19 classes to 512×1024 take 876 ms there and 24 ms as a convolution (docs/performance.md).
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from evit_deploy.export.peaks import Peaks, balance
from evit_deploy.models.attention import MultiScaleLinearAttention
from evit_deploy.models.blocks import ConvLayer, Upsample
from evit_deploy.models.sam.layers import LayerNorm2d

ATTENTION_BOUND = 1000.0
"""Largest |q|, |k| and |v| for which no value of the attention leaves FP16's range."""

LIFT = 64.0
"""Power of two that moves small values up: LIFT · ATTENTION_BOUND, rounding included, stays below 65,504."""


def deployable(model: nn.Module, peaks: Peaks | None = None) -> nn.Module:
    """A copy of a model in eval mode with all rewrites applied; the original stays as it is.

    Args:
        model: A network as built.
        peaks: What `evit_deploy.export.peaks.record_peaks` saw, to balance the attention by; None leaves it.
    """
    model = copy.deepcopy(model).eval()
    for layer in [module for module in model.modules() if isinstance(module, ConvLayer)]:
        fold_norm(layer)
    for name, module in list(model.named_modules()):
        if isinstance(module, MultiScaleLinearAttention) and peaks and name in peaks:
            balance(module, peaks[name])
        for part, child in list(module.named_children()):
            if isinstance(child, MultiScaleLinearAttention):
                setattr(module, part, StaticAttention(child))
            elif isinstance(child, Upsample):
                setattr(module, part, PhaseUpsample(child.factor))
            elif isinstance(child, nn.GELU):
                setattr(module, part, BoundedGelu())
            elif isinstance(child, nn.LayerNorm):
                setattr(module, part, ScaleFreeLayerNorm(child))
            elif isinstance(child, LayerNorm2d):
                setattr(module, part, ScaleFreeLayerNorm2d(child))
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
    """`MultiScaleLinearAttention` with every shape but the batch fixed when traced, and safe in FP16.

    With q and k rectified, the reference divides Σ_j (q_i·k_j) v_j by Σ_j (q_i·k_j). Both sums run over all tokens and
    overflow in FP16; the quotient cannot, because it is an average of the v_j. Here only averages are ever formed::

        K_cj = k_cj / Σ_j k_cj            each channel of k: weights over the tokens, of sum 1
        A_c  = Σ_j K_cj v_j               so A_c is an average of the values
        W_ic = q_ic s_c / Σ_c q_ic s_c    with s_c = Σ_j k_cj: each token's weights over the channels, of sum 1
        o_i  = Σ_c W_ic A_c               an average of averages

    Powers of two that cancel keep K, A and W away from the lower end of FP16 too. Where a sum is zero, so is what is
    divided by it, and 1 takes its place: no epsilon. Safe for |q|, |k|, |v| ≤ `ATTENTION_BOUND` (docs/numerics.md).
    """

    def __init__(self, attention: MultiScaleLinearAttention) -> None:
        super().__init__()
        self.head_dim = attention.head_dim
        self.qkv, self.aggreg, self.proj = attention.qkv, attention.aggreg, attention.proj

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, C, H, W] to [B, C, H, W]."""
        height, width = int(x.shape[2]), int(x.shape[3])
        tokens, dim = height * width, self.head_dim
        scale = TokenScale.of(tokens)
        fine = self.qkv(x)
        scales = torch.cat([fine, self.aggreg[0](fine)], dim=1)
        heads = int(scales.shape[1]) // (3 * dim)
        q, k, v = scales.reshape(-1, heads, 3 * dim, tokens).chunk(3, dim=2)  # each [B, heads, d, N]
        k = k.relu() * LIFT
        mean = k.mean(dim=3, keepdim=True)  # [B, heads, d, 1]
        divisor = nonzero(mean if scale.filled == 1 else mean * scale.filled)
        weights = (k if scale.shift == 1 else k * scale.shift) / divisor * scale.weight  # Σ over tokens: LIFT
        values = (v @ weights.transpose(2, 3)) / LIFT  # [B, heads, d, d]
        share = mean / nonzero(mean.amax(dim=2, keepdim=True)) * (LIFT / dim)
        mixed = q.relu() * share
        mixed = mixed / nonzero(mixed.sum(dim=2, keepdim=True))  # Σ over channels: 1
        out = (values @ mixed).reshape(-1, heads * dim, height, width)
        conv = self.proj.conv
        return F.conv2d(out, conv.weight * scale.correction, conv.bias)


@dataclass(frozen=True)
class TokenScale:
    """Constants of the attention that depend on the number of tokens N only; all exact in FP16.

    Attributes:
        weight: LIFT divided by the power of two P next above N, and by `shift`.
        filled: N / P, rounded to FP16: dividing by mean · filled instead of the mean makes `weight` a power of two.
        shift: Power of two that keeps k / (mean · filled) ≤ P within 2^15.
        correction: What the rounding of `filled` left, 1 unless N has an odd factor above 2048; for the projection.
    """

    weight: float
    filled: float
    shift: float
    correction: float

    @classmethod
    def of(cls, tokens: int) -> TokenScale:
        """The constants for N tokens."""
        power = 2.0 ** math.ceil(math.log2(tokens))
        shift = min(1.0, 2.0**15 / power)
        filled = float(np.float16(tokens / power))
        return cls(LIFT / power / shift, filled, shift, filled * power / tokens)


def nonzero(x: Tensor) -> Tensor:
    """x where it is positive, else 1: a divisor for what is zero wherever x is."""
    return torch.where(x > 0, x, torch.ones(()))  # not ones_like: that traces to shape arithmetic


class BoundedGelu(nn.Module):
    """GELU in its tanh form as x · sigmoid(2z), z a polynomial of x clipped to ±10.

    ½ (1 + tanh z) = sigmoid(2z), which keeps its relative precision for negative z where 1 + tanh z cancels. Beyond ±10
    the sigmoid is 0 or 1 to the last bit of FP32, and without the clip x³ leaves FP16 from |x| = 40.

    Args:
        unit: Power of two that input and output are given in: u / unit becomes GELU(u) / unit, exactly as with unit 1.
    """

    def __init__(self, unit: float = 1.0) -> None:
        super().__init__()
        self.unit = unit

    def forward(self, x: Tensor) -> Tensor:
        """Map any shape to the same shape."""
        bounded = x.clamp(-10.0 / self.unit, 10.0 / self.unit)
        if self.unit != 1:
            bounded = bounded * self.unit
        slope = 2 * math.sqrt(2 / math.pi)
        return x * torch.sigmoid(bounded * (bounded * bounded * (0.044715 * slope) + slope))


class ScaleFreeLayerNorm(nn.Module):
    """LayerNorm over the last dimension, divided by its largest deviation before it is squared.

    (x - μ) / σ does not change when x is scaled, so the squares are taken of values within ±1, where squaring x itself
    leaves FP16 beyond |x| = 255. Safe for |x| ≤ 32,000. The divisor's floor is felt by no one: ε is far larger there.
    """

    def __init__(self, norm: nn.LayerNorm) -> None:
        super().__init__()
        self.weight, self.bias, self.root = norm.weight, norm.bias, math.sqrt(norm.eps)

    def forward(self, x: Tensor) -> Tensor:
        """Map [..., n] to [..., n]."""
        centred = x - x.mean(dim=-1, keepdim=True)
        largest = centred.abs().amax(dim=-1, keepdim=True).clamp(min=torch.finfo(torch.float16).smallest_normal)
        unit = centred / largest
        root = self.root / largest  # √ε in the same unit
        deviation = ((unit * unit).mean(dim=-1, keepdim=True) + root * root).sqrt()
        return unit / deviation * self.weight + self.bias


class ScaleFreeLayerNorm2d(nn.Module):
    """`ScaleFreeLayerNorm` over the channels of every position of a map.

    Args:
        norm: What it replaces.
        unit: Power of two that the input is given in: its epsilon is of the same unit, squared.
    """

    def __init__(self, norm: LayerNorm2d, unit: float = 1.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(norm.weight[:, None, None])
        self.bias = nn.Parameter(norm.bias[:, None, None])
        self.root = math.sqrt(norm.eps) / unit

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, C, H, W] to [B, C, H, W]."""
        centred = x - x.mean(dim=1, keepdim=True)
        largest = centred.abs().amax(dim=1, keepdim=True).clamp(min=torch.finfo(torch.float16).smallest_normal)
        unit = centred / largest
        root = self.root / largest  # √ε in the same unit
        deviation = ((unit * unit).mean(dim=1, keepdim=True) + root * root).sqrt()
        return unit / deviation * self.weight + self.bias


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
