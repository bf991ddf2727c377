# SPDX-License-Identifier: Apache-2.0
"""A predictor without engines, whose masks are known: discs around points, and the insides of boxes."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np

from evit_deploy.data.masks import LOW_RES, LowRes, PromptFrame
from evit_deploy.errors import UnavailableError
from evit_deploy.runtime.preprocess import check_frame
from evit_deploy.runtime.sam import Embedding, Masks, SegmentAnything
from evit_deploy.runtime.sam.prompts import pack_prompts
from tests.manifest.sample import sample_bundle

RADII = (40.0, 80.0, 120.0)
"""Of the three candidates' discs, in pixels of the 1024 frame."""

SCORES = (0.91, 0.97, 0.89)


class FakeSam(SegmentAnything):
    """`SegmentAnything` with drawn masks.

    Attributes:
        embedded: Pictures embedded so far.
        asked: Prompts answered so far, in order.
        hold: While it is cleared, batches of everything wait.
        broken: The next prompt fails as an engine may.
    """

    def __init__(self) -> None:
        self.bundle = sample_bundle()
        self.embedded: list[np.ndarray] = []
        self.asked: list[dict] = []
        self.threads: set[str] = set()
        self.hold, self.closed, self.broken = threading.Event(), False, False
        self.hold.set()
        self._model, self._current = "fake", None

    def embed(self, frame: np.ndarray) -> Embedding:
        frame = check_frame(frame)
        self.threads.add(threading.current_thread().name)
        self.embedded.append(frame)
        return Embedding(np.zeros((1, 256, 64, 64), np.float32), PromptFrame(*frame.shape[:2]), self._model)

    def predict(self, points=None, labels=None, box=None, mask=None, *, multimask=True, embedding=None) -> Masks:
        self.threads.add(threading.current_thread().name)
        current = self._require_embedding(embedding)
        prompts = pack_prompts(current.frame, points, labels, box, mask)
        self.asked.append({"points": points, "labels": labels, "box": box, "multimask": multimask})
        if self.broken:
            self.broken = False
            raise UnavailableError("the engine failed", fix="nothing helps")
        count = 3 if multimask else 1
        low_res = np.stack([draw(*prompt)[:count] for prompt in zip(prompts.coords, prompts.labels, strict=True)])
        scores = np.tile(np.array(SCORES[:count], np.float32), (len(prompts), 1))
        if prompts.batched:
            return Masks(low_res, scores, current.frame)
        return Masks(low_res[0], scores[0], current.frame)

    def decode(self, embedding: Embedding, coords: np.ndarray, labels: np.ndarray) -> Iterator[LowRes]:
        coords = embedding.frame.to_frame(coords)
        for start in range(0, len(coords), 8):
            self.hold.wait(timeout=30)
            batch = [draw(*prompt) for prompt in zip(coords[start : start + 8], labels[start : start + 8], strict=True)]
            yield LowRes(np.stack(batch), np.tile(np.array(SCORES, np.float32), (len(batch), 1)))

    def close(self) -> None:
        self.closed = True


def draw(coords: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Logits [3, 256, 256] of a prompt's slots: within any foreground disc or the box, and in no background disc."""
    place = (np.arange(LOW_RES) + 0.5) * (1024 / LOW_RES)
    x, y = np.meshgrid(place, place)
    masks = np.full((3, LOW_RES, LOW_RES), -1000.0)
    corners = coords[labels >= 2]
    if len(corners):
        (x0, y0), (x1, y1) = corners
        masks[:] = np.minimum.reduce([x - x0, x1 - x, y - y0, y1 - y])
    discs = [
        (label, np.array(RADII)[:, None, None] - np.hypot(x - point[0], y - point[1]))
        for point, label in zip(coords, labels, strict=True)
        if label in (0, 1)
    ]
    for label, disc in sorted(discs, key=lambda pair: -pair[0]):
        masks = np.maximum(masks, disc) if label else np.minimum(masks, -disc)
    return (masks * 4).astype(np.float32)
