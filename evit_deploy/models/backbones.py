# SPDX-License-Identifier: Apache-2.0
"""The backbone families: B (depthwise, for small machines), L and XL (fused convolutions, for fast GPUs).

A backbone maps an image [B, 3, H, W] to its feature maps by stage: stage s has stride 2^(s+1), so stage 4, the last
of B and L, has stride 32; XL has a stage 5 of stride 64. Attention stands where the map is small: B from stage 3 on,
L in stage 4 only, XL from stage 4 on.
Widths, depths and ratios: arXiv 2205.14756, table 1 (B, L); arXiv 2402.05008, figure 3 (XL); the authors' released
checkpoints.
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
        family: "b", "l" or "xl".
        widths: Channels of stage 0 (stem) to the last.
        depths: Blocks of the same stages. B counts the strided block of stages 1 and 2, L and XL never do.
        head_dim: Channels of an attention head.
        norm_eps: Epsilon of every BatchNorm and LayerNorm of the model. It goes with the checkpoint, not with the
            family, so `evit_deploy.models.build.build_model` sets it from the zoo's entry.
    """

    family: str
    widths: tuple[int, ...]
    depths: tuple[int, ...]
    head_dim: int
    norm_eps: float = 1e-5

    @property
    def activation(self) -> Activation:
        """Activation of the whole network."""
        return hard_swish if self.family == "b" else gelu


BACKBONES = {
    "b0": BackboneSpec("b", (8, 16, 32, 64, 128), (1, 2, 2, 2, 2), 16),
    "b1": BackboneSpec("b", (16, 32, 64, 128, 256), (1, 2, 3, 3, 4), 16),
    "b2": BackboneSpec("b", (24, 48, 96, 192, 384), (1, 3, 4, 4, 6), 32),
    "b3": BackboneSpec("b", (32, 64, 128, 256, 512), (1, 4, 6, 6, 9), 32),
    "l0": BackboneSpec("l", (32, 64, 128, 256, 512), (1, 1, 1, 4, 4), 32),
    "l1": BackboneSpec("l", (32, 64, 128, 256, 512), (1, 1, 1, 6, 6), 32),
    "l2": BackboneSpec("l", (32, 64, 128, 256, 512), (1, 2, 2, 8, 8), 32),
    "l3": BackboneSpec("l", (64, 128, 256, 512, 1024), (1, 2, 2, 8, 8), 32),
    "xl0": BackboneSpec("xl", (32, 64, 128, 256, 512, 1024), (0, 1, 1, 2, 3, 3), 32),
    "xl1": BackboneSpec("xl", (32, 64, 128, 256, 512, 1024), (1, 2, 2, 4, 6, 6), 32),
}


@dataclass(frozen=True)
class StageSpec:
    """What one stage of an L or XL backbone is made of.

    Attributes:
        block: "fused", "mbconv" or "attention" (a strided MBConv, then EfficientViT blocks).
        first: Expansion of the strided block.
        expand: Expansion of the blocks behind it.
    """

    block: str
    first: int
    expand: int


_FUSED = StageSpec("fused", 16, 4)
_LARGE_STAGES = {  # stages 1 to the last
    "l": (_FUSED, _FUSED, StageSpec("mbconv", 16, 4), StageSpec("attention", 24, 6)),
    "xl": (_FUSED, _FUSED, _FUSED, StageSpec("attention", 16, 4), StageSpec("attention", 24, 6)),
}
_KERNEL = {"b": 5, "l": 5, "xl": 3}  # side of the attention's depthwise convolution


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
            same_attention = [_attention_block(spec, width, expand=4) for _ in range(depth)]
            self.stages.append(Chain([Residual(down, shortcut=False), *same_attention]))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Map [B, 3, H, W] to {"stage0": [B, C0, H/2, W/2], …, "stage4": [B, C4, H/32, W/32]}."""
        return _run_stages([self.input_stem, *self.stages], x)


class BackboneL(nn.Module):
    """Dense stem, FusedMBConv stages, attention at the end; L has one MBConv stage in between (families L and XL)."""

    def __init__(self, spec: BackboneSpec) -> None:
        super().__init__()
        eps, act, widths, depths = spec.norm_eps, spec.activation, spec.widths, spec.depths
        stem: list[nn.Module] = [ConvLayer(3, widths[0], 3, stride=2, norm_eps=eps, activation=act)]
        stem += [Residual(ResBlock(widths[0], eps, act)) for _ in range(depths[0])]
        self.stages = nn.ModuleList([Chain(stem)])
        for stage, inputs, width, depth in zip(
            _LARGE_STAGES[spec.family], widths[:-1], widths[1:], depths[1:], strict=True
        ):
            down = _large_block(spec, stage, inputs, width, stage.first, stride=2)
            same = [self._same(spec, stage, width) for _ in range(depth)]
            self.stages.append(Chain([Residual(down, shortcut=False), *same]))

    @staticmethod
    def _same(spec: BackboneSpec, stage: StageSpec, width: int) -> nn.Module:
        if stage.block == "attention":
            return _attention_block(spec, width, expand=stage.expand)
        return Residual(_large_block(spec, stage, width, width, stage.expand))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Map [B, 3, H, W] to {"stage0": [B, C0, H/2, W/2], …} up to the last stage."""
        return _run_stages(self.stages, x)


def _large_block(
    spec: BackboneSpec, stage: StageSpec, inputs: int, width: int, expand: int, *, stride: int = 1
) -> nn.Module:
    eps, act = spec.norm_eps, spec.activation
    if stage.block == "fused":
        return FusedMBConv(inputs, width, expand, stride=stride, norm_eps=eps, activation=act)
    return MBConv(inputs, width, expand, stride=stride, norm_eps=eps, activation=act, bias_inside=True)


def _attention_block(spec: BackboneSpec, width: int, *, expand: int) -> nn.Module:
    attention = MultiScaleLinearAttention(width, spec.head_dim, _KERNEL[spec.family], spec.norm_eps)
    local = MBConv(width, width, expand, norm_eps=spec.norm_eps, activation=spec.activation, bias_inside=True)
    return EfficientViTBlock(attention, local)


def _run_stages(stages: nn.ModuleList | list[nn.Module], x: Tensor) -> dict[str, Tensor]:
    features = {}
    for index, stage in enumerate(stages):
        x = stage(x)
        features[f"stage{index}"] = x
    return features
