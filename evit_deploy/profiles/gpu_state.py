# SPDX-License-Identifier: Apache-2.0
"""Temperature and clock of a discrete NVIDIA GPU, from its driver through NVML; a Jetson's are in files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from typing import Any

from evit_deploy.errors import MissingExtraError
from evit_deploy.profiles.power import nvml
from evit_deploy.profiles.sensors import Clock, GpuState, ReadGpu
from evit_deploy.targets.driver import gpu_properties


@contextmanager
def gpu_reader(*, wanted: bool) -> Iterator[ReadGpu | None]:
    """What reads the GPU that engines run on, CUDA's first, as long as the context is open.

    Args:
        wanted: Whether anything runs on it.

    Yields:
        None where nothing does, where there is no discrete GPU, or where its driver tells nothing: all of this is
        beside what is measured, and no reason to end it.
    """
    gpu = gpu_properties() if wanted else None
    stack, handle = ExitStack(), None
    if gpu is not None and not gpu.integrated:
        with suppress(MissingExtraError, OSError):
            handle = stack.enter_context(nvml.open_gpu())
    try:
        yield None if handle is None else partial(_state, handle)
    finally:
        with suppress(OSError):
            stack.close()


def _state(handle: Any) -> GpuState:
    """What the driver tells; of MIG's instances, what it tells of the whole GPU."""
    import pynvml

    celsius = clock = None
    with suppress(pynvml.NVMLError):
        celsius = float(pynvml.nvmlDeviceGetTemperature(handle, pynvml.NVML_TEMPERATURE_GPU))
    with suppress(pynvml.NVMLError):
        kind = pynvml.NVML_CLOCK_SM
        now, highest = pynvml.nvmlDeviceGetClockInfo(handle, kind), pynvml.nvmlDeviceGetMaxClockInfo(handle, kind)
        clock = Clock(float(now), float(highest))
    return GpuState(celsius, clock)
