# SPDX-License-Identifier: Apache-2.0
"""How fast the engine alone would be: what the speed of an evaluation is held against."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence

from evit_deploy.profiles.evaluate.listing import spread
from evit_deploy.profiles.evaluate.task import FAILURES, Item, Loaded, Result, Task

SECONDS = 1.0
RUNS = 3

_IMAGES = 8
"""Of Segment Anything each image has prompts of its own, so one of them says little."""

_TRIED = 4  # times as many images are tried at most, where some cannot be read


def bare_rate(task: Task[Loaded, Result], items: Sequence[Item]) -> float | None:
    """Images per second of the engine alone, on images from everywhere; None where none of them can be read.

    It goes over them `RUNS` times at least and for `SECONDS`, after one round that is not timed.
    """
    loaded = _load(task, items)
    batches = [loaded[start : start + task.batch] for start in range(0, len(loaded), task.batch)]
    if not batches:
        return None
    _round(task, batches)
    rounds, start = 0, time.perf_counter()
    while rounds < RUNS or time.perf_counter() - start < SECONDS:
        _round(task, batches)
        rounds += 1
    return rounds * len(loaded) / (time.perf_counter() - start)


def _load(task: Task[Loaded, Result], items: Sequence[Item]) -> list[Loaded]:
    """Whole batches, `_IMAGES` images or one batch; fewer where no more can be read."""
    wanted = max(task.batch, _IMAGES // task.batch * task.batch)
    loaded: list[Loaded] = []
    for item in spread(items, _TRIED * wanted):
        with contextlib.suppress(*FAILURES):
            loaded.append(task.load(item))
        if len(loaded) == wanted:
            break
    return loaded


def _round(task: Task[Loaded, Result], batches: Sequence[Sequence[Loaded]]) -> None:
    for batch in batches:
        task.infer(batch)
