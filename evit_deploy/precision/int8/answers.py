# SPDX-License-Identifier: Apache-2.0
"""What INT8 loses, in the task's own metric.

* Segmentation: points of mIoU. Frames with labels (drawn scenes, for weights that were trained on such) are counted
  against these. Otherwise FP32's own probabilities stand for the truth that nobody knows: a pixel of class c with
  probability p counts p for c. The *expected* mIoU of FP32's classes less that of INT8's is what is expected to be
  lost. It is an estimate: an overconfident network overstates it, because what it is sure of counts in full; one that
  is sure of nothing has little to lose. It may be just below zero, since the likeliest class is best for pixels, not
  for mIoU.
* Classification: the same with the probability of the best class, in points of top-1.
* Image encoders: 100 less the mean intersection over union of the masks that the decoder makes of it, in percent.

Class maps are compared at the logits' own size, an eighth of the frame's sides: labels at the centre of each cell.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort

from evit_deploy.data.resize import resize_nearest
from evit_deploy.errors import CheckFailedError
from evit_deploy.precision.graph import drop_unused
from evit_deploy.precision.int8.curve import Score
from evit_deploy.precision.int8.loss import PRESENT, confusion, drop_with_spread, masks_overlap, one_hot, softmax
from evit_deploy.precision.int8.place import place
from evit_deploy.precision.probe import Feed
from evit_deploy.runtime.backends.onnxruntime import session_options
from evit_deploy.runtime.engine import available_cores

Array = npt.NDArray[Any]
Masks = Callable[[npt.NDArray[np.float32]], npt.NDArray[np.bool_]]

MEMORY = 512 << 20
"""Bytes of frames and FP32 answers that are kept; beyond, they are read and computed again for every assignment."""


class Frames(Protocol):
    """Held-out frames, which can be gone through again and again."""

    def __len__(self) -> int:
        """How many."""

    def __iter__(self) -> Iterator[Feed]:
        """Each as a graph takes it, in a batch of one."""

    def labels(self, index: int) -> npt.NDArray[np.uint8] | None:
        """Train ids [H, W] of a frame at its own size, or None."""


@dataclass(frozen=True)
class _Known:
    """A frame and FP32's answer to it; `truth` is class numbers [h, w], packed masks, or None."""

    feed: Feed
    exact: Array
    truth: Array | None

    @property
    def size(self) -> int:
        truth = 0 if self.truth is None else self.truth.nbytes
        return sum(array.nbytes for array in self.feed.values()) + self.exact.nbytes + truth


@dataclass(frozen=True)
class _Answer:
    """How one frame came out: confusion counts, or a gain, of FP32 and of INT8."""

    exact: Array
    found: Array
    agreement: float
    error: float


class Judge:
    """Judges assignments of one graph on held-out frames.

    Args:
        model: Arranged FP32 graph.
        scales: Step of every tensor that INT8 layers read.
        frames: What to judge on.
        task: "cls", "seg" or "sam" (its image encoder).
        masks: For an encoder: from an embedding [C, h, w] to masks, bool of any shape.
    """

    def __init__(
        self, model: onnx.ModelProto, scales: Mapping[str, float], frames: Frames, task: str, masks: Masks | None = None
    ) -> None:
        self._scales, self._frames, self._task, self._masks = scales, frames, task, masks
        self._output = "embedding" if task == "sam" else "logits"
        self._model = _cut(model, self._output)
        self._kept: list[_Known] = []
        self._room = MEMORY

    def __call__(self, layers: Collection[str], frames: int | None = None) -> Score:
        """Judge an assignment.

        Args:
            layers: Convolutions in INT8.
            frames: Judge on the first so many frames only; None takes all.

        Raises:
            CheckFailedError: FP32's own answer is not finite.
            UsageError: A layer that may not be INT8, or has no scale.
        """
        count = len(self._frames) if frames is None else min(frames, len(self._frames))
        run = _session(place(self._model, layers, self._scales, check=False), self._output)
        answers, labelled = [], False
        for known in self._first(count):
            answers.append(self._compare(known, run(known.feed)))
            labelled = self._task == "seg" and known.truth is not None
        exact, found = (np.stack([getattr(answer, name) for answer in answers]) for name in ("exact", "found"))
        drop, spread = drop_with_spread(exact, found, 0.0 if labelled else PRESENT)
        agreement, error = (float(np.mean([getattr(one, name) for one in answers])) for name in ("agreement", "error"))
        return Score(drop, agreement, error, len(answers), spread)

    def _first(self, count: int) -> Iterator[_Known]:
        """The first frames and FP32's answers: from memory what is there, the others anew."""
        there = len(self._kept)
        yield from self._kept[:count]
        if there >= count:
            return
        plain = _session(self._model, self._output)
        for index, feed in zip(range(count), self._frames, strict=False):
            if index >= there:
                known = self._know(index, feed, plain(feed))
                if index == len(self._kept) and known.size <= self._room:
                    self._kept.append(known)
                    self._room -= known.size
                yield known

    def _know(self, index: int, feed: Feed, exact: Array) -> _Known:
        if not np.isfinite(exact).all():
            raise CheckFailedError(
                "the FP32 graph itself is not finite on a frame to judge with", found="NaN or infinity",
                fix="the checkpoint is broken, or made for another normalisation: try other weights",
            )  # fmt: skip
        if self._task == "sam":
            return _Known(feed, exact, np.packbits(self._made(exact)))
        labels = self._frames.labels(index) if self._task == "seg" else None
        return _Known(feed, exact, None if labels is None else resize_nearest(labels, *exact.shape[1:]))

    def _compare(self, known: _Known, found: Array) -> _Answer:
        exact, truth = known.exact, known.truth
        norm = max(float(np.linalg.norm(exact)), 1e-30)
        error = float(np.linalg.norm(found - exact)) / norm if np.isfinite(found).all() else float("inf")
        if self._task == "sam":
            assert truth is not None
            masks = self._made(found)
            ours = np.unpackbits(truth, count=masks.size).reshape(masks.shape).astype(bool)
            overlap = masks_overlap(ours, masks)
            return _Answer(np.array(1.0), np.array(overlap), overlap, error)
        best, chosen = exact.argmax(0), found.argmax(0)
        same = float((best == chosen).mean())
        if self._task == "cls":
            odds = softmax(exact)
            return _Answer(odds[best], odds[chosen], same, error)
        odds = softmax(exact).reshape(len(exact), -1) if truth is None else one_hot(truth, len(exact))
        return _Answer(confusion(odds, best), confusion(odds, chosen), same, error)

    def _made(self, embedding: Array) -> npt.NDArray[np.bool_]:
        assert self._masks is not None
        return self._masks(embedding)


def _session(model: onnx.ModelProto, output: str) -> Callable[[Feed], Array]:
    """A graph run as its Q/DQ say: without turning them into integer kernels of a CPU.

    Those are 8-bit with other roundings, and on CPUs without VNNI they saturate between products.
    """
    options = session_options(available_cores())
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return lambda feed: np.asarray(session.run([output], dict(feed))[0][0])


def _cut(model: onnx.ModelProto, output: str) -> onnx.ModelProto:
    """A graph up to one of its tensors: what makes a class map of it takes long, and is no matter of INT8."""
    result = onnx.ModelProto()
    result.CopyFrom(model)
    shown = [value for value in model.graph.output if value.name == output]
    del result.graph.output[:]
    plain = onnx.helper.make_tensor_value_info(output, onnx.TensorProto.FLOAT, None)
    result.graph.output.append(shown[0] if shown else plain)
    drop_unused(result)
    return result
