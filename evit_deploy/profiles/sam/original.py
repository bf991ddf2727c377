# SPDX-License-Identifier: Apache-2.0
"""PyTorch doing what a segment-anything engine does, eagerly and in FP32, for comparisons of time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from evit_deploy.data.masks import PROMPT_FRAME, PromptFrame
from evit_deploy.manifest import Manifest, Preprocess
from evit_deploy.runtime.preprocess import fit_frame, fitted_size, normalise

if TYPE_CHECKING:
    from evit_deploy.models.sam import SegmentAnything

UInt8 = npt.NDArray[np.uint8]


class Original:
    """A PyTorch model and the steps around it.

    Args:
        model: The model in eval mode, on the CPU.
        encoder: Manifest of the engine's encoder, for its size and its preprocessing.
    """

    def __init__(self, model: SegmentAnything, encoder: Manifest) -> None:
        self.model = model
        self._rules: Preprocess = encoder.preprocess
        self._side = encoder.graph.resolution[0]

    def image(self, frame: UInt8) -> torch.Tensor:
        """A frame, uint8 [H, W, 3] RGB, as the encoder takes it: fitted, normalised, padded with zeros."""
        height, width = fitted_size(frame.shape[:2], self._side)
        canvas = fit_frame(frame, self._rules, self._side, self._side)
        tensor = torch.from_numpy(normalise(np.ascontiguousarray(canvas[None, :height, :width]), self._rules))
        return F.pad(tensor, (0, self._side - width, 0, self._side - height))

    def encode(self, image: torch.Tensor) -> torch.Tensor:
        """Embedding [1, 256, 64, 64] of what `image` gave."""
        with torch.inference_mode():
            return self.model(image)  # type: ignore[no-any-return]

    def decode(
        self, embedding: torch.Tensor, coords: npt.NDArray[np.float32], labels: npt.NDArray[np.int32]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Masks and predicted IoU for points [P, N, 2] in the 1024 frame with labels [P, N]."""
        with torch.inference_mode():
            masks, iou = self.model.decode(embedding, torch.from_numpy(coords), torch.from_numpy(labels))
            return masks[:, 1:], iou[:, 1:]

    def segment(self, frame: UInt8, points: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
        """Masks [P, 3, H, W] of a frame for one point per prompt, [P, 1, 2] in its own pixels."""
        size = PromptFrame(*frame.shape[:2])
        height, width = size.fitted
        masks, _ = self.decode(
            self.encode(self.image(frame)), size.to_frame(points), np.ones(points.shape[:2], np.int32)
        )
        with torch.inference_mode():
            full = F.interpolate(masks, (PROMPT_FRAME, PROMPT_FRAME), mode="bilinear", align_corners=False)
            full = F.interpolate(full[..., :height, :width], frame.shape[:2], mode="bilinear", align_corners=False)
            return (full > 0).numpy()
