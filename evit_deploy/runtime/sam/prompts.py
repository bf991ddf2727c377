# SPDX-License-Identifier: Apache-2.0
"""Prompts as users give them, checked and packed as the decoder takes them.

Users speak of pixels of their frame. What cannot be meant (a point outside of the frame, a box without area, NaN) is
refused here, in words, because the network would answer it with some mask or other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from evit_deploy.data.masks import LOW_RES, PromptFrame
from evit_deploy.errors import UsageError
from evit_deploy.runtime.sam.reference import EMPTY_SLOT

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Int32 = npt.NDArray[np.int32]

FARTHEST = 1e9
"""No coordinate is as far out, in pixels."""

CORNERS = (2, 3)
"""Labels of a box's corners, which stand behind the points."""


@dataclass(frozen=True, eq=False)
class Prompts:
    """P prompts of N slots each.

    Attributes:
        coords: float32 [P, N, 2], (x, y) in the 1024 frame.
        labels: int32 [P, N]: 1 object, 0 background, 2 and 3 corners of a box, -2 an empty slot.
        mask: float32 [P, 1, 256, 256], logits of earlier answers; None without.
        batched: Whether the user gave a batch, and so gets one back.
    """

    coords: Float32
    labels: Int32
    mask: Float32 | None = None
    batched: bool = True

    def __len__(self) -> int:
        return len(self.labels)


def pack_prompts(
    frame: PromptFrame, points: Any = None, labels: Any = None, box: Any = None, mask: Any = None
) -> Prompts:
    """Check prompts and pack them.

    Args:
        frame: The frame they are for.
        points: [N, 2], or [P, N, 2] of a batch, as (x, y) in pixels of the frame; or a list of P lists of any lengths.
        labels: [N] or [P, N], 1 for the object and 0 for background; None: all 1.
        box: [4], or [P, 4] of a batch, as (x0, y0, x1, y1) in pixels of the frame.
        mask: Logits of an earlier answer, [256, 256] or [1, 256, 256], or [P, 1, 256, 256] of a batch.

    Raises:
        UsageError: Anything that cannot be meant, with where it stands.
    """
    if points is None and labels is not None:
        raise UsageError("there are labels without points", fix="pass points=[[x, y], …] as well")
    given: dict[str, tuple[bool, Any]] = {}
    if points is not None:
        given["points"] = _read_points(frame, points, labels)
    if box is not None:
        given["box"] = _read_boxes(frame, box)
    if mask is not None:
        given["mask"] = _read_masks(mask)
    batched, count = _require_together({name: (many, _count(value)) for name, (many, value) in given.items()})
    coords, kinds = (
        given["points"][1] if "points" in given else (np.zeros((count, 0, 2)), np.zeros((count, 0), np.int32))
    )
    if box is not None:
        coords = np.concatenate([coords, given["box"][1]], axis=1)
        kinds = np.concatenate([kinds, np.broadcast_to(np.array(CORNERS, np.int32), (count, 2))], axis=1)
    if mask is None:
        _require_something(kinds)
    if not kinds.shape[1]:
        coords, kinds = np.zeros((count, 1, 2)), np.full((count, 1), EMPTY_SLOT, np.int32)
    return Prompts(
        frame.to_frame(coords), np.ascontiguousarray(kinds), given["mask"][1] if mask is not None else None, batched
    )


def check_slots(coords: Any, labels: Any) -> tuple[Float64, Int32]:
    """Read prompts that are slots already: float64 [P, N, 2] in pixels of the frame, and int32 [P, N].

    Raises:
        UsageError: Other shapes, an unknown label, or NaN.
    """
    places, kinds = _numbers("coords", coords), np.asarray(labels)
    if places.ndim != 3 or places.shape[2] != 2 or kinds.shape != places.shape[:2] or not kinds.shape[1]:
        raise UsageError(
            "coords and labels do not fit",
            found=f"{list(places.shape)} and {list(kinds.shape)}",
            expected="[P, N, 2] and [P, N], N at least 1",
        )
    if not np.isin(kinds, (EMPTY_SLOT, 0, 1, *CORNERS)).all():
        raise UsageError("a label is none", found=str(np.unique(kinds).tolist()), expected="1, 0, 2 and 3, or -2")
    return places, kinds.astype(np.int32)


def _count(value: Any) -> int:
    return len(value[0] if isinstance(value, tuple) else value)


def _require_together(given: dict[str, tuple[bool, int]]) -> tuple[bool, int]:
    """(Batched or not, how many prompts) of all parts, which must say the same."""
    if not given:
        raise UsageError("the prompt is empty", expected="points, a box, a mask, or several of them")
    if len(set(given.values())) > 1:
        raise UsageError(
            "the parts of the prompt do not belong together",
            found=", ".join(f"{name} of {count if many else 'one prompt'}" for name, (many, count) in given.items()),
            expected="all of one prompt, or all of a batch of as many",
            fix="a batch has points [P, N, 2], labels [P, N], box [P, 4], mask [P, 1, 256, 256]",
        )  # fmt: skip
    return next(iter(given.values()))


def _require_something(labels: Int32) -> None:
    empty = np.flatnonzero((labels == EMPTY_SLOT).all(axis=1))
    if len(empty):
        which = "the prompt" if len(labels) == 1 else f"prompt {empty[0]}"
        raise UsageError(f"{which} is empty", found="no points", expected="points, a box, a mask, or several of them")


def _numbers(name: str, value: Any) -> Float64:
    """An array of finite numbers.

    Raises:
        UsageError: It holds none, or NaN, or infinity.
    """
    try:
        array = np.asarray(value)
    except (ValueError, TypeError) as error:
        raise UsageError(f"{name} is no array", found="parts of unequal length") from error
    if array.dtype.kind not in "iuf":
        if array.size:
            raise UsageError(f"{name} holds no numbers", found=f"{array.dtype} {list(array.shape)}")
        array = array.astype(np.float64)
    sound = np.abs(array) < FARTHEST  # False for NaN as well
    if not sound.all():
        where = [int(index) for index in np.argwhere(~sound)[0]]
        raise UsageError(f"{name} holds a number that is none, or too large", found=f"{array[tuple(where)]} at {where}")
    return np.asarray(array, np.float64)


def _read_points(frame: PromptFrame, points: Any, labels: Any) -> tuple[bool, tuple[Float64, Int32]]:
    if _is_ragged(points):
        return True, _pad(frame, points, labels)
    places = _numbers("points", points)
    if places.size == 0 and places.ndim < 3:
        places = places.reshape(0, 2)
    if places.ndim not in (2, 3) or places.shape[-1] != 2:
        raise UsageError(
            "points have another shape", found=str(list(places.shape)),
            expected="[N, 2], or [P, N, 2] of a batch, as (x, y)", fix="one point is [[x, y]]",
        )  # fmt: skip
    kinds = _read_labels(places.shape[:-1], labels)
    batched = places.ndim == 3
    places, kinds = (places, kinds) if batched else (places[None], kinds[None])
    _require_inside(frame, places)
    return batched, (places, kinds)


def _is_ragged(points: Any) -> bool:
    """Whether a list of prompts has points in unequal numbers."""
    if not isinstance(points, Sequence) or not len(points):
        return False
    try:
        return len({np.shape(prompt) for prompt in points}) > 1 and all(
            np.ndim(prompt) == 2 or np.size(prompt) == 0 for prompt in points
        )
    except ValueError:  # a prompt that is uneven itself
        return False


def _pad(frame: PromptFrame, points: Any, labels: Any) -> tuple[Float64, Int32]:
    """Prompts of unequal numbers of points, with empty slots behind."""
    if labels is not None and (not isinstance(labels, Sequence) or len(labels) != len(points)):
        raise UsageError(
            "labels and points differ in number", found=f"labels of {np.shape(labels)}", expected=f"{len(points)} lists"
        )
    rows = [
        _read_points(frame, prompt, None if labels is None else labels[index])[1] for index, prompt in enumerate(points)
    ]
    most = max(kinds.shape[1] for _, kinds in rows)
    places, kinds = np.zeros((len(rows), most, 2)), np.full((len(rows), most), EMPTY_SLOT, np.int32)
    for index, (some, of_some) in enumerate(rows):
        places[index, : some.shape[1]], kinds[index, : some.shape[1]] = some[0], of_some[0]
    return places, kinds


def _read_labels(shape: tuple[int, ...], labels: Any) -> Int32:
    if labels is None:
        return np.ones(shape, np.int32)
    values = _numbers("labels", np.asarray(labels, np.int32) if np.asarray(labels).dtype == np.bool_ else labels)
    if values.size == 0 and 0 in shape:
        return np.ones(shape, np.int32)
    if values.shape != shape:
        raise UsageError(
            "labels and points differ in number",
            found=f"labels {list(values.shape)} for points {[*shape, 2]}", expected=f"labels {list(shape)}",
        )  # fmt: skip
    if not np.isin(values, (0, 1)).all():
        odd = values[~np.isin(values, (0, 1))][0]
        raise UsageError(
            "a label is none", found=f"{odd:g}", expected="1 for the object, 0 for background",
            fix="a box goes to box=, and prompts of unequal length are lists: no label is needed for either",
        )  # fmt: skip
    return values.astype(np.int32)


def _require_inside(frame: PromptFrame, places: Float64) -> None:
    size = np.array((frame.width, frame.height))
    outside = ((places < 0) | (places > size)).any(axis=-1)
    if outside.any():
        prompt, index = (int(part) for part in np.argwhere(outside)[0])
        x, y = places[prompt, index]
        swapped = 0 <= y <= frame.width and 0 <= x <= frame.height
        raise UsageError(
            f"point {index}" + (f" of prompt {prompt}" if len(places) > 1 else "") + " is outside of the frame",
            found=f"(x, y) = ({x:g}, {y:g})",
            expected=f"x in 0..{frame.width} and y in 0..{frame.height}, pixels of the frame",
            fix="points are (x, y), not (row, column)" if swapped else "points are in pixels of the frame itself",
        )


def _read_boxes(frame: PromptFrame, box: Any) -> tuple[bool, Float64]:
    """Corners [P, 2, 2]. A box may stick out of the frame, as those of detectors do; PyTorch takes it as it is."""
    boxes = _numbers("box", box)
    if boxes.ndim not in (1, 2) or boxes.shape[-1] != 4:
        raise UsageError(
            "a box has another shape", found=str(list(boxes.shape)),
            expected="[4], or [P, 4] of a batch, as (x0, y0, x1, y1)",
        )  # fmt: skip
    corners = boxes.reshape(-1, 2, 2)
    flat = (corners[:, 1] <= corners[:, 0]).any(axis=1)
    away = ((corners[:, 1] <= 0) | (corners[:, 0] >= (frame.width, frame.height))).any(axis=1)
    for wrong, what, expected in (
        (flat, "has no area", "(x0, y0, x1, y1) with x0 < x1 and y0 < y1"),
        (
            away,
            "lies outside of the frame",
            f"a box that covers some of the frame, {frame.width}x{frame.height} pixels",
        ),
    ):
        if wrong.any():
            index = int(np.flatnonzero(wrong)[0])
            x0, y0, x1, y1 = corners[index].ravel()
            raise UsageError(
                "the box" + (f" of prompt {index}" if len(corners) > 1 else "") + f" {what}",
                found=f"({x0:g}, {y0:g}, {x1:g}, {y1:g})", expected=expected,
                fix="a box is two corners, not a corner and a size" if wrong is flat else "",
            )  # fmt: skip
    return boxes.ndim == 2, corners


def _read_masks(mask: Any) -> tuple[bool, Float32]:
    try:
        array = np.asarray(mask)
    except (ValueError, TypeError) as error:
        raise UsageError("the mask is no array", found="parts of unequal length") from error
    if array.dtype.kind != "f" or array.shape[-2:] != (LOW_RES, LOW_RES) or not _is_one_each(array.shape):
        raise UsageError(
            "the mask is no low-resolution answer", found=f"{array.dtype} {list(array.shape)}",
            expected=f"float [{LOW_RES}, {LOW_RES}], or [P, 1, {LOW_RES}, {LOW_RES}] of a batch: logits, one each",
            fix="pass masks.best().low_res of an earlier answer, not pixels",
        )  # fmt: skip
    with np.errstate(over="ignore"):
        values = np.asarray(array.reshape(-1, 1, LOW_RES, LOW_RES), np.float32)
    if not np.isfinite(values).all():
        raise UsageError("the mask holds NaN, infinity, or what FP32 cannot hold")
    return array.ndim == 4, values


def _is_one_each(shape: tuple[int, ...]) -> bool:
    return len(shape) == 2 or (len(shape) == 3 and shape[0] == 1) or (len(shape) == 4 and shape[1] == 1)
