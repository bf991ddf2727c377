# SPDX-License-Identifier: Apache-2.0
"""Semantic segmentation of frames."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from evit_deploy.data.classes import ClassSet
from evit_deploy.data.resize import resize_nearest, upsample_bicubic
from evit_deploy.errors import UsageError
from evit_deploy.runtime.engine import Engine
from evit_deploy.runtime.preprocess import check_frame
from evit_deploy.runtime.task import Task

UInt8 = npt.NDArray[np.uint8]
Float32 = npt.NDArray[np.float32]
_STRIP_PIXELS = 1 << 17


@dataclass(frozen=True)
class Segmentation:
    """The classes of a frame, at the frame's own size.

    Attributes:
        class_map: uint8 [H, W], index into `classes.names`. A buffer of the engine, overwritten by its next call.
        classes: Names and colours.
        confidence: float32 [H, W], softmax probability of the chosen class, if asked for.
    """

    class_map: UInt8
    classes: ClassSet
    confidence: npt.NDArray[np.float32] | None = None

    def copy(self) -> Segmentation:
        """A result that the engine's next call does not overwrite."""
        confidence = None if self.confidence is None else self.confidence.copy()
        return replace(self, class_map=self.class_map.copy(), confidence=confidence)

    def colour(self) -> UInt8:
        """The class map in the dataset's colours, uint8 [H, W, 3] RGB."""
        return np.asarray(self.classes.palette[self.class_map], np.uint8)

    def overlay(self, frame: UInt8, opacity: float = 0.5) -> UInt8:
        """The colours laid over a frame of the same size, uint8 [H, W, 3] RGB."""
        if frame.shape[:2] != self.class_map.shape:
            raise UsageError(
                "the frame has another size than the result",
                found=str(frame.shape[:2]),
                expected=str(self.class_map.shape),
            )
        mixed = frame * np.float32(1 - opacity) + self.colour() * np.float32(opacity)
        return np.asarray(np.rint(mixed), np.uint8)

    def fractions(self) -> dict[str, float]:
        """Part of the frame that each class covers, largest first, absent classes left out."""
        counts = np.bincount(self.class_map.ravel(), minlength=len(self.classes.names))
        order = [index for index in np.argsort(-counts, kind="stable") if counts[index]]
        return {self.classes.names[index]: float(counts[index] / self.class_map.size) for index in order}


class Segmenter(Task):
    """Segments frames of any size: ``Segmenter(engine)(frame)``.

    The frame is stretched to the graph's size and the class map brought back by nearest neighbour; a graph that ends
    in logits is upsampled to the frame's size before the argmax, as the reference evaluates.
    """

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self._map: UInt8 = np.empty((0, 0), np.uint8)
        self._confidence: Float32 = np.empty((0, 0), np.float32)

    def __call__(self, frame: UInt8, *, confidence: bool = False) -> Segmentation:
        """Segment one frame.

        Args:
            frame: uint8 [H, W, 3] RGB, any size.
            confidence: Also return the probability of the chosen class. Needs a graph exported with
                ``--output confidence`` or ``--output logits``.

        Raises:
            UsageError: Not such a frame, or a graph without confidence.
        """
        frame = check_frame(frame)
        graph = self.manifest.graph
        if confidence and graph.output == "classes":
            raise UsageError(
                "this engine's graph ends in a class map and knows no confidence",
                fix=f"evit-deploy export {self.manifest.model.name} --output confidence, then build again",
            )
        with self.engine.exclusive():
            outputs = self._run_frame(frame)
            self._prepare_buffers(frame.shape[0], frame.shape[1])
            if graph.output == "logits":
                certainty = self._confidence if confidence else None
                classify_pixels(outputs["logits"], self._map, certainty)
                return Segmentation(self._map, self.classes, certainty)
            result = resize_nearest(outputs["classes"], frame.shape[0], frame.shape[1], out=self._map)
            if not confidence:
                return Segmentation(result, self.classes)
            certainty = resize_nearest(outputs["confidence"], frame.shape[0], frame.shape[1], out=self._confidence)
            return Segmentation(result, self.classes, certainty)

    def _prepare_buffers(self, height: int, width: int) -> None:
        """Make the results' arrays anew only when the frames change their size."""
        if self._map.shape != (height, width):
            self._map = np.empty((height, width), np.uint8)
            self._confidence = np.empty((height, width), np.float32)


def classify_pixels(logits: Float32, out: UInt8, confidence: Float32 | None) -> None:
    """Upsample logits bicubically, then take the argmax: the reference's order; a strip of rows at a time.

    Args:
        logits: Float [classes, h, w].
        out: uint8 [H, W], receives the classes.
        confidence: float32 [H, W], receives the softmax probability of the chosen class, if given.
    """
    height, width = out.shape
    rows = max(1, _STRIP_PIXELS // width)
    for top in range(0, height, rows):
        strip = slice(top, min(top + rows, height))
        scores = upsample_bicubic(logits, height, width, rows=strip)
        out[strip] = scores.argmax(axis=0)
        if confidence is not None:
            confidence[strip] = 1.0 / np.exp(scores - scores.max(axis=0)).sum(axis=0)
