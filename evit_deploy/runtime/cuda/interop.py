# SPDX-License-Identifier: Apache-2.0
"""Device arrays of other libraries in, and our own out, without a copy.

Taken: anything with ``__dlpack__`` (CuPy, PyTorch, JAX) or ``__cuda_array_interface__`` (PyCUDA, Numba, CuPy). Given
out: `DeviceArray`, which has both. Streams are ordered by events: work that an array still waits for is waited for by
the GPU, not by the CPU.

Source: the CUDA Array Interface, version 3, https://numba.readthedocs.io/en/stable/cuda/cuda_array_interface.html.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from evit_deploy.errors import UsageError
from evit_deploy.manifest import TensorInfo
from evit_deploy.runtime.cuda import dlpack
from evit_deploy.runtime.cuda.api import Cuda
from evit_deploy.runtime.cuda.memory import DeviceMemory
from evit_deploy.runtime.shapes import fits, shown

LEGACY_STREAM = 1
"""CUDA's default stream, in both protocols."""

_DEVICE_NAMES = {dlpack.CPU: "the CPU's memory", dlpack.CUDA_HOST: "the CPU's page-locked memory"}


def is_device_array(array: Any) -> bool:
    """Whether something claims to be an array of another library: it has one of the two protocols."""
    return not isinstance(array, np.ndarray) and (
        hasattr(array, "__dlpack__") or hasattr(array, "__cuda_array_interface__")
    )


@dataclass(frozen=True)
class DeviceInput:
    """An array of another library, for one run.

    Attributes:
        pointer: Its device address.
        shape: Its shape.
        owner: Whatever must live until the run is over.
    """

    pointer: int
    shape: tuple[int, ...]
    owner: Any


def take_array(
    device: Cuda, tensor: TensorInfo, batch: tuple[int, int], array: Any, stream: int, follow: Callable[[int], None]
) -> DeviceInput:
    """Take an array of another library as an input.

    Args:
        device: The engine's GPU.
        tensor: The input that it is for.
        batch: (smallest, largest) size of its first axis.
        array: Anything with one of the two protocols.
        stream: Stream that will read it.
        follow: Makes that stream wait for what another stream has been given so far.

    Raises:
        UsageError: It is not on this GPU, not of the right type, shape or layout, or no device memory at all.
    """
    if hasattr(array, "__dlpack__"):
        found = _through_dlpack(device, tensor, array, stream)
    else:
        found = _through_interface(device, tensor, array, follow)
    _require_fit(tensor, batch, found)
    _require_pointer(device, tensor, found.pointer)
    return DeviceInput(found.pointer, found.shape, (array, found.owner))


@dataclass(frozen=True)
class _Found:
    pointer: int
    dtype: str
    shape: tuple[int, ...]
    strides: tuple[int, ...] | None  # in bytes
    owner: Any


def _through_dlpack(device: Cuda, tensor: TensorInfo, array: Any, stream: int) -> _Found:
    kind, index = array.__dlpack_device__()
    if int(kind) not in (dlpack.CUDA, dlpack.CUDA_MANAGED):
        raise UsageError(
            f"the input '{tensor.name}' is not on the GPU",
            found=f"{type(array).__name__} in {_DEVICE_NAMES.get(int(kind), f'a device of DLPack type {int(kind)}')}",
            expected=f"a numpy array, or an array on the GPU {device.index}",
            fix="move it to the GPU, or pass it as numpy: tensor.numpy()",
        )
    _require_device(device, tensor, int(index))
    try:
        capsule = array.__dlpack__(stream=stream)
        contents = dlpack.read_capsule(capsule)
    except (BufferError, RuntimeError, TypeError, ValueError) as error:
        raise UsageError(f"the input '{tensor.name}' does not give its memory", found=str(error)) from error
    itemsize = 0 if contents.dtype == "unknown" else np.dtype(contents.dtype).itemsize
    strides = contents.strides and tuple(itemsize * step for step in contents.strides)
    return _Found(contents.pointer, contents.dtype, contents.shape, strides, capsule)


def _through_interface(device: Cuda, tensor: TensorInfo, array: Any, follow: Callable[[int], None]) -> _Found:
    interface = array.__cuda_array_interface__
    if interface.get("mask") is not None:
        raise UsageError(f"the input '{tensor.name}' is masked, which no graph knows")
    stream = interface.get("stream")
    if stream == 0:  # forbidden by the interface, since it could mean either default stream
        raise UsageError(
            f"the input '{tensor.name}' names the stream 0", expected="1 for the default stream, or a stream's handle"
        )
    # Who names no stream (version 2, PyCUDA) may still have work on the default one.
    follow(LEGACY_STREAM if stream is None else int(stream))
    strides = interface.get("strides")
    return _Found(
        int(interface["data"][0] or 0),
        str(np.dtype(interface["typestr"])),
        tuple(int(size) for size in interface["shape"]),
        None if strides is None else tuple(int(step) for step in strides),
        None,
    )


def _require_fit(tensor: TensorInfo, batch: tuple[int, int], found: _Found) -> None:
    if found.dtype != tensor.dtype or not fits(tensor, batch, found.shape):
        raise UsageError(
            f"the input '{tensor.name}' does not fit the graph",
            found=f"{found.dtype} {list(found.shape)}",
            expected=shown(tensor, batch),
        )
    if found.strides is not None and not _is_contiguous(found.shape, found.strides, np.dtype(tensor.dtype).itemsize):
        raise UsageError(
            f"the input '{tensor.name}' is not contiguous",
            found=f"strides of {list(found.strides)} bytes",
            fix="make it contiguous: cupy.ascontiguousarray(array), tensor.contiguous()",
        )


def _is_contiguous(shape: tuple[int, ...], strides: tuple[int, ...], itemsize: int) -> bool:
    """C order; the stride of an axis of one element says nothing."""
    expected = [itemsize * math.prod(shape[axis + 1 :]) for axis in range(len(shape))]
    return all(size == 1 or has == wants for size, has, wants in zip(shape, strides, expected, strict=True))


def _require_device(device: Cuda, tensor: TensorInfo, index: int) -> None:
    if index != device.index:
        raise UsageError(
            f"the input '{tensor.name}' is on another GPU than the engine",
            found=f"GPU {index}",
            expected=f"GPU {device.index}",
            fix=f"load the engine there: evit_deploy.load(folder, device={index})",
        )


def _require_pointer(device: Cuda, tensor: TensorInfo, pointer: int) -> None:
    """Refuse what no kernel of ours could read: it would end the whole process's use of the GPU."""
    cudart = device.cudart
    kinds = cudart.cudaMemoryType
    status, attributes = cudart.cudaPointerGetAttributes(pointer)
    if status == cudart.cudaError_t.cudaErrorInvalidValue:
        cudart.cudaGetLastError()
    elif status:
        device.fail(status, f"looking at the address 0x{pointer:x}")
    on_gpu = not status and attributes.type in (kinds.cudaMemoryTypeDevice, kinds.cudaMemoryTypeManaged)
    mapped = not status and attributes.type == kinds.cudaMemoryTypeHost
    if not pointer or not (on_gpu or (mapped and int(attributes.devicePointer or 0) == pointer)):
        raise UsageError(
            f"the input '{tensor.name}' is no memory of the GPU",
            found=f"the address 0x{pointer:x}",
            expected="device memory that is still allocated",
        )
    if on_gpu and attributes.type == kinds.cudaMemoryTypeDevice:
        _require_device(device, tensor, int(attributes.device))
    if not device.is_own(device.owner_of(pointer)):
        raise UsageError(
            f"the input '{tensor.name}' belongs to another CUDA context of this GPU",
            expected="memory of the primary context, which libraries share",
            fix="with PyCUDA: import pycuda.autoprimaryctx rather than pycuda.autoinit",
        )


class DeviceArray:
    """An output in the GPU's memory: C-contiguous, overwritten by the engine's next run.

    CuPy, PyTorch, Numba and PyCUDA take it without a copy: ``cupy.from_dlpack(array)``, ``torch.from_dlpack(array)``,
    ``cupy.asarray(array)``. Its memory lives as long as anybody holds it.

    Attributes:
        shape: Its shape.
        dtype: Type of an element.
        pointer: Its device address.
        device: Number of its GPU.
    """

    def __init__(
        self, cuda: Cuda, memory: DeviceMemory, shape: tuple[int, ...], dtype: str, lead: Callable[[int], None]
    ) -> None:
        self._cuda, self._memory, self._lead = cuda, memory, lead
        self.shape, self.dtype, self.device = shape, np.dtype(dtype), cuda.index
        self.pointer = memory.pointer

    @property
    def nbytes(self) -> int:
        """Size in bytes."""
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        """The CUDA Array Interface, version 3. Asking for it orders the default stream behind the engine's work."""
        with self._cuda.current():
            self._lead(LEGACY_STREAM)
        return {
            "version": 3,
            "shape": self.shape,
            "typestr": self.dtype.str,
            "data": (self.pointer, False),
            "strides": None,
            "stream": LEGACY_STREAM,
        }

    def __dlpack_device__(self) -> tuple[int, int]:
        """DLPack's name of the GPU."""
        return dlpack.CUDA, self.device

    def __dlpack__(
        self,
        *,
        stream: int | None = None,
        max_version: tuple[int, int] | None = None,
        dl_device: tuple[int, int] | None = None,
        copy: bool | None = None,
    ) -> Any:
        """A capsule for another library.

        Args:
            stream: Stream of the taker, which will wait for the engine's work; -1 for none, None for the default one.
            max_version: Not used: the capsule is of the form that every version reads.
            dl_device: Only the array's own.
            copy: Only None or False.
        """
        if copy or (dl_device is not None and tuple(dl_device) != self.__dlpack_device__()):
            raise BufferError("an engine's output is given without a copy, and on its own device")
        if stream != -1:
            with self._cuda.current():
                self._lead(LEGACY_STREAM if stream is None else stream)
        return dlpack.new_capsule(self._memory, self.pointer, self.shape, self.dtype, self.device)

    def numpy(self) -> npt.NDArray[Any]:
        """A copy on the host."""
        cudart = self._cuda.cudart
        result = np.empty(self.shape, self.dtype)
        kind = cudart.cudaMemcpyKind.cudaMemcpyDeviceToHost
        with self._cuda.current():
            self._lead(LEGACY_STREAM)
            address = result.ctypes.data
            self._cuda.check(cudart.cudaMemcpy(address, self.pointer, self.nbytes, kind), "copying an output")
        return result

    def __repr__(self) -> str:
        return f"DeviceArray({self.dtype} {list(self.shape)} on GPU {self.device})"
