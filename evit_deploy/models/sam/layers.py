# SPDX-License-Identifier: Apache-2.0
"""Small layers that the parts of Segment Anything share."""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

EMBEDDING_CHANNELS = 256
"""Channels of embeddings and tokens (arXiv 2304.02643, appendix A)."""

EMBEDDING_SIDE = 64
"""Side of the embedding's grid, for every image size."""

FRAME = 1024
"""Side in pixels of the frame that prompts live in: the picture's longest side, whatever the encoder's image size."""


class LayerNorm2d(nn.Module):
    """LayerNorm over the channels of every position.

    Args:
        channels: Channels C.
        eps: Added to the variance (the biased one).
    """

    def __init__(self, channels: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, C, H, W] to [B, C, H, W]."""
        centred = x - x.mean(1, keepdim=True)
        variance = centred.square().mean(1, keepdim=True)
        return self.weight[:, None, None] * (centred / torch.sqrt(variance + self.eps)) + self.bias[:, None, None]


class Perceptron(nn.Module):
    """Linear layers with ReLU between them.

    Args:
        inputs: Input features.
        hidden: Features of the hidden layers.
        outputs: Output features.
        depth: Number of linear layers.
    """

    def __init__(self, inputs: int, hidden: int, outputs: int, depth: int) -> None:
        super().__init__()
        sizes = [inputs, *[hidden] * (depth - 1), outputs]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))

    def forward(self, x: Tensor) -> Tensor:
        """Map [..., inputs] to [..., outputs]."""
        for layer in self.layers[:-1]:
            x = F.relu(layer(x))
        return self.layers[-1](x)  # type: ignore[no-any-return]
