# SPDX-License-Identifier: Apache-2.0
"""What NVIDIA's driver says about a GPU: the CUDA Driver API by ctypes, so that nothing needs to be installed."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

LIBRARY = "libcuda.so.1"

# enum CUdevice_attribute of cuda.h
_CLOCK_KHZ = 13
_MULTIPROCESSORS = 16
_INTEGRATED = 18
_CAPABILITY = (75, 76)


@dataclass(frozen=True)
class GpuProperties:
    """One GPU as its driver describes it.

    Attributes:
        name: Marketing name; every Orin is called "Orin" here.
        compute_capability: Such as "8.7".
        multiprocessors: Streaming multiprocessors that are switched on now.
        clock_mhz: Highest clock, in MHz; None where the driver does not say.
        memory: Device memory in bytes; on a Jetson all memory.
        integrated: Whether it shares the CPU's memory.
        driver: Largest CUDA version that the driver serves, such as "12.6".
    """

    name: str
    compute_capability: str
    multiprocessors: int
    clock_mhz: int | None
    memory: int
    integrated: bool
    driver: str


class _DriverError(Exception):
    """The driver returned an error."""


def gpu_properties(index: int = 0) -> GpuProperties | None:
    """Ask the driver for one GPU.

    Args:
        index: Number of the GPU, as CUDA counts them.

    Returns:
        Its properties; None where there is no driver, or no such GPU.
    """
    try:
        return _properties(_Driver(), index)
    except (OSError, AttributeError, _DriverError):
        return None


def free_device_memory(index: int = 0) -> int | None:
    """Free memory of one GPU in bytes, as its driver says; None where it cannot be asked."""
    try:
        driver = _Driver()
        with _context(driver, driver.device(index)):
            free, total = ctypes.c_size_t(), ctypes.c_size_t()
            driver.call("cuMemGetInfo_v2", ctypes.byref(free), ctypes.byref(total))
            return free.value
    except (OSError, AttributeError, _DriverError):
        return None


class _Driver:
    """The library, with its return codes turned into exceptions."""

    def __init__(self) -> None:
        self._library: Any = ctypes.CDLL(LIBRARY)
        self.call("cuInit", 0)

    def call(self, name: str, *arguments: Any) -> None:
        if getattr(self._library, name)(*arguments):
            raise _DriverError(name)

    def device(self, index: int) -> int:
        handle = ctypes.c_int()
        self.call("cuDeviceGet", ctypes.byref(handle), index)
        return handle.value

    def attribute(self, attribute: int, device: int) -> int:
        value = ctypes.c_int()
        self.call("cuDeviceGetAttribute", ctypes.byref(value), attribute, device)
        return value.value


def _properties(driver: _Driver, index: int) -> GpuProperties:
    device = driver.device(index)
    name, memory, version = ctypes.create_string_buffer(256), ctypes.c_size_t(), ctypes.c_int()
    driver.call("cuDeviceGetName", name, len(name), device)
    driver.call("cuDeviceTotalMem_v2", ctypes.byref(memory), device)
    driver.call("cuDriverGetVersion", ctypes.byref(version))
    try:
        clock: int | None = round(driver.attribute(_CLOCK_KHZ, device) / 1000) or None
    except _DriverError:
        clock = None
    return GpuProperties(
        name=name.value.decode("utf-8", "replace"),
        compute_capability=".".join(str(driver.attribute(number, device)) for number in _CAPABILITY),
        multiprocessors=driver.attribute(_MULTIPROCESSORS, device),
        clock_mhz=clock,
        memory=memory.value,
        integrated=bool(driver.attribute(_INTEGRATED, device)),
        driver=f"{version.value // 1000}.{version.value % 1000 // 10}",
    )


@contextmanager
def _context(driver: _Driver, device: int) -> Iterator[None]:
    """The device's primary context, which the CUDA runtime uses as well; the caller's own context comes back."""
    context = ctypes.c_void_p()
    driver.call("cuDevicePrimaryCtxRetain", ctypes.byref(context), device)
    try:
        driver.call("cuCtxPushCurrent_v2", context)
        try:
            yield
        finally:
            driver.call("cuCtxPopCurrent_v2", ctypes.byref(context))
    finally:
        driver.call("cuDevicePrimaryCtxRelease_v2", device)
