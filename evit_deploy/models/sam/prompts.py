# SPDX-License-Identifier: Apache-2.0
"""The prompt encoder: points, boxes and masks to tokens and a dense map (arXiv 2304.02643, appendix A).

A position is encoded by random Fourier features (Tancik et al., arXiv 2006.10739): sines and cosines of fixed random
projections. What kind of point it is, is a learned vector that is added.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from evit_deploy.models.sam.layers import EMBEDDING_CHANNELS, EMBEDDING_SIDE, FRAME, LayerNorm2d

NOT_A_POINT = -1
"""Label of the point that SAM appends to points without a box; its position does not matter."""

BOX_CORNER = 2
"""Label of a box's first corner; the second has the next one. Labels 1 and 0: inside and outside the object."""

MASK_CHANNELS = 16
"""Channels of the mask input on its way to the embedding's size."""


class PositionEncoding(nn.Module):
    """Random Fourier features of positions in the unit square."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("positional_encoding_gaussian_matrix", torch.empty(2, EMBEDDING_CHANNELS // 2))

    def forward(self, positions: Tensor) -> Tensor:
        """Map (x, y) in 0..1, [..., 2], to [..., 256]."""
        matrix: Tensor = self.positional_encoding_gaussian_matrix  # type: ignore[assignment]
        angle = 2 * math.pi * ((2 * positions - 1) @ matrix)
        return torch.cat([torch.sin(angle), torch.cos(angle)], dim=-1)

    def grid(self, side: int) -> Tensor:
        """Encodings [1, 256, side, side] of the centres of a grid's cells."""
        matrix: Tensor = self.positional_encoding_gaussian_matrix  # type: ignore[assignment]
        centres = (torch.arange(side, device=matrix.device, dtype=matrix.dtype) + 0.5) / side
        y, x = torch.meshgrid(centres, centres, indexing="ij")
        encoding: Tensor = self(torch.stack([x, y], dim=-1))
        return encoding.permute(2, 0, 1)[None]


class PromptEncoder(nn.Module):
    """Prompts to sparse tokens and a dense map.

    Args:
        norm_eps: Epsilon of the LayerNorms.
    """

    def __init__(self, norm_eps: float) -> None:
        super().__init__()
        self.pe_layer = PositionEncoding()
        self.point_embeddings = nn.ModuleList(nn.Embedding(1, EMBEDDING_CHANNELS) for _ in range(4))
        self.not_a_point_embed = nn.Embedding(1, EMBEDDING_CHANNELS)
        self.mask_downscaling = nn.Sequential(
            nn.Conv2d(1, MASK_CHANNELS // 4, 2, stride=2),
            LayerNorm2d(MASK_CHANNELS // 4, norm_eps),
            nn.GELU(),
            nn.Conv2d(MASK_CHANNELS // 4, MASK_CHANNELS, 2, stride=2),
            LayerNorm2d(MASK_CHANNELS, norm_eps),
            nn.GELU(),
            nn.Conv2d(MASK_CHANNELS, EMBEDDING_CHANNELS, 1),
        )
        self.no_mask_embed = nn.Embedding(1, EMBEDDING_CHANNELS)

    def dense_encoding(self) -> Tensor:
        """Position encodings of the embedding's grid, [1, 256, 64, 64]."""
        return self.pe_layer.grid(EMBEDDING_SIDE)

    def tokens(self, coords: Tensor, labels: Tensor) -> Tensor:
        """Encode labelled positions.

        Args:
            coords: (x, y) in px of the 1024 frame, [P, N, 2].
            labels: [P, N]: 1 inside the object, 0 outside, 2 and 3 the corners of a box, -1 not a point.

        Returns:
            Tokens [P, N, 256].
        """
        labels = labels[..., None]
        tokens: Tensor = self.pe_layer((coords + 0.5) / FRAME)
        tokens = torch.where(labels == NOT_A_POINT, self.not_a_point_embed.weight, tokens)
        for label, embedding in enumerate(self.point_embeddings):
            kind: Tensor = embedding.weight  # type: ignore[assignment]
            tokens = torch.where(labels == label, tokens + kind, tokens)
        return tokens

    def forward(
        self, coords: Tensor | None, labels: Tensor | None, boxes: Tensor | None, mask: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Encode P prompts; each part may be None.

        Args:
            coords: Points (x, y) in px of the 1024 frame, [P, N, 2].
            labels: Their labels, [P, N].
            boxes: (x0, y0, x1, y1) in px of the 1024 frame, [P, 4].
            mask: Low-resolution logits of an earlier answer, [P or 1, 1, 256, 256].

        Returns:
            Tokens [P, T, 256], points first, then box corners; and the dense map [P or 1, 256, 64, 64], which does not
            depend on the prompt without a mask.
        """
        parts = []
        if coords is not None and labels is not None:
            parts.append((coords, labels))
            if boxes is None:
                parts.append((coords.new_zeros(len(coords), 1, 2), labels.new_full((len(labels), 1), NOT_A_POINT)))
        if boxes is not None:
            corners = torch.tensor([[BOX_CORNER, BOX_CORNER + 1]], device=boxes.device)
            parts.append((boxes.reshape(-1, 2, 2), corners.expand(len(boxes), 2)))
        dense: Tensor
        if mask is None:
            dense = self.no_mask_embed.weight.reshape(1, -1, 1, 1).expand(-1, -1, EMBEDDING_SIDE, EMBEDDING_SIDE)
        else:
            dense = self.mask_downscaling(mask)
        if not parts:
            return dense.new_zeros(len(dense), 0, EMBEDDING_CHANNELS), dense
        return torch.cat([self.tokens(*part) for part in parts], dim=1), dense
