# SPDX-License-Identifier: Apache-2.0
"""Multi-scale linear attention, the heart of EfficientViT.

Softmax attention compares every token with every other one: N tokens cost N² products. EfficientViT (Cai et al.,
"EfficientViT: Multi-Scale Linear Attention for High-Resolution Dense Prediction", arXiv 2205.14756, section 3.1)
replaces ``exp(q·k)`` by ``relu(q)·relu(k)``. A product can be regrouped where an exponential cannot::

    out_i  =  Σ_j (q_i·k_j) v_j / Σ_j (q_i·k_j)  =  q_i (Σ_j k_jᵀ v_j) / (q_i · Σ_j k_j)

The two sums over j do not depend on i. They are computed once, as one d×d matrix and one d-vector per head, so the
cost is linear in N: an image of 1024×2048 pixels (8192 tokens at stride 16) becomes affordable.

ReLU attention spreads its weight widely and loses local detail. Two convolutions bring it back: a depthwise one over
the q, k, v maps before the sum (a second, coarser *scale* of tokens, computed here), and the MBConv that follows every
attention module (`evit_deploy.models.blocks.EfficientViTBlock`).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from evit_deploy.models.blocks import ConvLayer

EPSILON = 1e-15
"""Added to the normaliser (reference value). A token whose query is all zeros attends to nothing: 0 / EPSILON = 0."""


def relu_linear_attention(q: Tensor, k: Tensor, v: Tensor, epsilon: float = EPSILON) -> Tensor:
    """Attention with the kernel relu(q)·relu(k), in time linear in the number of tokens.

    Args:
        q: Queries [..., d, N]: d channels per head, N tokens, one column per token.
        k: Keys [..., d, N].
        v: Values [..., d, N].
        epsilon: Added to the normaliser.

    Returns:
        [..., d, N]: for each token the average of all values, weighted by relu(q)·relu(k).
    """
    q, k = q.relu(), k.relu()
    kv = v @ k.transpose(-1, -2)  # [..., d, d]: Σ_j v_j k_jᵀ
    weight = k.sum(dim=-1, keepdim=True).transpose(-1, -2) @ q  # [..., 1, N]: q_i · Σ_j k_j
    return (kv @ q) / (weight + epsilon)


class MultiScaleLinearAttention(nn.Module):
    """ReLU linear attention over the tokens of two scales (arXiv 2205.14756, figure 2).

    Args:
        channels: Channels C of the input and the output; C / head_dim heads per scale.
        head_dim: Channels d of one head.
        kernel_size: Side of the depthwise convolution that makes the second scale.
        norm_eps: Epsilon of the BatchNorm behind the projection.
    """

    def __init__(self, channels: int, head_dim: int, kernel_size: int, norm_eps: float) -> None:
        super().__init__()
        self.head_dim = head_dim
        heads = channels // head_dim
        qkv = 3 * heads * head_dim
        self.qkv = ConvLayer(channels, qkv, 1, norm_eps=None)
        depthwise = nn.Conv2d(qkv, qkv, kernel_size, padding=kernel_size // 2, groups=qkv, bias=False)
        mix_each_map = nn.Conv2d(qkv, qkv, 1, groups=3 * heads, bias=False)
        self.aggreg = nn.ModuleList([nn.Sequential(depthwise, mix_each_map)])
        self.proj = ConvLayer(2 * heads * head_dim, channels, 1, norm_eps=norm_eps)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, C, H, W] to [B, C, H, W]; the caller adds the shortcut."""
        batch, _, height, width = x.shape
        fine = self.qkv(x)  # [B, 3C, H, W]: for each head its q, k, v, in this order
        coarse = self.aggreg[0](fine)
        scales = torch.cat([fine, coarse], dim=1).reshape(batch, -1, 3 * self.head_dim, height * width)
        q, k, v = scales.chunk(3, dim=2)  # each [B, 2C / d, d, H·W]
        out = relu_linear_attention(q, k, v).reshape(batch, -1, height, width)
        return self.proj(out)  # type: ignore[no-any-return]
