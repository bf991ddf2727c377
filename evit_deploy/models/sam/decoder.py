# SPDX-License-Identifier: Apache-2.0
"""The mask decoder: embedding and prompt tokens to four masks and their predicted quality."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from evit_deploy.models.sam.layers import EMBEDDING_CHANNELS, LayerNorm2d, Perceptron
from evit_deploy.models.sam.transformer import TwoWayTransformer

MASKS = 4
"""Mask 0 answers unambiguous prompts; masks 1 to 3 are the "multimask" answers, such as whole, part and subpart."""


class MaskDecoder(nn.Module):
    """Two-way transformer, upscaling by 4, one small perceptron per mask.

    Args:
        norm_eps: Epsilon of the LayerNorms.
    """

    def __init__(self, norm_eps: float) -> None:
        super().__init__()
        width = EMBEDDING_CHANNELS
        self.transformer = TwoWayTransformer(norm_eps)
        self.iou_token = nn.Embedding(1, width)
        self.mask_tokens = nn.Embedding(MASKS, width)
        self.output_upscaling = nn.Sequential(
            nn.ConvTranspose2d(width, width // 4, 2, stride=2),
            LayerNorm2d(width // 4, norm_eps),
            nn.GELU(),
            nn.ConvTranspose2d(width // 4, width // 8, 2, stride=2),
            nn.GELU(),
        )
        self.output_hypernetworks_mlps = nn.ModuleList(Perceptron(width, width, width // 8, 3) for _ in range(MASKS))
        self.iou_prediction_head = Perceptron(width, width, MASKS, 3)

    def forward(self, embedding: Tensor, image_at: Tensor, sparse: Tensor, dense: Tensor) -> tuple[Tensor, Tensor]:
        """Decode P prompts on one embedding.

        Args:
            embedding: [1, 256, 64, 64].
            image_at: Position encodings of its grid, [1, 256, 64, 64].
            sparse: Prompt tokens [P, T, 256].
            dense: Dense prompts [P or 1, 256, 64, 64].

        Returns:
            Logits [P, 4, 256, 256] of all four masks, and their predicted IoU [P, 4] (unbounded: no sigmoid).
        """
        prompts, (height, width) = len(sparse), embedding.shape[-2:]
        outputs = torch.cat([self.iou_token.weight, self.mask_tokens.weight])
        tokens = torch.cat([outputs.expand(prompts, -1, -1), sparse], dim=1)
        image = (embedding + dense).expand(prompts, -1, -1, -1).flatten(2).transpose(1, 2)
        tokens, image = self.transformer(tokens, image, image_at.flatten(2).transpose(1, 2))
        upscaled = self.output_upscaling(image.transpose(1, 2).unflatten(2, (height, width)))  # [P, 32, 256, 256]
        kernels = torch.stack(
            [perceptron(tokens[:, 1 + index]) for index, perceptron in enumerate(self.output_hypernetworks_mlps)], dim=1
        )
        masks = (kernels @ upscaled.flatten(2)).unflatten(2, upscaled.shape[-2:])
        return masks, self.iou_prediction_head(tokens[:, 0])
