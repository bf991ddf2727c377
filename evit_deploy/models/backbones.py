# SPDX-License-Identifier: Apache-2.0
"""The two backbone families: B (depthwise, for small machines) and L (fused convolutions, for fast GPUs).

A backbone maps an image [B, 3, H, W] to its feature maps by stage: stage s has stride 2^(s+1), so stage 4, the last,
has stride 32. Attention stands where the map is small: B from stage 3 on, L in stage 4 only.
Widths, depths and ratios: arXiv 2205.14756, table 1 and the authors' released checkpoints.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from evit_deploy.models.attention import MultiScaleLinearAttention
from evit_deploy.models.blocks import (
    Activation,
    Chain,
    ConvLayer,
    DSConv,
    EfficientViTBlock,
    FusedMBConv,
    MBConv,
    ResBlock,
    Residual,
    gelu,
    hard_swish,
)


@dataclass(frozen=True)
class BackboneSpec:
    """One backbone.

    Attributes:
        family: "b" or "l".
        widths: Channels of stage 0 (stem) to 4.
        depths: Blocks of stage 0 to 4. B counts the strided block of stages 1 and 2, L never does.
        head_dim: Channels of an attention head.
    """

    family: str
    widths: tuple[int, int, int, int, int]
    depths: tuple[int, int, int, int, int]
    head_dim: int

    @property
    def activation(self) -> Activation:
        """Activation of the whole network."""
        return hard_swish if self.family == "b" else gelu

    @property
    def norm_eps(self) -> float:
        """Epsilon of every BatchNorm and LayerNorm (the L checkpoints were trained with 1e-7)."""
        return 1e-5 if self.family == "b" else 1e-7


BACKBONES = {
    "b0": BackboneSpec("b", (8, 16, 32, 64, 128), (1, 2, 2, 2, 2), 16),
    "b1": BackboneSpec("b", (16, 32, 64, 128, 256), (1, 2, 3, 3, 4), 16),
    "b2": BackboneSpec("b", (24, 48, 96, 192, 384), (1, 3, 4, 4, 6), 32),
    "b3": BackboneSpec("b", (32, 64, 128, 256, 512), (1, 4, 6, 6, 9), 32),
    "l1": BackboneSpec("l", (32, 64, 128, 256, 512), (1, 1, 1, 6, 6), 32),
    "l2": BackboneSpec("l", (32, 64, 128, 256, 512), (1, 2, 2, 8, 8), 32),
    "l3": BackboneSpec("l", (64, 128, 256, 512, 1024), (1, 2, 2, 8, 8), 32),
}


def build_backbone(spec: BackboneSpec) -> nn.Module:
    """Build the backbone of a spec, with untrained weights."""
    return BackboneB(spec) if spec.family == "b" else BackboneL(spec)


class BackboneB(nn.Module):
    """Stem of depthwise separable blocks, two MBConv stages, two attention stages."""

    def __init__(self, spec: BackboneSpec) -> None:
        super().__init__()
        eps, act, widths, depths = spec.norm_eps, spec.activation, spec.widths, spec.depths
        stem: list[nn.Module] = [ConvLayer(3, widths[0], 3, stride=2, norm_eps=eps, activation=act)]
        stem += [Residual(DSConv(widths[0], widths[0], eps, act)) for _ in range(depths[0])]
        self.input_stem = Chain(stem)
        self.stages = nn.ModuleList()
        for inputs, width, depth in zip(widths[:2], widths[1:3], depths[1:3], strict=True):
            down = MBConv(inputs, width, 4, stride=2, norm_eps=eps, activation=act)
            same = [Residual(MBConv(width, width, 4, norm_eps=eps, activation=act)) for _ in range(depth - 1)]
            self.stages.append(Chain([Residual(down, shortcut=False), *same]))
        for inputs, width, depth in zip(widths[2:4], widths[3:], depths[3:], strict=True):
            down = MBConv(inputs, width, 4, stride=2, norm_eps=eps, activation=act, bias_inside=True)
            same_attention = [_attention_block(spec, width, kernel_size=5, expand=4) for _ in range(depth)]
            self.stages.append(Chain([Residual(down, shortcut=False), *same_attention]))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Map [B, 3, H, W] to {"stage0": [B, C0, H/2, W/2], …, "stage4": [B, C4, H/32, W/32]}."""
        return _run_stages([self.input_stem, *self.stages], x)


class BackboneL(nn.Module):
    """Dense stem, two FusedMBConv stages, one MBConv stage, one attention stage."""

    def __init__(self, spec: BackboneSpec) -> None:
        super().__init__()
        eps, act, widths, depths = spec.norm_eps, spec.activation, spec.widths, spec.depths
        stem: list[nn.Module] = [ConvLayer(3, widths[0], 3, stride=2, norm_eps=eps, activation=act)]
        stem += [Residual(ResBlock(widths[0], eps, act)) for _ in range(depths[0])]
        self.stages = nn.ModuleList([Chain(stem)])
        for inputs, width, depth in zip(widths[:2], widths[1:3], depths[1:3], strict=True):
            down: nn.Module = FusedMBConv(inputs, width, 16, stride=2, norm_eps=eps, activation=act)
            same = [Residual(FusedMBConv(width, width, 4, norm_eps=eps, activation=act)) for _ in range(depth)]
            self.stages.append(Chain([Residual(down, shortcut=False), *same]))
        down = MBConv(widths[2], widths[3], 16, stride=2, norm_eps=eps, activation=act, bias_inside=True)
        same = [
            Residual(MBConv(widths[3], widths[3], 4, norm_eps=eps, activation=act, bias_inside=True))
            for _ in range(depths[3])
        ]
        self.stages.append(Chain([Residual(down, shortcut=False), *same]))
        down = MBConv(widths[3], widths[4], 24, stride=2, norm_eps=eps, activation=act, bias_inside=True)
        attention = [_attention_block(spec, widths[4], kernel_size=5, expand=6) for _ in range(depths[4])]
        self.stages.append(Chain([Residual(down, shortcut=False), *attention]))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Map [B, 3, H, W] to {"stage0": [B, C0, H/2, W/2], …, "stage4": [B, C4, H/32, W/32]}."""
        return _run_stages(self.stages, x)


def _attention_block(spec: BackboneSpec, width: int, *, kernel_size: int, expand: int) -> nn.Module:
    attention = MultiScaleLinearAttention(width, spec.head_dim, kernel_size, spec.norm_eps)
    local = MBConv(width, width, expand, norm_eps=spec.norm_eps, activation=spec.activation, bias_inside=True)
    return EfficientViTBlock(attention, local)


def _run_stages(stages: nn.ModuleList | list[nn.Module], x: Tensor) -> dict[str, Tensor]:
    features = {}
    for index, stage in enumerate(stages):
        x = stage(x)
        features[f"stage{index}"] = x
    return features
