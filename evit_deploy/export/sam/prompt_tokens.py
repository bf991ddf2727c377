# SPDX-License-Identifier: Apache-2.0
"""The prompt side of the deployed decoder: points, boxes and a mask to tokens and an image, with open sizes."""

from __future__ import annotations

import math
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from evit_deploy.export.sam.algebra import NormedAffine, frozen, weights
from evit_deploy.models.sam.decoder import MaskDecoder
from evit_deploy.models.sam.layers import EMBEDDING_CHANNELS, EMBEDDING_SIDE, FRAME
from evit_deploy.models.sam.prompts import BOX_CORNER, NOT_A_POINT, PromptEncoder

EMPTY = -2
"""Label of a slot that holds nothing."""

PLACES = EMBEDDING_SIDE**2


class PointEncoding(nn.Module):
    """Sines and cosines of positions; FP32 in every typed graph.

    Args:
        matrix: Projections [2, 128].
    """

    def __init__(self, matrix: Tensor) -> None:
        super().__init__()
        self.matrix = frozen(matrix.double() * 2 * math.pi)

    def forward(self, coords: Tensor, placed: Tensor) -> Tensor:
        """Encode positions.

        Args:
            coords: (x, y) in px of the 1024 frame, [P, N, 2]; anything, even NaN, where `placed` is False.
            placed: Bool [P, N].

        Returns:
            [P, N, 256], zero where `placed` is False.
        """
        placed = placed[..., None]
        unit = (torch.where(placed, coords, torch.zeros(())) + 0.5) / FRAME
        angle = (unit * 2 - 1) @ self.matrix
        return torch.where(placed, torch.cat([angle.sin(), angle.cos()], dim=-1), torch.zeros(()))


class PromptTokens(nn.Module):
    """Tokens of a batch of prompts: IoU, four masks, N slots, and one slot more for SAM's padding point.

    SAM appends a point of label -1 to prompts that have points and no box. That rule depends on the prompt alone, so it
    is kept here: the last slot is that point, or empty.

    Args:
        prompts: The prompt encoder.
        decoder: The mask decoder, for its own tokens.
    """

    own: Tensor

    def __init__(self, prompts: PromptEncoder, decoder: MaskDecoder) -> None:
        super().__init__()
        self.point_encoding = PointEncoding(prompts.pe_layer.positional_encoding_gaussian_matrix)  # type: ignore[arg-type]
        kinds = [prompts.not_a_point_embed, *prompts.point_embeddings, decoder.iou_token, decoder.mask_tokens]
        rows = [torch.zeros(1, EMBEDDING_CHANNELS), *(cast(nn.Embedding, kind).weight for kind in kinds)]
        self.table = frozen(torch.cat(rows))  # row 0: empty; row label + 2: kinds of points; then the decoder's own
        self.outputs = 1 + len(decoder.mask_tokens.weight)
        self.register_buffer("own", torch.arange(len(self.table) - self.outputs, len(self.table), dtype=torch.int32))

    def forward(self, coords: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Encode P prompts.

        Args:
            coords: (x, y) in px of the 1024 frame, [P, N, 2].
            labels: int32 [P, N].

        Returns:
            Tokens [P, 5 + N + 1, 256], and bool [P, 5 + N + 1]: True for empty slots.
        """
        most = labels.amax(dim=1, keepdim=True)
        padding = ((most >= NOT_A_POINT) & (most < BOX_CORNER)).to(torch.int32)  # row of NOT_A_POINT, or of EMPTY
        rows = torch.cat([padding * 0 + self.own, labels - EMPTY, padding], dim=1)
        encoded = F.pad(self.point_encoding(coords, labels >= 0), (0, 0, self.outputs, 1))
        return self.table[rows] + encoded, rows == 0


class MaskPrompt(nn.Module):
    """An earlier mask as an image to add to the embedding, or SAM's constant in its place.

    The convolutions of kernel and stride 2 do not overlap: each is one matrix for patches of 2×2.

    Args:
        prompts: The prompt encoder.
    """

    def __init__(self, prompts: PromptEncoder) -> None:
        super().__init__()
        first, norm, _, second, second_norm, _, last = prompts.mask_downscaling
        (weight, bias), (inner, inner_bias) = weights(first), weights(second)
        self.first = NormedAffine(weight.flatten(1), bias, norm)
        self.second = NormedAffine(inner.permute(0, 2, 3, 1).flatten(1), inner_bias, second_norm)
        weight, bias = weights(last)
        given = torch.cat([weight.flatten(1).T, bias[None]])
        absent = torch.cat([torch.zeros_like(given[:-1]), prompts.no_mask_embed.weight.detach()])
        self.given, self.absent = frozen(given), frozen(absent)  # [17, 256]: the last row meets a column of ones

    def forward(self, mask: Tensor, has_mask: Tensor) -> Tensor:
        """Map logits [M, 1, 256, 256] and has_mask [M] to [M, 4096, 256]; a mask that does not count may be NaN."""
        side = EMBEDDING_SIDE
        patches = mask.reshape(-1, side, 2, 2, side, 2, 2).permute(0, 1, 4, 2, 5, 3, 6)
        fine = self.first(patches.reshape(-1, 4 * PLACES, 4))
        coarse = self.second(fine.reshape(-1, PLACES, 16))
        counts = (has_mask > 0).reshape(-1, 1, 1)
        coarse = F.pad(torch.where(counts, coarse, torch.zeros(())), (0, 1), value=1.0)
        return coarse @ torch.where(counts, self.given, self.absent)


def image_rows(embedding: Tensor) -> Tensor:
    """[1, 256, 64, 64] → [1, 4096, 256]."""
    return embedding.reshape(1, EMBEDDING_CHANNELS, PLACES).transpose(1, 2)
