# SPDX-License-Identifier: Apache-2.0
"""Small pieces the deployed mask decoder is made of: reshaping, linear layers, GELU, LayerNorm, powers of two.

What is scaled here is scaled by powers of two and scaled back in the next matrix, which changes no bit in FP32. In
FP16 it keeps what lies in between about as large as its share of the result, whatever a checkpoint does with the
freedom to multiply one matrix and divide the next (docs/numerics.md).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class _Reshape(torch.autograd.Function):
    """Reshape as ONNX has it: 0 keeps a dimension. PyTorch's own would trace to arithmetic on open dimensions."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, *shape: int) -> Tensor:
        return x.reshape([x.shape[axis] if size == 0 else size for axis, size in enumerate(shape)])

    @staticmethod
    def symbolic(g: Any, x: Any, *shape: int) -> Any:
        return g.op("Reshape", x, g.op("Constant", value_t=torch.tensor([int(size) for size in shape])))


def reshape(x: Tensor, *shape: int) -> Tensor:
    """Reshape; 0 keeps the dimension of that place, and one size must be -1."""
    return _Reshape.apply(x, *shape)  # type: ignore[no-any-return, no-untyped-call]


def split_heads(x: Tensor, heads: int) -> Tensor:
    """[P, N, heads · d] → [P, heads, N, d]."""
    return reshape(x, 0, -1, heads, int(x.shape[2]) // heads).transpose(1, 2)


def power_of_two(x: Tensor) -> Tensor:
    """The power of two nearest to each positive value, 1 for zero."""
    return torch.where(x > 0, torch.exp2(torch.log2(x.clamp(min=1e-300)).round()), torch.ones_like(x))


def frozen(x: Tensor) -> nn.Parameter:
    """A constant of the graph: float32, contiguous."""
    return nn.Parameter(x.detach().float().contiguous(), requires_grad=False)


def weights(linear: nn.Module) -> tuple[Tensor, Tensor]:
    """Weight [outputs, inputs, ...] and bias [outputs] of a layer in FP64."""
    weight, bias = linear.weight, linear.bias
    assert isinstance(weight, Tensor) and isinstance(bias, Tensor)
    return weight.detach().double(), bias.detach().double()


class Affine(nn.Module):
    """x W + b for tokens.

    The bias has the rank of the tokens: onnxsim makes a Gemm of a product with a flat one, between reshapes that need
    arithmetic on open dimensions.

    Args:
        weight: [outputs, inputs], as `nn.Linear` keeps it.
        bias: [outputs].
    """

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.weight, self.bias = frozen(weight.T), frozen(bias[None, None])

    def forward(self, x: Tensor) -> Tensor:
        """Map [P, T, inputs] to [P, T, outputs]."""
        return x @ self.weight + self.bias


class Rows(nn.Module):
    """x W + b for the places of an image, as rows of one matrix: a Gemm, which adds the bias as it writes.

    Args:
        weight: [outputs, inputs].
        bias: [outputs].
    """

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.weight, self.bias = frozen(weight), frozen(bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map [..., inputs] to [rows, outputs]."""
        return F.linear(x.reshape(-1, int(self.weight.shape[1])), self.weight, self.bias)


class Stack(nn.Module):
    """Linear layers with ReLU between them; several such stacks side by side if the weights have a first axis more.

    Every hidden unit is scaled so that its row of the next matrix has a length near 1: ReLU lets powers of two through.

    Args:
        layers: For each layer, weight [(stacks,) outputs, inputs] and bias [(stacks,) outputs] in FP64.
    """

    def __init__(self, layers: Sequence[tuple[Tensor, Tensor]]) -> None:
        super().__init__()
        scaled = [layers[-1]]
        for weight, bias in reversed(layers[:-1]):
            later, later_bias = scaled[0]
            unit = power_of_two(later.norm(dim=-2))
            scaled[0] = (later / unit[..., None, :], later_bias)
            scaled.insert(0, (weight * unit[..., :, None], bias * unit))
        self.weights = nn.ParameterList(frozen(weight.mT) for weight, _ in scaled)
        self.biases = nn.ParameterList(frozen(bias.reshape(-1, 1, bias.shape[-1])) for _, bias in scaled)

    def forward(self, x: Tensor) -> Tensor:
        """Map [P, T, inputs], or [stacks, P, inputs], to as many outputs."""
        for index, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            x = x @ weight + bias
            if index < len(self.weights) - 1:
                x = x.relu()
        return x


class Norm(nn.Module):
    """LayerNorm over the last dimension, as ONNX's own operator.

    The operator computes mean and variance in FP32 whatever its input is (its attribute `stash_type`), so nothing
    is squared in FP16; and every backend has a kernel for it, which a LayerNorm written out has not.

    Args:
        norm: A LayerNorm over channels, with weight, bias and eps.
        unit: What the input is divided by before it gets here.
    """

    def __init__(self, norm: nn.Module, unit: float = 1.0) -> None:
        super().__init__()
        weight, bias = weights(norm)
        self.weight, self.bias, self.eps = frozen(weight), frozen(bias), float(norm.eps) / unit**2  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """Map [..., channels] to the same shape."""
        return F.layer_norm(x, self.weight.shape, self.weight, self.bias, self.eps)


class NormedAffine(nn.Module):
    """x W + b, LayerNorm, GELU; W and b are brought to a size near 1, which the norm takes back.

    Args:
        weight: [outputs, inputs].
        bias: [outputs].
        norm: LayerNorm over channels; outputs may be several groups of them.
    """

    def __init__(self, weight: Tensor, bias: Tensor, norm: nn.Module) -> None:
        super().__init__()
        unit = power_of_two(weight.square().sum(1).mean().sqrt())
        self.affine, self.norm = Rows(weight / unit, bias / unit), Norm(norm, float(unit))
        self.channels, self.gelu = len(self.norm.weight), Gelu()

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, places, inputs] to [B, places · groups, channels]."""
        rows = int(x.shape[1]) * (int(self.affine.bias.shape[0]) // self.channels)
        return self.gelu(self.norm(self.affine(x).reshape(-1, rows, self.channels)))  # type: ignore[no-any-return]


class Gelu(nn.Module):
    """GELU with the error function; halved first, so that nothing in it is larger than x or 2."""

    def forward(self, x: Tensor) -> Tensor:
        """Map any shape to the same shape."""
        return (x * 0.5) * (torch.erf(x / math.sqrt(2)) + 1)
