# SPDX-License-Identifier: Apache-2.0
"""Frames per second with several runs in flight: while one computes, the next one's input is copied."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from typing import Any

from evit_deploy.runtime import Engine, Pending

SECONDS = 2.0
LEAST_RUNS = 20


def measure_throughput(
    engine: Engine, inputs: Mapping[str, Any], frames: int, *, in_flight: int, seconds: float = SECONDS
) -> float | None:
    """Keep an engine busy, and count.

    Args:
        engine: The engine, loaded for that many runs in flight and with none under way.
        inputs: What it takes.
        frames: Frames in them.
        in_flight: Runs under way at a time.
        seconds: How long to count, at least.

    Returns:
        Frames per second; None of an engine on the CPU, where a run is over when `submit` returns and nothing overlaps:
        its throughput is that of one call after the other.
    """
    if not engine.on_gpu:
        return None
    _flow(engine, inputs, in_flight, seconds / 4)  # buffers, CUDA graphs and clocks
    runs, elapsed = _flow(engine, inputs, in_flight, seconds)
    return frames * runs / elapsed


def _flow(engine: Engine, inputs: Mapping[str, Any], in_flight: int, seconds: float) -> tuple[int, float]:
    """Runs, and the seconds they took; results are taken in the order of the runs."""
    pending: deque[Pending] = deque()
    runs, start = 0, time.perf_counter()
    while runs < LEAST_RUNS or time.perf_counter() - start < seconds:
        if len(pending) == in_flight:
            pending.popleft().result()
            runs += 1
        pending.append(engine.submit(inputs))
    while pending:
        pending.popleft().result()
        runs += 1
    return runs, time.perf_counter() - start
