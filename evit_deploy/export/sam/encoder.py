# SPDX-License-Identifier: Apache-2.0
"""The image encoder as it is exported: canvas in, embedding out.

A picture of any shape stands at the top left of a square canvas. The reference pads with zeros after normalising, so
the graph is told the picture's size, normalises, and sets to zero what lies outside: what the rest of the canvas holds
does not matter.
"""

from __future__ import annotations

from typing import cast

import onnx
import torch
from torch import Tensor, nn

from evit_deploy.export.peaks import Peaks, record_peaks
from evit_deploy.export.rewrite import deployable, fold_input_scale
from evit_deploy.export.streams import StreamPeaks, balance_streams, record_streams
from evit_deploy.export.trace import trace
from evit_deploy.manifest import Preprocess
from evit_deploy.models.sam import SegmentAnything

EMBEDDING = "embedding"


class EncoderPeaks:
    """Records how large an encoder's tensors get while it runs; a context manager.

    Args:
        model: The model, in eval mode.

    Attributes:
        attention: Of q, k and v, by attention module.
        streams: Of convolutions and residual sums, by module.
    """

    def __init__(self, model: SegmentAnything) -> None:
        self._recorders = record_peaks(model.image_encoder), record_streams(model.image_encoder)
        self.attention: Peaks = {}
        self.streams: StreamPeaks = {}

    def __enter__(self) -> EncoderPeaks:
        attention, streams = self._recorders
        self.attention, self.streams = attention.__enter__(), streams.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        for recorder in self._recorders:
            recorder.__exit__(None, None, None)


class DeployedEncoder(nn.Module):
    """The rewritten image encoder.

    Args:
        model: The model, in eval mode; its encoder is copied.
        rules: Mean and standard deviation of the normalisation.
        input: "image": a uint8 canvas and the picture's size; "tensor": a normalised, padded float canvas.
        peaks: How large its tensors get, to balance them by; None leaves them.
    """

    mean: Tensor
    places: Tensor

    def __init__(
        self, model: SegmentAnything, rules: Preprocess, input: str = "image", peaks: EncoderPeaks | None = None
    ) -> None:
        super().__init__()
        self.network = deployable(model.image_encoder, peaks.attention if peaks else None)
        self.moved = balance_streams(self.network, peaks.streams) if peaks else {}
        self.takes_image = input == "image"
        if self.takes_image:
            # (u / 255 - mean) / std = (u - 255 mean) · 1 / (255 std): the factor moves into the first convolution.
            fold_input_scale(self.network, 1 / (255 * torch.tensor(rules.std, dtype=torch.float64)))
            self.register_buffer("mean", 255 * torch.tensor(rules.mean).view(1, 3, 1, 1))
            self.register_buffer("places", torch.arange(model.image_size, dtype=torch.int32))

    def forward(self, image: Tensor, size: Tensor | None = None) -> Tensor:
        """Embed pictures.

        Args:
            image: uint8 [B, S, S, 3] RGB, the picture at the top left; or normalised float [B, 3, S, S].
            size: int32 [B, 2], the picture's (height, width) in px of the canvas; None for a normalised image.

        Returns:
            [B, 256, 64, 64].
        """
        if size is None:
            return cast(Tensor, self.network(image))
        pixels = image.permute(0, 3, 1, 2).float() - self.mean
        height, width = size[:, :, None, None].chunk(2, dim=1)  # each [B, 1, 1, 1]
        inside = (self.places.view(1, 1, -1, 1) < height) & (self.places.view(1, 1, 1, -1) < width)
        return cast(Tensor, self.network(torch.where(inside, pixels, torch.zeros(()))))


def trace_encoder(
    model: SegmentAnything,
    rules: Preprocess,
    input: str = "image",
    *,
    peaks: EncoderPeaks | None = None,
    opset: int = 17,
    batch: tuple[int, int] = (1, 1),
) -> onnx.ModelProto:
    """Trace the image encoder of a model.

    Args:
        model: The model, in eval mode; its encoder is copied.
        rules: Preprocessing.
        input: "image" or "tensor".
        peaks: How large its tensors get, to balance them by.
        opset: ONNX opset, 17 to 20.
        batch: (smallest, largest) batch of pictures; equal for a static graph.

    Returns:
        Graph with the inputs "image" and, for a uint8 canvas, "size", and the output "embedding".

    Raises:
        CheckFailedError: The graph is not the one that was meant.
    """
    module = DeployedEncoder(model, rules, input, peaks).eval()
    (low, high), side = batch, model.image_size
    if input == "image":
        image = torch.zeros(low, side, side, 3, dtype=torch.uint8)
        example = {"image": image, "size": torch.full((low, 2), side, dtype=torch.int32)}
    else:
        example = {"image": torch.zeros(low, 3, side, side)}
    return trace(module, example, (EMBEDDING,), opset, dynamic_batch=low != high)
