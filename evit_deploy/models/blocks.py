# SPDX-License-Identifier: Apache-2.0
"""The building blocks around the attention: convolution layers and the residual blocks made of them.

Attribute names (``main``, ``op_list``, ``inverted_conv``, …) are those of the official checkpoints, so that a
checkpoint loads strictly; see `evit_deploy.models.weights`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch.nn.functional as F
from torch import Tensor, nn

Activation = Callable[[], nn.Module]


def hard_swish() -> nn.Module:
    """x · clip(x + 3, 0, 6) / 6, the activation of the B family."""
    return nn.Hardswish()


def gelu() -> nn.Module:
    """GELU in its tanh approximation, the activation of the L family."""
    return nn.GELU(approximate="tanh")


class ConvLayer(nn.Module):
    """Convolution, then BatchNorm and activation where asked for; padding keeps the size at stride 1.

    Args:
        inputs: Input channels.
        outputs: Output channels.
        kernel_size: Side of the square kernel (odd).
        stride: Stride in both directions.
        groups: Convolution groups.
        bias: Whether the convolution has a bias of its own.
        norm_eps: Epsilon of the BatchNorm, or None for no BatchNorm.
        activation: Factory of the activation, or None.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel_size: int,
        *,
        stride: int = 1,
        groups: int = 1,
        bias: bool = False,
        norm_eps: float | None,
        activation: Activation | None = None,
    ) -> None:
        super().__init__()
        padding = kernel_size // 2
        self.conv = nn.Conv2d(inputs, outputs, kernel_size, stride, padding, groups=groups, bias=bias)
        self.norm = nn.BatchNorm2d(outputs, eps=norm_eps) if norm_eps is not None else None
        self.act = activation() if activation else None

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, inputs, H, W] to [B, outputs, ceil(H / stride), ceil(W / stride)]."""
        x = self.conv(x)
        if self.norm is not None:
            x = self.norm(x)
        return x if self.act is None else self.act(x)


class Chain(nn.Module):
    """Modules applied one after the other (``op_list`` in the checkpoints)."""

    def __init__(self, modules: Sequence[nn.Module]) -> None:
        super().__init__()
        self.op_list = nn.ModuleList(modules)

    def forward(self, x: Tensor) -> Tensor:
        """Apply all modules in order."""
        for module in self.op_list:
            x = module(x)
        return x


class Residual(nn.Module):
    """``main(x) + x``, or ``main(x)`` alone where shape or width changes; nothing follows the sum."""

    def __init__(self, main: nn.Module, shortcut: bool = True) -> None:
        super().__init__()
        self.main = main
        self.has_shortcut = shortcut

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, C, H, W] through the block."""
        y: Tensor = self.main(x)
        return y + x if self.has_shortcut else y


class DSConv(nn.Module):
    """Depthwise separable convolution: 3×3 depthwise with activation, then 1×1."""

    def __init__(self, inputs: int, outputs: int, norm_eps: float, activation: Activation) -> None:
        super().__init__()
        self.depth_conv = ConvLayer(inputs, inputs, 3, groups=inputs, norm_eps=norm_eps, activation=activation)
        self.point_conv = ConvLayer(inputs, outputs, 1, norm_eps=norm_eps)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, inputs, H, W] to [B, outputs, H, W]."""
        return self.point_conv(self.depth_conv(x))  # type: ignore[no-any-return]


class MBConv(nn.Module):
    """Inverted bottleneck (MobileNetV2): 1×1 expansion, 3×3 depthwise, 1×1 projection.

    Args:
        inputs: Input channels.
        outputs: Output channels.
        expand: Width of the middle, as a multiple of the inputs.
        stride: Stride of the depthwise convolution.
        norm_eps: Epsilon of the BatchNorms.
        activation: Activation behind the first two convolutions.
        bias_inside: The first two convolutions have a bias in place of a BatchNorm (late stages of the backbones).
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        expand: int,
        *,
        stride: int = 1,
        norm_eps: float,
        activation: Activation,
        bias_inside: bool = False,
    ) -> None:
        super().__init__()
        middle = inputs * expand
        inner_eps = None if bias_inside else norm_eps
        self.inverted_conv = ConvLayer(inputs, middle, 1, bias=bias_inside, norm_eps=inner_eps, activation=activation)
        self.depth_conv = ConvLayer(
            middle, middle, 3, stride=stride, groups=middle, bias=bias_inside, norm_eps=inner_eps, activation=activation
        )
        self.point_conv = ConvLayer(middle, outputs, 1, norm_eps=norm_eps)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, inputs, H, W] to [B, outputs, H / stride, W / stride]."""
        return self.point_conv(self.depth_conv(self.inverted_conv(x)))  # type: ignore[no-any-return]


class FusedMBConv(nn.Module):
    """MBConv whose expansion and depthwise convolution are one dense 3×3: more arithmetic, less memory traffic."""

    def __init__(
        self, inputs: int, outputs: int, expand: int, *, stride: int = 1, norm_eps: float, activation: Activation
    ) -> None:
        super().__init__()
        middle = inputs * expand
        self.spatial_conv = ConvLayer(inputs, middle, 3, stride=stride, norm_eps=norm_eps, activation=activation)
        self.point_conv = ConvLayer(middle, outputs, 1, norm_eps=norm_eps)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, inputs, H, W] to [B, outputs, H / stride, W / stride]."""
        return self.point_conv(self.spatial_conv(x))  # type: ignore[no-any-return]


class ResBlock(nn.Module):
    """Two dense 3×3 convolutions, the first with activation."""

    def __init__(self, channels: int, norm_eps: float, activation: Activation) -> None:
        super().__init__()
        self.conv1 = ConvLayer(channels, channels, 3, norm_eps=norm_eps, activation=activation)
        self.conv2 = ConvLayer(channels, channels, 3, norm_eps=norm_eps)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, C, H, W] to [B, C, H, W]."""
        return self.conv2(self.conv1(x))  # type: ignore[no-any-return]


class EfficientViTBlock(nn.Module):
    """Global context by linear attention, then local detail by an MBConv, each with a shortcut.

    Args:
        attention: The attention module, [B, C, H, W] to the same shape.
        local: The MBConv, same shape.
    """

    def __init__(self, attention: nn.Module, local: nn.Module) -> None:
        super().__init__()
        self.context_module = Residual(attention)
        self.local_module = Residual(local)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, C, H, W] to [B, C, H, W]."""
        return self.local_module(self.context_module(x))  # type: ignore[no-any-return]


class Upsample(nn.Module):
    """Bicubic upsampling by a whole factor (a = -0.75, half-pixel centres: ``align_corners=False``)."""

    def __init__(self, factor: int) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, C, H, W] to [B, C, H · factor, W · factor]."""
        return F.interpolate(x, scale_factor=float(self.factor), mode="bicubic", align_corners=False)
