# SPDX-License-Identifier: Apache-2.0
"""The two-way transformer: tokens look at the image, the image looks at the tokens (arXiv 2304.02643, appendix A).

Position encodings are added to queries and keys at every attention, never to values: without them neither side would
know where anything is, and the residual streams stay free of them.
"""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor, nn

from evit_deploy.models.sam.layers import EMBEDDING_CHANNELS

HEADS, HIDDEN, LAYERS = 8, 2048, 2


class Attention(nn.Module):
    """Softmax attention with 8 heads.

    Args:
        width: Channels of queries, keys and values together over all heads.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.q_proj = nn.Linear(EMBEDDING_CHANNELS, width)
        self.k_proj = nn.Linear(EMBEDDING_CHANNELS, width)
        self.v_proj = nn.Linear(EMBEDDING_CHANNELS, width)
        self.out_proj = nn.Linear(width, EMBEDDING_CHANNELS)

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Map queries [P, Nq, 256], keys and values [P, Nk, 256] to [P, Nq, 256]."""
        q, k, v = _heads(self.q_proj(q)), _heads(self.k_proj(k)), _heads(self.v_proj(v))
        weights = (q @ k.transpose(2, 3) / math.sqrt(q.shape[-1])).softmax(dim=-1)
        return self.out_proj((weights @ v).transpose(1, 2).flatten(2))  # type: ignore[no-any-return]


def _heads(x: Tensor) -> Tensor:
    return x.reshape(*x.shape[:2], HEADS, -1).transpose(1, 2)  # [P, heads, N, width / heads]


class MlpBlock(nn.Module):
    """Two linear layers with ReLU between them."""

    def __init__(self) -> None:
        super().__init__()
        self.lin1 = nn.Linear(EMBEDDING_CHANNELS, HIDDEN)
        self.lin2 = nn.Linear(HIDDEN, EMBEDDING_CHANNELS)

    def forward(self, x: Tensor) -> Tensor:
        """Map [P, N, 256] to [P, N, 256]."""
        return self.lin2(F.relu(self.lin1(x)))  # type: ignore[no-any-return]


class TwoWayLayer(nn.Module):
    """Self-attention of the tokens, tokens to image, perceptron, image to tokens; residual and norm after each.

    Args:
        first: The first layer. Its self-attention sees the tokens bare, since tokens and encodings are the same there,
            and replaces them.
        norm_eps: Epsilon of the LayerNorms.
    """

    def __init__(self, first: bool, norm_eps: float) -> None:
        super().__init__()
        self.first = first
        self.self_attn = Attention(EMBEDDING_CHANNELS)
        self.norm1 = nn.LayerNorm(EMBEDDING_CHANNELS, eps=norm_eps)
        self.cross_attn_token_to_image = Attention(EMBEDDING_CHANNELS // 2)
        self.norm2 = nn.LayerNorm(EMBEDDING_CHANNELS, eps=norm_eps)
        self.mlp = MlpBlock()
        self.norm3 = nn.LayerNorm(EMBEDDING_CHANNELS, eps=norm_eps)
        self.norm4 = nn.LayerNorm(EMBEDDING_CHANNELS, eps=norm_eps)
        self.cross_attn_image_to_token = Attention(EMBEDDING_CHANNELS // 2)

    def forward(self, tokens: Tensor, image: Tensor, tokens_at: Tensor, image_at: Tensor) -> tuple[Tensor, Tensor]:
        """Update both sides.

        Args:
            tokens: [P, T, 256].
            image: [P, 4096, 256].
            tokens_at: Position encodings of the tokens (the tokens as they came in).
            image_at: Position encodings of the image, [1, 4096, 256].
        """
        if self.first:
            tokens = self.norm1(self.self_attn(tokens, tokens, tokens))
        else:
            placed = tokens + tokens_at
            tokens = self.norm1(tokens + self.self_attn(placed, placed, tokens))
        seen = self.cross_attn_token_to_image(tokens + tokens_at, image + image_at, image)
        tokens = self.norm2(tokens + seen)
        tokens = self.norm3(tokens + self.mlp(tokens))
        told = self.cross_attn_image_to_token(image + image_at, tokens + tokens_at, tokens)
        return tokens, self.norm4(image + told)


class TwoWayTransformer(nn.Module):
    """Two layers, and a last look of the tokens at the image.

    Args:
        norm_eps: Epsilon of the LayerNorms.
    """

    def __init__(self, norm_eps: float) -> None:
        super().__init__()
        self.layers = nn.ModuleList(TwoWayLayer(first=index == 0, norm_eps=norm_eps) for index in range(LAYERS))
        self.final_attn_token_to_image = Attention(EMBEDDING_CHANNELS // 2)
        self.norm_final_attn = nn.LayerNorm(EMBEDDING_CHANNELS, eps=norm_eps)

    def forward(self, tokens: Tensor, image: Tensor, image_at: Tensor) -> tuple[Tensor, Tensor]:
        """Map tokens [P, T, 256] and image [P, 4096, 256] (encodings [1, 4096, 256]) to both after their exchange."""
        tokens_at = tokens
        for layer in self.layers:
            tokens, image = layer(tokens, image, tokens_at, image_at)
        seen = self.final_attn_token_to_image(tokens + tokens_at, image + image_at, image)
        return self.norm_final_attn(tokens + seen), image
