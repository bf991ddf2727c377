# SPDX-License-Identifier: Apache-2.0
"""How fast the engine alone would be: what the speed of an evaluation is held against."""

from __future__ import annotations

import time
from collections.abc import Sequence

from evit_deploy.profiles.evaluate.task import FAILURES, Item, Loaded, Result, Task

SECONDS = 1.0
RUNS = 3


def bare_rate(task: Task[Loaded, Result], items: Sequence[Item]) -> float | None:
    """Images per second of the engine alone, on the first images that can be read; None where there are none.

    It runs at least `RUNS` times and `SECONDS`, after one run that is not timed.
    """
    batch: list[Loaded] = []
    for item in items:
        try:
            batch.append(task.load(item))
        except FAILURES:
            continue
        if len(batch) == task.batch:
            break
    if not batch:
        return None
    task.infer(batch)
    runs, start = 0, time.perf_counter()
    while runs < RUNS or time.perf_counter() - start < SECONDS:
        task.infer(batch)
        runs += 1
    return runs * len(batch) / (time.perf_counter() - start)
