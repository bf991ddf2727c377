# SPDX-License-Identifier: Apache-2.0
"""What INT8 loses, in the task's own metric.

* Segmentation: points of mIoU. Frames with labels (drawn scenes, for weights that were trained on such) are counted
  against these. Otherwise FP32's own probabilities stand for the truth that nobody knows: a pixel of class c with
  probability p counts p for c. The *expected* mIoU of FP32's classes less that of INT8's is what is expected to be
  lost. An overconfident network overstates it: what it is sure of counts in full.
* Classification: the same with the probability of the best class, in points of top-1.
* Image encoders: 100 minus the mean intersection over union of the masks that the decoder makes of it.

Class maps are compared at the logits' own size, an eighth of the frame's sides: labels at the centre of each cell.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import onnx

from evit_deploy.data.classes import IGNORE
from evit_deploy.errors import CheckFailedError
from evit_deploy.precision.graph import drop_unused
from evit_deploy.precision.int8.curve import Score
from evit_deploy.precision.int8.place import place
from evit_deploy.precision.probe import Feed
from evit_deploy.runtime.backends.onnxruntime import session_options
from evit_deploy.runtime.engine import available_cores

Array = npt.NDArray[Any]
Masks = Callable[[npt.NDArray[np.float32]], npt.NDArray[np.bool_]]

PRESENT = 1e-3
"""Share of the expected truth from which on a class counts in an expected mIoU: rarer ones are noise."""

MEMORY = 256 << 20
"""Bytes of frames that are kept, so that they are not read or drawn for every assignment."""

_RESAMPLED = 200


class Frames(Protocol):
    """Held-out frames, which can be gone through again and again."""

    def __len__(self) -> int:
        """How many."""

    def __iter__(self) -> Iterator[Feed]:
        """Each as a graph takes it, in a batch of one."""

    def labels(self, index: int) -> npt.NDArray[np.uint8] | None:
        """Train ids [H, W] of a frame at its own size, or None."""


@dataclass(frozen=True)
class _Answer:
    """How one frame came out: `truth` and `found` are confusion counts, or gains, of FP32 and of INT8."""

    exact: Array
    found: Array
    agreement: float
    error: float


@dataclass(frozen=True)
class _Known:
    """FP32's answer to a frame, and what is true: class numbers, packed masks, or None."""

    exact: Array
    truth: Any
    labelled: bool = False


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
        self._kept: list[Feed] = []
        self._known: list[_Known] = []

    def __call__(self, layers: Collection[str], frames: int | None = None) -> Score:
        """Judge an assignment.

        Args:
            layers: Convolutions in INT8.
            frames: Judge on the first so many frames only; None takes all.

        Raises:
            CheckFailedError: FP32's own answer is not finite.
        """
        count = len(self._frames) if frames is None else min(frames, len(self._frames))
        run = _session(place(self._model, layers, self._scales, check=False), self._output)
        plain = _session(self._model, self._output) if len(self._known) < count else None
        answers = []
        for index, feed in enumerate(self._feeds(count)):
            if index == len(self._known):
                assert plain is not None
                self._known.append(self._know(index, _finite(plain(feed))))
            answers.append(self._compare(self._known[index], run(feed)))
        return _score(answers, self._task, self._known[0].labelled)

    def _feeds(self, count: int) -> Iterator[Feed]:
        """The first frames: as many from memory as may be there, the others read again."""
        yield from self._kept[:count]
        there = len(self._kept)
        if there >= count:
            return
        for index, feed in zip(range(count), self._frames, strict=False):
            if index < there:
                continue
            size = sum(array.nbytes for array in feed.values())
            if index == len(self._kept) and (index + 1) * size <= MEMORY:
                self._kept.append(feed)
            yield feed

    def _know(self, index: int, exact: Array) -> _Known:
        """What is compared with, of a frame."""
        if self._task == "sam":
            assert self._masks is not None
            return _Known(exact, np.packbits(self._masks(exact)))
        labels = self._frames.labels(index) if self._task == "seg" else None
        cells = None if labels is None else _cells(labels, exact.shape[1:])
        return _Known(exact, cells, labels is not None)

    def _compare(self, known: _Known, found: Array) -> _Answer:
        exact = known.exact
        norm = max(float(np.linalg.norm(exact)), 1e-30)
        error = float(np.linalg.norm(found - exact)) / norm if np.isfinite(found).all() else float("inf")
        if self._task == "sam":
            assert self._masks is not None
            masks = self._masks(found)
            ours = np.unpackbits(known.truth, count=masks.size).reshape(masks.shape).astype(bool)
            return _compare_masks(ours, masks, error)
        ours, theirs = exact.argmax(0), found.argmax(0)
        same = float((ours == theirs).mean())
        if self._task == "cls":
            odds = softmax(exact)
            return _Answer(odds[ours], odds[theirs], same, error)
        truth = softmax(exact).reshape(len(exact), -1) if known.truth is None else _one_hot(known.truth, len(exact))
        return _Answer(confusion(truth, ours), confusion(truth, theirs), same, error)


def softmax(logits: Array) -> Array:
    """Probabilities along the first axis."""
    powers = np.exp(logits - logits.max(axis=0))
    return np.asarray(powers / powers.sum(axis=0))


def confusion(truth: Array, classes: Array) -> Array:
    """Truth by prediction.

    Args:
        truth: Probability of every class at every pixel, [C, pixels]; all zero where a pixel does not count.
        classes: Predicted class, [h, w].

    Returns:
        Float [C, C], row = truth, column = prediction.
    """
    return np.asarray(truth @ _one_hot(classes, len(truth)).T)


def mean_iou(counts: Array, least: float = 0.0) -> Array:
    """Mean IoU of confusion matrices [..., C, C], over the classes whose share of the truth is above `least`; 0..1."""
    truth, hits = counts.sum(axis=-1), np.diagonal(counts, axis1=-2, axis2=-1)
    union = truth + counts.sum(axis=-2) - hits
    present = truth > least * truth.sum(axis=-1, keepdims=True)
    iou = np.divide(hits, union, out=np.zeros_like(hits, float), where=present & (union > 0))
    return np.asarray(iou.sum(axis=-1) / np.maximum(present.sum(axis=-1), 1))


def _score(answers: list[_Answer], task: str, labelled: bool) -> Score:
    exact, found = (np.stack([getattr(answer, name) for answer in answers]) for name in ("exact", "found"))
    agreement = float(np.mean([answer.agreement for answer in answers]))
    error = float(np.mean([answer.error for answer in answers]))
    least = 0.0 if labelled else PRESENT

    def drop(weights: Array) -> Array:
        """Points lost where frames count so often, float [K] for weights [K, frames]."""
        if task != "seg":
            return np.asarray(100 * (weights @ (exact - found)) / weights.sum(axis=1))
        ours, theirs = (np.tensordot(weights, counts, 1) for counts in (exact, found))
        return np.asarray(100 * (mean_iou(ours, least) - mean_iou(theirs, least)))

    count = len(answers)
    again = np.random.default_rng(0).multinomial(count, np.full(count, 1 / count), size=_RESAMPLED).astype(float)
    spread = float(drop(again).std()) if count > 1 else 0.0
    return Score(float(drop(np.ones((1, count)))[0]), agreement, error, count, spread)


def _compare_masks(ours: Array, theirs: Array, error: float) -> _Answer:
    """Mean intersection over union of masks [..., h, w]; 1 where both are empty."""
    both, either = ((mask.sum(axis=(-1, -2))) for mask in (ours & theirs, ours | theirs))
    overlap = float(np.divide(both, either, out=np.ones(both.shape), where=either > 0).mean())
    return _Answer(np.asarray(1.0), np.asarray(overlap), overlap, error)


def _cells(labels: npt.NDArray[np.uint8], shape: tuple[int, ...]) -> npt.NDArray[np.uint8]:
    """Labels at the centres of a grid's cells."""
    rows, columns = (((np.arange(n) + 0.5) * side / n).astype(int) for n, side in zip(shape, labels.shape, strict=True))
    return np.asarray(labels[rows][:, columns])


def _one_hot(classes: Array, count: int) -> Array:
    """Float [count, pixels]; all zero where a class is none of them, such as labels that are not judged."""
    assert count <= IGNORE
    return np.asarray(classes.reshape(1, -1) == np.arange(count).reshape(-1, 1), np.float64)


def _finite(answer: Array) -> Array:
    if not np.isfinite(answer).all():
        raise CheckFailedError(
            "the FP32 graph itself is not finite on a frame to judge with", found="NaN or infinity",
            fix="the checkpoint is broken, or made for another normalisation: try other weights",
        )  # fmt: skip
    return answer


def _session(model: onnx.ModelProto, output: str) -> Callable[[Feed], Array]:
    """A graph run as its Q/DQ say: without turning them into integer kernels of a CPU.

    Those are 8-bit with other roundings, and on CPUs without VNNI they saturate between products.
    """
    import onnxruntime as ort

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
