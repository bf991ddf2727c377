# SPDX-License-Identifier: Apache-2.0
"""Power of a discrete NVIDIA GPU, from its driver through NVML.

It comes from the driver's counter of energy, which GPUs since Volta have. The plain reading of older ones is a mean
over a time that differs from GPU to GPU. The sensor behind either looks at a part of the time only, on A100 and H100 at
a quarter (https://arxiv.org/abs/2312.02741): it takes a long steady loop to make them mean something.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

from evit_deploy.errors import MissingExtraError, extra, first_line
from evit_deploy.profiles.power.counter import Counter
from evit_deploy.profiles.power.source import Obstacle, Polled, Processor, Reader, Source, Total
from evit_deploy.targets.driver import LIBRARY, gpu_properties

NAME = "NVML"
INTERVAL = 0.1
"""Seconds. The driver's figures move every 20 to 100 ms."""

_SERVES: frozenset[Processor] = frozenset({"gpu"})
_BOARD = "board"
_SHARED = "The GPU is divided (MIG): its power is that of all instances together."


def find_nvml() -> Source | Obstacle | None:
    """The GPU that engines run on, CUDA's first, as a source; why it cannot be read; None where there is none."""
    gpu = gpu_properties()
    if gpu is None or gpu.integrated:
        return None
    try:
        with open_gpu() as handle:
            _watts_of(handle)()
            notes = (_SHARED,) if _is_shared(handle) else ()
    except MissingExtraError as error:
        return Obstacle(NAME, _SERVES, error.what, error.fix or "")
    except OSError as error:
        what = f"the driver does not tell the power of {gpu.name}: {error}"
        return Obstacle(NAME, _SERVES, what, "nvidia-smi -q -d POWER shows whether it tells anybody")
    return Source(f"{NAME}, {gpu.name}", _SERVES, INTERVAL, _open, nvml_total, notes)


def nvml_total(names: Collection[str]) -> Total:
    """The one rail there is."""
    return Total(tuple(names), "GPU with its memory and board")


@contextmanager
def _open() -> Iterator[Reader]:
    with open_gpu() as handle:
        watts = _watts_of(handle)
        yield Polled(INTERVAL, lambda: {_BOARD: watts()}, partial(_temperatures, handle))


@contextmanager
def open_gpu() -> Iterator[Any]:
    """NVML's handle of CUDA's first GPU; NVML has an order of its own. Its errors become OSError."""
    with extra("power", "reading a GPU's power"):
        import pynvml
    try:
        pynvml.nvmlInit()
        try:
            place = _pci_bus_id()
            yield pynvml.nvmlDeviceGetHandleByPciBusId(place) if place else pynvml.nvmlDeviceGetHandleByIndex(0)
        finally:
            pynvml.nvmlShutdown()
    except pynvml.NVMLError as error:
        raise OSError(first_line(error)) from error


def _watts_of(handle: Any) -> Callable[[], float]:
    """What reads the GPU's power in W: the mean since the last time, or on GPUs without a counter the present one."""
    import pynvml

    try:
        return Counter(lambda: pynvml.nvmlDeviceGetTotalEnergyConsumption(handle) / 1e3).watts
    except pynvml.NVMLError_NotSupported:
        return lambda: pynvml.nvmlDeviceGetPowerUsage(handle) / 1e3


def _temperatures(handle: Any) -> dict[str, float]:
    import pynvml

    with suppress(pynvml.NVMLError):
        return {"GPU": float(pynvml.nvmlDeviceGetTemperature(handle, pynvml.NVML_TEMPERATURE_GPU))}
    return {}


def _is_shared(handle: Any) -> bool:
    import pynvml

    with suppress(pynvml.NVMLError):
        return bool(pynvml.nvmlDeviceGetMigMode(handle)[0])
    return False


def _pci_bus_id(index: int = 0) -> bytes | None:
    """Where a GPU sits, such as b"0000:65:00.0", by CUDA's number; None where the driver does not say."""
    place = ctypes.create_string_buffer(32)
    gpu = ctypes.c_int()
    with suppress(OSError, AttributeError):
        library = ctypes.CDLL(LIBRARY)
        failed = (
            library.cuInit(0)
            or library.cuDeviceGet(ctypes.byref(gpu), index)
            or library.cuDeviceGetPCIBusId(place, len(place), gpu)
        )
        return None if failed else place.value
    return None
