# SPDX-License-Identifier: Apache-2.0
"""Latency as NVIDIA's `trtexec` measures it, so that numbers compare with those that others publish.

`trtexec` up to TensorRT 10 and from 11 on answer the same question differently unless told otherwise:

* up to 10: copies in and out count, kernels are launched one by one, and the CPU sleeps until the GPU is done;
* from 11: copies do not count, kernels are launched as one CUDA graph, and the CPU spins.

In both, "Latency" is the sum of what the GPU's own clock says about the copy in, the run and the copy out. The
published latencies of EfficientViT are of the older way.

One thing differs here. `trtexec` keeps two runs in flight, so that the GPU may be busy with one while the kernels of
the next are put on its stream. Here one run follows the other, and the GPU is idle when the mark before a part is
passed: what the CPU takes to launch the first kernels falls between the marks, and without a CUDA graph so does all
that the GPU waits for later launches. So a number from here can be higher than `trtexec`'s; by how much was not
measured.

Sources: NVIDIA/TensorRT, samples/common/sampleInference.cpp (class Iteration), sampleReporting.cpp (Latency) and
sampleOptions.cpp (the defaults).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from evit_deploy.profiles.gpu_run import Arrays, GpuRun, opened
from evit_deploy.profiles.latency import Latency
from evit_deploy.progress import Progress, silent
from evit_deploy.runtime import Engine
from evit_deploy.runtime.cuda.binding import Binding

WARM_UP_SECONDS = 0.2  # trtexec's own


@dataclass(frozen=True)
class Mode:
    """A way of timing.

    Attributes:
        name: For people.
        transfers: Whether copies in and out count.
        cuda_graph: Whether kernels are launched as one CUDA graph.
        spin: Whether the CPU asks all the time whether the GPU is done; else it sleeps.
    """

    name: str
    transfers: bool
    cuda_graph: bool
    spin: bool


MODES = (
    Mode("as trtexec up to 10: with transfers, no CUDA graph, no spin-wait", True, False, False),
    Mode("as trtexec from 11: no transfers, CUDA graph, spin-wait", False, True, True),
)


def time_modes(engine: Engine, inputs: Arrays, runs: int, progress: Progress = silent) -> tuple[Latency, ...]:
    """Time an engine in every mode.

    Args:
        engine: The engine, with no run in flight.
        inputs: What it takes, on the host.
        runs: Timed runs per mode.
        progress: Told about every mode.

    Returns:
        Times on the GPU's clock by mode. Nothing of an engine that runs on the CPU; and not that with a CUDA graph of
        one that cannot be recorded, which `Engine.notes` tells.

    Raises:
        CudaError: The GPU failed.
    """
    if not engine.on_gpu:
        return ()
    found = [_time(mode, engine, inputs, runs, progress) for mode in MODES]
    return tuple(latency for latency in found if latency is not None)


def _time(mode: Mode, engine: Engine, inputs: Arrays, runs: int, progress: Progress) -> Latency | None:
    with (
        progress(mode.name),
        opened(engine, inputs) as run,
        _binding(run, mode) as binding,
        _marks(run, mode) as events,
    ):
        if mode.cuda_graph and not binding.recorded:
            return None
        once = _Once(run, mode, binding, events)
        start = time.perf_counter()
        once()
        while time.perf_counter() - start < WARM_UP_SECONDS:
            once()
        return Latency(mode.name, tuple(once() for _ in range(runs)), run.batch)


class _Once:
    """One run, and its milliseconds."""

    def __init__(self, run: GpuRun, mode: Mode, binding: Binding, events: _Events) -> None:
        self._events = events
        steps = [run.upload, binding.enqueue, run.download]
        self._steps: list[Callable[[], None]] = steps if mode.transfers else [binding.enqueue]

    def __call__(self) -> float:
        events = self._events
        for number, step in enumerate(self._steps):
            events.record(2 * number)
            step()
            events.record(2 * number + 1)
        events.wait(2 * len(self._steps) - 1)
        return sum(events.between(2 * number, 2 * number + 1) for number in range(len(self._steps)))


class _Events:
    """Marks on a stream that know when they were passed."""

    def __init__(self, run: GpuRun, handles: list[Any]) -> None:
        self._run, self._handles = run, handles

    def record(self, number: int) -> None:
        device, cudart = self._run.device, self._run.device.cudart
        recorded = cudart.cudaEventRecord(self._handles[number], self._run.stream)
        device.check(recorded, "recording an event")

    def wait(self, number: int) -> None:
        device, cudart = self._run.device, self._run.device.cudart
        waited = cudart.cudaEventSynchronize(self._handles[number])
        device.check(waited, "waiting for the engine")

    def between(self, first: int, second: int) -> float:
        """Milliseconds from one mark to another."""
        device, cudart = self._run.device, self._run.device.cudart
        elapsed = cudart.cudaEventElapsedTime(self._handles[first], self._handles[second])
        return float(device.check(elapsed, "asking for the time between two events"))


@contextmanager
def _marks(run: GpuRun, mode: Mode) -> Iterator[_Events]:
    device, cudart = run.device, run.device.cudart
    flags = cudart.cudaEventDefault if mode.spin else cudart.cudaEventBlockingSync
    handles: list[Any] = []
    try:
        for _ in range(6):
            handles.append(device.check(cudart.cudaEventCreateWithFlags(flags), "creating an event"))
        yield _Events(run, handles)
    finally:
        for handle in handles:
            device.release(cudart.cudaEventDestroy, handle)


@contextmanager
def _binding(run: GpuRun, mode: Mode) -> Iterator[Binding]:
    """The plan bound to the run's addresses: recorded as a CUDA graph where the mode wants it."""
    binding = Binding(run.plan, run.device, run.batch, run.addresses, run.stream)
    try:
        if mode.cuda_graph:
            binding.record()
        yield binding
    finally:
        run.wait()
        binding.close()
