# SPDX-License-Identifier: Apache-2.0
"""Time every layer of an engine, apart from the runs whose latency is reported: a profiler slows them down."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Mapping
from typing import Any

from evit_deploy.profiles.layer_times.record import LayerTimes
from evit_deploy.runtime import Engine

RUNS, SECONDS, LEAST_RUNS = 20, 10.0, 3
"""Runs that are timed; fewer, but not fewer than the least, where they would take longer than that."""

MODULES = {"onnxruntime": "onnxruntime", "openvino": "openvino", "tensorrt": "tensorrt", "tensorrt_rtx": "tensorrt"}
"""Backends, and the module here that asks the profiler of each: its `measure` takes what `measure_layers` takes."""


def measure_layers(engine: Engine, inputs: Mapping[str, Any]) -> LayerTimes:
    """Time every layer of an engine.

    Args:
        engine: A loaded engine with no run in flight.
        inputs: What it takes, on the host.

    Raises:
        UnavailableError: The library cannot profile it.
        CudaError: The GPU failed.
    """
    info = engine.manifest.engine
    assert info is not None
    module = importlib.import_module(f"{__package__}.{MODULES[info.backend]}")
    return module.measure(engine, inputs)  # type: ignore[no-any-return]


def repeat(run: Callable[[], object]) -> list[float]:
    """Do something once unseen, then again and again; `RUNS`, `SECONDS` and `LEAST_RUNS` say how often.

    Returns:
        Milliseconds of every time but the first.
    """
    run()
    times: list[float] = []
    while len(times) < LEAST_RUNS or (len(times) < RUNS and sum(times) < SECONDS * 1000):
        start = time.perf_counter_ns()
        run()
        times.append((time.perf_counter_ns() - start) / 1e6)
    return times
