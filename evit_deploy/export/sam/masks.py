# SPDX-License-Identifier: Apache-2.0
"""The answering side of the deployed decoder: tokens and image to masks, predicted IoU, and pixels of a camera."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from evit_deploy.errors import UsageError
from evit_deploy.export.sam.algebra import Gelu, NormedAffine, Rows, Stack, weights
from evit_deploy.models.sam.decoder import MASKS, MaskDecoder
from evit_deploy.models.sam.layers import EMBEDDING_SIDE, FRAME

SIDE = 4 * EMBEDDING_SIDE
"""Side of a mask's logits."""


class MaskHead(nn.Module):
    """Upscaling by 4 and the product with each mask token's kernel.

    Transposed convolutions of kernel and stride 2 do not overlap: each is one matrix that makes 2×2 pixels of one. The
    pixels are put in order once, at the end, where there are 4 masks and not 32 channels to move.

    Args:
        decoder: The mask decoder.
    """

    def __init__(self, decoder: MaskDecoder) -> None:
        super().__init__()
        first, norm, _, second, _ = decoder.output_upscaling
        self.first = NormedAffine(*_pixels_of_one(first), norm)
        self.second, self.gelu = Rows(*_pixels_of_one(second)), Gelu()
        perceptrons = [[weights(layer) for layer in mask.layers] for mask in decoder.output_hypernetworks_mlps]  # type: ignore[union-attr]
        self.kernels = Stack([(torch.stack([w for w, _ in same]), torch.stack([b for _, b in same]))
                              for same in zip(*perceptrons, strict=True)])  # fmt: skip
        self.quality = Stack([weights(layer) for layer in decoder.iou_prediction_head.layers])

    def forward(self, tokens: Tensor, image: Tensor) -> tuple[Tensor, Tensor]:
        """Answer P prompts.

        Args:
            tokens: The decoder's own tokens after the transformer, [P, 5, 256].
            image: [P, 4096, 256].

        Returns:
            Logits [P, 4, 256, 256] and predicted IoU [P, 4].
        """
        kernels = self.kernels(tokens[:, 1:].transpose(0, 1)).transpose(0, 1)  # [P, 4, 32]
        fine = self.gelu(self.second(self.first(image))).reshape(-1, SIDE * SIDE, int(kernels.shape[2]))
        # Rows of `fine` are (row, column, then row and column within two steps of 2): into image order.
        logits = (kernels @ fine.transpose(1, 2)).reshape(-1, EMBEDDING_SIDE, 2, 2, 2, 2).permute(0, 2, 4, 1, 3, 5)
        return logits.reshape(-1, MASKS, SIDE, SIDE), self.quality(tokens[:, :1]).reshape(-1, MASKS)


def _pixels_of_one(layer: nn.Module) -> tuple[Tensor, Tensor]:
    """A transposed convolution of kernel and stride 2 as weight [4 · outputs, inputs] and bias [4 · outputs]."""
    weight, bias = weights(layer)  # weight [inputs, outputs, 2, 2]
    return weight.permute(2, 3, 1, 0).flatten(0, 2), bias.repeat(4)


class CameraPixels(nn.Module):
    """Masks at a camera's own pixels, by the reference's two bilinear steps: to the 1024 frame, cut, to the camera.

    Only logits that the camera sees are scaled. Where the longest side is 1024 the second step is left out: it would
    change nothing.

    Args:
        frame: (height, width) in px of the camera.

    Raises:
        UsageError: A side that is not positive.
    """

    def __init__(self, frame: tuple[int, int]) -> None:
        super().__init__()
        if min(frame) < 1:
            raise UsageError("a frame has at least one pixel", found=f"{frame[0]}x{frame[1]}", fix="--frame 720x1280")
        longest = max(frame)
        self.frame = frame
        self.fitted = tuple(max(int(side * (FRAME / longest) + 0.5), 1) for side in frame)
        self.seen = [min(SIDE, math.ceil(side * SIDE / FRAME) + 1) for side in self.fitted]

    def forward(self, masks: Tensor) -> Tensor:
        """Map logits [P, K, 256, 256] to uint8 [P, K, height, width], 1 on the object."""
        seen = masks[:, :, : self.seen[0], : self.seen[1]]
        large = F.interpolate(seen, scale_factor=FRAME / SIDE, mode="bilinear", align_corners=False)
        large = large[:, :, : self.fitted[0], : self.fitted[1]]
        if self.fitted != self.frame:
            large = F.interpolate(large, scale_factor=self._factors(), mode="bilinear", align_corners=False)
        return (large > 0).to(torch.uint8)

    def _factors(self) -> tuple[float, float]:
        """Factors per axis that give the frame's size after rounding down, as both PyTorch and ONNX round."""
        pairs = zip(self.frame, self.fitted, strict=True)
        height, width = (camera / fitted for camera, fitted in pairs)
        return height, width
