# SPDX-License-Identifier: Apache-2.0
"""The image encoder: backbone, a neck that fuses its last three stages at 64×64, and a LayerNorm over channels."""

from __future__ import annotations

from torch import Tensor, nn

from evit_deploy.models.backbones import BackboneSpec, build_backbone
from evit_deploy.models.blocks import Chain, ConvLayer, FusedMBConv, Residual, Upsample
from evit_deploy.models.sam.layers import EMBEDDING_CHANNELS, LayerNorm2d
from evit_deploy.models.zoo import SamHeadSpec


class Neck(nn.Module):
    """Fuses the backbone's last three stages at the finest of their sizes.

    The reference resizes all three to 64×64. The finest stage has that size already, so its resize is left out: it is
    the identity bit for bit.

    Args:
        spec: Blocks.
        backbone: The backbone in front.
    """

    def __init__(self, spec: SamHeadSpec, backbone: BackboneSpec) -> None:
        super().__init__()
        eps, act, width = backbone.norm_eps, backbone.activation, EMBEDDING_CHANNELS
        last = len(backbone.widths) - 1
        self.stages = [f"stage{index}" for index in (last, last - 1, last - 2)]
        self.input_ops = nn.ModuleList(
            Chain([ConvLayer(inputs, width, 1, norm_eps=eps), *([Upsample(factor)] if factor > 1 else [])])
            for inputs, factor in zip(reversed(backbone.widths[-3:]), (4, 2, 1), strict=True)
        )
        self.middle = Chain(
            [Residual(FusedMBConv(width, width, spec.expand, norm_eps=eps, activation=act)) for _ in range(spec.depth)]
        )
        self.output_ops = nn.ModuleList([Chain([ConvLayer(width, width, 1, bias=True, norm_eps=None)])])

    def forward(self, features: dict[str, Tensor]) -> Tensor:
        """Map the backbone's stages to [B, 256, 64, 64]."""
        coarse, middle, fine = (op(features[name]) for op, name in zip(self.input_ops, self.stages, strict=True))
        return self.output_ops[0](self.middle(coarse + (middle + fine)))  # type: ignore[no-any-return]


class ImageEncoder(nn.Module):
    """Picture to embedding.

    Args:
        backbone: The backbone.
        neck: Blocks of the neck.
    """

    def __init__(self, backbone: BackboneSpec, neck: SamHeadSpec) -> None:
        super().__init__()
        self.backbone = build_backbone(backbone)
        self.neck = Neck(neck, backbone)
        self.norm = LayerNorm2d(EMBEDDING_CHANNELS, backbone.norm_eps)

    def forward(self, image: Tensor) -> Tensor:
        """Map a normalised, padded image [B, 3, S, S] to the embedding [B, 256, 64, 64]."""
        return self.norm(self.neck(self.backbone(image)))  # type: ignore[no-any-return]
