# SPDX-License-Identifier: Apache-2.0
"""The profiler of TensorRT and TensorRT-RTX: called with every layer's time after a run.

It says the names that the engine inspector says, so the engine's ``plan.json``, which is made from either form of the
inspector's answer, tells which ONNX nodes a layer computes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from evit_deploy.engines.plan import PLAN, Kernel, read_plan
from evit_deploy.errors import EvitError
from evit_deploy.profiles.gpu_run import GpuRun, opened
from evit_deploy.profiles.layer_times.measure import repeat
from evit_deploy.profiles.layer_times.record import LayerTime, LayerTimes
from evit_deploy.runtime import Engine

_TITLES = {"tensorrt": "TensorRT", "tensorrt_rtx": "TensorRT-RTX"}


def measure(engine: Engine, inputs: Mapping[str, Any]) -> LayerTimes:
    """Time every layer, in an execution context of its own and without a CUDA graph.

    Raises:
        CudaError: The GPU failed.
    """
    info = engine.manifest.engine
    assert info is not None
    profiler = _new_profiler(_library(info.backend))
    with opened(engine, inputs) as run:
        times = _profile(run, profiler)
    return LayerTimes(
        tool=f"{_TITLES[info.backend]} {engine.backend_version}",
        runs=len(times),
        layers=layers_of(profiler.times, _kernels(engine)),
        run_ms=float(np.mean(times)),
        note="On the GPU's clock, layer by layer: gaps between layers, which a CUDA graph makes small, are in none.",
    )


def layers_of(times: Mapping[str, list[float]], kernels: Mapping[str, Kernel]) -> tuple[LayerTime, ...]:
    """Mean time of every layer.

    Args:
        times: Milliseconds by layer, run after run; the first run is left out.
        kernels: Entries of the engine's plan by name.
    """
    return tuple(
        LayerTime(
            name,
            kernels[name].type if name in kernels else "",
            float(np.mean(values[1:] or values)),
            kernels[name].layers if name in kernels else (),
        )
        for name, values in times.items()
    )


def _profile(run: GpuRun, profiler: Any) -> list[float]:
    """Run with a profiler, which makes every run wait for its end."""
    context = run.plan.new_context(run.batch, run.addresses, run.stream)
    context.profiler = profiler

    def once() -> None:
        if not context.execute_async_v3(run.stream):
            run.plan.failed("TensorRT could not enqueue the engine with a profiler")
        run.wait()

    return repeat(once)


def _kernels(engine: Engine) -> dict[str, Kernel]:
    """Entries of the engine's plan by name; none where it has none that can be read, and layers keep their times."""
    if not (engine.folder / PLAN).is_file():
        return {}
    try:
        return {kernel.name: kernel for kernel in read_plan(engine.folder).kernels}
    except EvitError:
        return {}


def _library(backend: str) -> Any:
    """The library that loaded the engine."""
    if backend == "tensorrt_rtx":
        import tensorrt_rtx as trt
    else:
        import tensorrt as trt
    return trt


def _new_profiler(trt: Any) -> Any:
    """A profiler that keeps all times; its class can only be made where the library is installed."""

    class Profiler(trt.IProfiler):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IProfiler.__init__(self)
            self.times: dict[str, list[float]] = {}

        def report_layer_time(self, layer_name: str, ms: float) -> None:
            self.times.setdefault(layer_name, []).append(ms)

    return Profiler()
