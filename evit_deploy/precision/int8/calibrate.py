# SPDX-License-Identifier: Apache-2.0
"""Calibration: how large the values of each tensor are on frames of what the robot sees, and where to cut them off.

Frames stream through: memory does not grow with their number. What was counted is kept on disk every half minute, and
under a key of graph, frames and method, so that a calibration that was interrupted goes on, to the same scales, and
one that was finished is not made again.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import onnx

from evit_deploy.errors import UsageError
from evit_deploy.precision.int8.calibration_store import State, read_state, write_state
from evit_deploy.precision.int8.clip import METHODS, choose_clip
from evit_deploy.precision.int8.histogram import Histogram
from evit_deploy.precision.int8.observe import Observer, observe
from evit_deploy.precision.int8.weights import LEVELS
from evit_deploy.precision.probe import Feed
from evit_deploy.progress import Progress, silent

EVERY = 30.0
"""Seconds between two states on disk."""

MOVED = 0.05
"""Median change of a range between half of the frames and all of them from which on they are too few."""

_SHOWN = 3


@dataclass(frozen=True)
class Calibration:
    """The scales of a graph.

    Attributes:
        scales: Step of each tensor: the magnitude that becomes ±127, divided by 127.
        methods: The rule that was taken for each; "zero" where all values were.
        errors: Relative root mean square error of every rule for each tensor.
        images: Frames it is from.
        warnings: What a user must know, with numbers.
        key: What it was made of.
    """

    scales: dict[str, float]
    methods: dict[str, str]
    errors: dict[str, dict[str, float]]
    images: int
    warnings: tuple[str, ...] = ()
    key: str = ""


def calibrate(
    model: onnx.ModelProto,
    tensors: Sequence[str],
    feeds: Iterable[Feed],
    *,
    method: str = "auto",
    total: int | None = None,
    store: Path | None = None,
    key: str = "",
    progress: Progress = silent,
) -> Calibration:
    """Find the scale of each tensor.

    Args:
        model: FP32 graph.
        tensors: Inner tensors that are to be quantised.
        feeds: Frames, in the same order every time.
        method: One of `evit_deploy.precision.int8.clip.METHODS`.
        total: How many frames there are, where that is known; without it there is no comparison with half of them.
        store: File that keeps what was counted; None keeps nothing.
        key: Content hash of graph, frames and method, for that file.
        progress: Told about every frame.

    Raises:
        UsageError: No frames, or no such method.
        CheckFailedError: A value that is not finite.
    """
    if method not in METHODS:
        raise UsageError(f"there is no calibration '{method}'", expected=f"one of {', '.join(METHODS)}")
    names = tuple(tensors)
    state, problem = read_state(store, key, names) if store else (None, None)
    warnings = [f"{problem}: calibrated anew"] if problem else []
    state = state or State({name: Histogram() for name in names})
    _count(state, model, feeds, total, store, key, progress)
    if not state.frames:
        raise UsageError("there are no frames to calibrate with", fix="name a folder with images")
    chosen = {name: choose_clip(one, method) for name, one in state.histograms.items() if one.limit}
    zeros = [name for name in names if name not in chosen]
    return Calibration(
        scales={name: chosen[name][1] / LEVELS if name in chosen else 1.0 for name in names},
        methods={name: chosen[name][0] if name in chosen else "zero" for name in names},
        errors={name: errors for name, (_, _, errors) in chosen.items()},
        images=state.frames,
        warnings=(*warnings, *_zero_words(zeros), *_few_words(state, method)),
        key=key,
    )


def _count(
    state: State,
    model: onnx.ModelProto,
    feeds: Iterable[Feed],
    total: int | None,
    store: Path | None,
    key: str,
    progress: Progress,
) -> None:
    """Count the frames that were not counted yet."""
    if total is not None and state.frames >= total:
        return
    observer = Observer(model, tuple(state.histograms))
    kept = time.monotonic()
    with progress("calibrate", None if total is None else total - state.frames) as step:
        for seen in observe(observer, islice(feeds, state.frames, None), state.frames):
            for histogram, one in zip(state.histograms.values(), seen, strict=True):
                histogram.add(one.values, one.largest)
            state.frames += 1
            if total is not None and state.frames == total // 2:
                state.half = {name: histogram.copy() for name, histogram in state.histograms.items()}
            if store and time.monotonic() - kept > EVERY:
                write_state(store, key, state)
                kept = time.monotonic()
            step.advance()
    if store:
        write_state(store, key, state)


def _zero_words(names: list[str]) -> list[str]:
    if not names:
        return []
    shown = ", ".join(names[:_SHOWN]) + (", …" if len(names) > _SHOWN else "")
    return [f"{len(names)} of the tensors were zero on every frame, and their scale is a guess: {shown}"]


def _few_words(state: State, method: str) -> list[str]:
    """Whether more frames would change the ranges: half of them are compared with all."""
    pairs = [(state.half[name], one) for name, one in state.histograms.items() if name in state.half and one.limit]
    moved = [
        abs(choose_clip(half, method)[1] / choose_clip(one, method)[1] - 1) if half.limit else 1.0
        for half, one in pairs
    ]
    if not moved or (median := float(np.median(moved))) <= MOVED:
        return []
    return [f"{state.frames} frames may be too few: the ranges of half of them differ by {median:.0%} in the median"]
