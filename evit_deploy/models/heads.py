# SPDX-License-Identifier: Apache-2.0
"""Task heads: classification and semantic segmentation, and the two networks they complete."""

from __future__ import annotations

from torch import Tensor, nn

from evit_deploy.models.backbones import BackboneSpec, build_backbone
from evit_deploy.models.blocks import Chain, ConvLayer, FusedMBConv, MBConv, Residual, Upsample
from evit_deploy.models.zoo import ClassifierHeadSpec, SegmentationHeadSpec


class LinearLayer(nn.Module):
    """Linear without bias, LayerNorm, activation."""

    def __init__(self, inputs: int, outputs: int, spec: BackboneSpec) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, outputs, bias=False)
        self.norm = nn.LayerNorm(outputs, eps=spec.norm_eps)
        self.act = spec.activation()

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, inputs] to [B, outputs]."""
        return self.act(self.norm(self.linear(x)))  # type: ignore[no-any-return]


class OutputLinear(nn.Module):
    """The last linear layer, with bias."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, inputs] to [B, outputs]."""
        return self.linear(x)  # type: ignore[no-any-return]


class GlobalAverage(nn.Module):
    """Mean over the image plane."""

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, C, H, W] to [B, C]."""
        return x.mean(dim=(2, 3))


class ClassifierHead(Chain):
    """1×1 layer, global average, hidden linear layer, classifier: stage 4 to logits [B, classes]."""

    def __init__(self, spec: ClassifierHeadSpec, backbone: BackboneSpec, classes: int) -> None:
        first, second = spec.widths
        conv = ConvLayer(backbone.widths[4], first, 1, norm_eps=backbone.norm_eps, activation=backbone.activation)
        super().__init__([conv, GlobalAverage(), LinearLayer(first, second, backbone), OutputLinear(second, classes)])


class SegmentationHead(nn.Module):
    """Fuses stages 4, 3 and 2 at stride 8 and classifies every position.

    Args:
        spec: Widths and blocks.
        backbone: The backbone in front.
        classes: Number of classes.
    """

    def __init__(self, spec: SegmentationHeadSpec, backbone: BackboneSpec, classes: int) -> None:
        super().__init__()
        eps, act, width = backbone.norm_eps, backbone.activation, spec.width
        self.input_ops = nn.ModuleList(
            [
                Chain([ConvLayer(backbone.widths[4], width, 1, norm_eps=eps), Upsample(4)]),
                Chain([ConvLayer(backbone.widths[3], width, 1, norm_eps=eps), Upsample(2)]),
                ConvLayer(backbone.widths[2], width, 1, norm_eps=eps),
            ]
        )
        block = MBConv if spec.block == "mbconv" else FusedMBConv
        self.middle = Chain(
            [Residual(block(width, width, spec.expand, norm_eps=eps, activation=act)) for _ in range(spec.depth)]
        )
        final = width * (spec.final_expand or 1)
        widen = [ConvLayer(width, final, 1, norm_eps=eps, activation=act)] if spec.final_expand else []
        self.output_ops = nn.ModuleList([Chain([*widen, ConvLayer(final, classes, 1, bias=True, norm_eps=None)])])

    def forward(self, features: dict[str, Tensor]) -> Tensor:
        """Map the backbone's stages to logits [B, classes, H/8, W/8]."""
        stage4, stage3, stage2 = (
            op(features[name]) for op, name in zip(self.input_ops, ("stage4", "stage3", "stage2"), strict=True)
        )
        return self.output_ops[0](self.middle(stage4 + (stage3 + stage2)))  # type: ignore[no-any-return]


class Classifier(nn.Module):
    """Backbone and classification head."""

    def __init__(self, backbone: BackboneSpec, head: ClassifierHeadSpec, classes: int) -> None:
        super().__init__()
        self.backbone = build_backbone(backbone)
        self.head = ClassifierHead(head, backbone, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map a normalised image [B, 3, H, W] to logits [B, classes]."""
        return self.head(self.backbone(x)["stage4"])  # type: ignore[no-any-return]


class Segmenter(nn.Module):
    """Backbone and segmentation head."""

    def __init__(self, backbone: BackboneSpec, head: SegmentationHeadSpec, classes: int) -> None:
        super().__init__()
        self.backbone = build_backbone(backbone)
        self.head = SegmentationHead(head, backbone, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map a normalised image [B, 3, H, W] to logits [B, classes, H/8, W/8]; H and W are multiples of 32."""
        return self.head(self.backbone(x))  # type: ignore[no-any-return]
