# SPDX-License-Identifier: Apache-2.0
"""A PyTorch model behind the two methods that "segment everything" asks of a `SegmentAnything`."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image

from evit_deploy.data.masks import LowRes, PromptFrame
from evit_deploy.export.reference import settle_vector_library

MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)


class TorchSam:
    """Embeds and decodes with PyTorch; keeps answers, so that settings that ask the same again cost nothing.

    Args:
        model: `evit_deploy.models.sam.SegmentAnything`.
        batch: Prompts in a batch.
    """

    def __init__(self, model, batch=12):
        settle_vector_library()
        self.model, self.batch, self.answers, self.batches = model, batch, {}, 0

    def embed(self, frame):
        side = self.model.image_size
        height, width = (int(edge * (side / max(frame.shape[:2])) + 0.5) for edge in frame.shape[:2])
        picture = np.asarray(Image.fromarray(frame).resize((width, height), Image.Resampling.BILINEAR), np.float32)
        image = np.zeros((1, 3, side, side), np.float32)
        image[0, :, :height, :width] = ((picture - np.float32(MEAN)) / np.float32(STD)).transpose(2, 0, 1)
        with torch.inference_mode():
            return PromptFrame(*frame.shape[:2]), self.model(torch.from_numpy(image)), hash(frame.tobytes())

    def decode(self, embedding, coords, labels):
        frame, features, key = embedding
        for start in range(0, len(coords), self.batch):
            asked = np.asarray(coords[start : start + self.batch])
            name = (key, asked.tobytes())
            if name not in self.answers:
                self.batches += 1
                points = torch.from_numpy(frame.to_frame(asked))
                marks = torch.from_numpy(np.asarray(labels[start : start + self.batch]))
                with torch.inference_mode():
                    self.answers[name] = [part[:, 1:].numpy() for part in self.model.decode(features, points, marks)]
            yield LowRes(*self.answers[name])
