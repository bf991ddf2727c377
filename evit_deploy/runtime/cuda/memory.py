# SPDX-License-Identifier: Apache-2.0
"""Memory of the GPU, and memory of the host that the GPU reaches.

Each piece is freed when its last user has gone. An array over it counts as a user, so an array that outlives its
engine stays readable.
"""

from __future__ import annotations

import math
import weakref
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from evit_deploy.manifest import TensorInfo
from evit_deploy.runtime.cuda.api import Cuda


class DeviceMemory:
    """Memory of the GPU.

    Attributes:
        pointer: Its device address, at least 256-byte aligned.
        nbytes: Its size.
    """

    def __init__(self, device: Cuda, nbytes: int, purpose: str) -> None:
        cudart = device.cudart
        self.nbytes = nbytes
        self.pointer = int(device.check(cudart.cudaMalloc(nbytes), f"{nbytes / 1e6:.1f} MB for {purpose}"))
        _free_with(self, device, cudart.cudaFree, self.pointer)


class HostMemory:
    """Page-locked memory of the host, which the GPU copies from and to without the CPU.

    Attributes:
        address: Its address on the host.
        pointer: Its device address if it is mapped: the GPU then reads and writes it in place.
        nbytes: Its size.
    """

    def __init__(self, device: Cuda, nbytes: int, purpose: str, *, mapped: bool) -> None:
        cudart = device.cudart
        flags = cudart.cudaHostAllocMapped if mapped else cudart.cudaHostAllocDefault
        self.nbytes = nbytes
        doing = f"{nbytes / 1e6:.1f} MB of page-locked memory for {purpose}"
        self.address = int(device.check(cudart.cudaHostAlloc(nbytes, flags), doing))
        _free_with(self, device, cudart.cudaFreeHost, self.address)
        self.pointer = 0
        if mapped:
            self.pointer = int(device.check(cudart.cudaHostGetDevicePointer(self.address, 0), doing))

    @property
    def __array_interface__(self) -> dict[str, Any]:
        """Bytes for numpy, whose array then keeps this memory."""
        return {"version": 3, "shape": (self.nbytes,), "typestr": "|u1", "data": (self.address, False)}


def _free_with(memory: object, device: Cuda, free: Any, handle: int) -> None:
    """Free with the last user; at the end of the process the driver does, and arrays may still be looked at."""
    weakref.finalize(memory, device.release, free, handle).atexit = False


@dataclass(frozen=True)
class HostTensor:
    """One tensor that the host reads or writes, and the GPU too.

    Attributes:
        name: The graph's name for it.
        array: What the host sees.
        address: The array's address.
        pointer: Where the GPU has it.
        nbytes: Its size.
        device: The GPU's own memory, from or to which it is copied; None where the GPU works on the array in place.
    """

    name: str
    array: npt.NDArray[Any]
    address: int
    pointer: int
    nbytes: int
    device: DeviceMemory | None


def host_tensor(device: Cuda, tensor: TensorInfo, batch: int) -> HostTensor:
    """Memory for one tensor: mapped where the GPU shares the host's memory, else a pair to copy between.

    Raises:
        DeviceMemoryError: There is not enough.
    """
    shape, nbytes = sized(tensor, batch)
    purpose = f"'{tensor.name}'"
    memory = HostMemory(device, nbytes, purpose, mapped=device.integrated)
    own = None if device.integrated else DeviceMemory(device, nbytes, purpose)
    array = np.asarray(memory).view(tensor.dtype).reshape(shape)
    return HostTensor(tensor.name, array, memory.address, own.pointer if own else memory.pointer, nbytes, own)


def sized(tensor: TensorInfo, batch: int) -> tuple[tuple[int, ...], int]:
    """Shape and bytes of a tensor at a batch size."""
    shape = tuple(batch if size == -1 else size for size in tensor.shape)
    return shape, math.prod(shape) * np.dtype(tensor.dtype).itemsize


@dataclass(frozen=True)
class MemoryReport:
    """What a loaded engine takes, in bytes.

    Attributes:
        plan: Device memory that went away while the plan was loaded; other programs' doings are in it.
        scratch: Device memory for the values between layers, one piece for all runs.
        device: Device memory for inputs and outputs.
        host: Page-locked host memory for inputs and outputs; on a GPU that shares the host's memory it is all there is.
    """

    plan: int
    scratch: int
    device: int
    host: int
