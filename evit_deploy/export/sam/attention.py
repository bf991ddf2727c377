# SPDX-License-Identifier: Apache-2.0
"""The attentions of the mask decoder's two-way transformer, with the image's projections moved to the tokens' side.

There are 4096 positions in the image and about ten tokens. With head h, d = 16 channels of it, token t and position x
(a row of 256)::

    score   (Wk x + bk) · q   =  x · (Wkᵀ q) + bk · q       bk · q is the same for all positions: softmax drops it
    value   Σ a (Wv x + bv)   =  Wv (Σ a x) + bv            weights a sum to 1
    score   (Wq x + bq) · k   =  x · (Wqᵀ k) + bq · k       for the image as queries; one number per token
    result  Wo Σ_t a_t v_t + bo  =  Σ_t a_t (Wo v_t + bo)   summed over heads, bo spread over them

So 128 columns for every position become 8 · tokens columns (56 for one point), and there is no projected image to
write and to read. Source of the layers: Kirillov et al., arXiv 2304.02643, appendix A.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from evit_deploy.export.sam.algebra import Affine, frozen, power_of_two, reshape, split_heads, weights
from evit_deploy.models.sam.transformer import HEADS, Attention

CLOSED = -6e4
"""Score of an empty slot: FP16 holds it, and its exponential is zero beside any score above -59,900."""


class SelfAttention(nn.Module):
    """Attention among the tokens.

    Args:
        attention: As built.
    """

    def __init__(self, attention: Attention) -> None:
        super().__init__()
        (wq, bq), (wk, bk) = weights(attention.q_proj), weights(attention.k_proj)
        unit = power_of_two((_size(wk) / _size(wq).clamp(min=1e-300)).sqrt())
        scale = _spread(unit, wq) / math.sqrt(len(wq) // HEADS)
        back = 1 / _spread(unit, wq)
        self.query, self.key = Affine(wq * scale[:, None], bq * scale), Affine(wk * back[:, None], bk * back)
        self.value, self.out = balanced_pair(attention)

    def forward(self, at: Tensor, values: Tensor, closed: Tensor) -> Tensor:
        """Let every token look at all tokens but the empty ones.

        Args:
            at: Tokens for queries and keys [P, T, 256].
            values: Tokens for values [P, T, 256].
            closed: Bool [P, 1, 1, T], True for empty slots.

        Returns:
            [P, T, 256].
        """
        q, k, v = (split_heads(x, HEADS) for x in (self.query(at), self.key(at), self.value(values)))
        scores = torch.where(closed, torch.tensor(CLOSED), q @ k.transpose(2, 3))
        mixed = scores.softmax(dim=-1) @ v
        return self.out(reshape(mixed.transpose(1, 2), 0, -1, int(self.out.weight.shape[0])))  # type: ignore[no-any-return]


class TokensToImage(nn.Module):
    """Tokens are queries, the image is keys and values.

    Args:
        attention: As built.
    """

    def __init__(self, attention: Attention) -> None:
        super().__init__()
        (wq, bq), (wk, _) = weights(attention.q_proj), weights(attention.k_proj)
        (wv, bv), (wo, bo) = weights(attention.v_proj), weights(attention.out_proj)
        unit = _spread(power_of_two(_size(wk)), wk)
        scale = unit / math.sqrt(len(wq) // HEADS)
        self.query = Affine(wq * scale[:, None], bq * scale)
        self.key = frozen(_heads(wk / unit[:, None]))  # [heads, d, 256]
        unit = _spread(power_of_two(_size(wv)), wv)
        self.value = frozen(_heads(wv / unit[:, None]).mT)  # [heads, 256, d]
        self.out = Affine(wo * unit, wo @ bv + bo)

    def forward(self, tokens: Tensor, image: Tensor, image_at: Tensor) -> Tensor:
        """Let every token look at the image.

        Args:
            tokens: [P, T, 256], with their encodings.
            image: [P or 1, 4096, 256].
            image_at: The same with the grid's encodings.

        Returns:
            [P, T, 256].
        """
        width = int(self.key.shape[2])
        q = split_heads(self.query(tokens), HEADS) @ self.key
        places = int(image.shape[1])
        scores = reshape(q, 0, -1, width) @ image_at.transpose(1, 2)  # [P, heads · T, 4096]
        # Rank 5: of rank 3 OpenVINO makes one fused attention, slower than its matrix kernels for 256 channels.
        share = reshape(scores, 0, 1, 1, -1, places).softmax(dim=-1)
        seen = reshape(share @ image.reshape(-1, 1, 1, places, width), 0, HEADS, -1, width)
        mixed = (seen @ self.value).transpose(1, 2)
        return self.out(reshape(mixed, 0, -1, int(self.out.weight.shape[0])))  # type: ignore[no-any-return]


class ImageToTokens(nn.Module):
    """The image is queries, tokens are keys and values.

    Args:
        attention: As built.
    """

    def __init__(self, attention: Attention) -> None:
        super().__init__()
        (wq, bq), (wk, bk) = weights(attention.q_proj), weights(attention.k_proj)
        (wv, bv), (wo, bo) = weights(attention.v_proj), weights(attention.out_proj)
        unit = _spread(power_of_two(_size(wq)), wq)
        scale = unit / math.sqrt(len(wq) // HEADS)
        self.key = Affine(wk * scale[:, None], bk * scale)
        self.query = frozen(_heads(wq / unit[:, None]))  # [heads, d, 256]
        self.query_bias = frozen(_heads((bq / unit)[:, None]))  # [heads, d, 1]
        unit = _spread(power_of_two(_size(wo.T)), wo.T)
        self.value = Affine(wv * unit[:, None], bv * unit)
        self.out, self.out_bias = frozen(_heads(wo.T / unit[:, None])), frozen(bo / HEADS)

    def forward(self, tokens_at: Tensor, tokens: Tensor, image_at: Tensor, closed: Tensor) -> Tensor:
        """Let every position of the image look at all tokens but the empty ones.

        Args:
            tokens_at: [P, T, 256], with their encodings.
            tokens: [P, T, 256].
            image_at: [P or 1, 4096, 256], with the grid's encodings.
            closed: Bool [P, 1, 1, T], True for empty slots.

        Returns:
            [P, 4096, 256].
        """
        places, width = int(image_at.shape[1]), int(self.query.shape[2])
        closed = closed.transpose(2, 3)
        k = torch.where(closed, torch.zeros(()), split_heads(self.key(tokens_at), HEADS))
        offset = torch.where(closed, torch.tensor(CLOSED), k @ self.query_bias)  # [P, heads, T, 1]
        columns = reshape(k @ self.query, 0, -1, width).transpose(1, 2)  # [P, 256, heads · T]
        scores = image_at @ columns + reshape(offset, 0, 1, -1)
        share = reshape(reshape(scores, 0, places, HEADS, -1).softmax(dim=-1), 0, places, -1)
        answers = split_heads(self.value(tokens), HEADS) @ self.out + self.out_bias
        return share @ reshape(answers, 0, -1, width)


def balanced_pair(attention: Attention) -> tuple[Affine, Affine]:
    """Projections of values and results; each head's part of the second has rows of a length near 1."""
    (wv, bv), (wo, bo) = weights(attention.v_proj), weights(attention.out_proj)
    unit = _spread(power_of_two(_size(wo.T)), wo.T)
    return Affine(wv * unit[:, None], bv * unit), Affine(wo / unit, bo)


def _heads(x: Tensor) -> Tensor:
    """[heads · d, n] → [heads, d, n]."""
    return x.reshape(HEADS, -1, x.shape[1])


def _size(x: Tensor) -> Tensor:
    """Root mean square length of the rows of each head of [heads · d, n], as [heads]."""
    return _heads(x).square().sum(2).mean(1).sqrt()


def _spread(unit: Tensor, x: Tensor) -> Tensor:
    """One value per head → one per row of x."""
    return unit.repeat_interleave(len(x) // HEADS)
