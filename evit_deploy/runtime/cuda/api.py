# SPDX-License-Identifier: Apache-2.0
"""One GPU, through NVIDIA's bindings: every return code is looked at, and the caller's context is left as it was.

Some errors of CUDA are sticky: after an illegal address or a device that fell off the bus, every later call in the
process fails as well. Such an error marks the device as lost, so that all engines on it say so at once.

Source: CUDA Runtime API documentation, "Data types used by CUDA Runtime", enumeration cudaError.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from evit_deploy.errors import EvitError, MissingExtraError, UnavailableError, UsageError

STICKY = frozenset(
    {
        "cudaErrorAssert",
        "cudaErrorContained",
        "cudaErrorContextIsDestroyed",
        "cudaErrorECCUncorrectable",
        "cudaErrorExternalDevice",
        "cudaErrorHardwareStackError",
        "cudaErrorIllegalAddress",
        "cudaErrorIllegalInstruction",
        "cudaErrorInvalidAddressSpace",
        "cudaErrorInvalidPc",
        "cudaErrorLaunchFailure",
        "cudaErrorLaunchTimeout",
        "cudaErrorMisalignedAddress",
        "cudaErrorMpsClientTerminated",
        "cudaErrorNvlinkUncorrectable",
        "cudaErrorTensorMemoryLeak",
        "cudaErrorUnknown",
    }
)
"""Errors after which no CUDA call of this process works; by name, since versions differ in what they know."""

_OUT_OF_MEMORY = "cudaErrorMemoryAllocation"
_FORKED = "CUDA does not survive a fork: start worker processes with the method 'spawn'"
_ADVICE = {
    "cudaErrorInsufficientDriver": "install NVIDIA's driver or update it (on a Jetson it comes with JetPack), or take"
    " bindings of the driver's own CUDA version: pip install 'cuda-bindings==12.9.*'",
    "cudaErrorDevicesUnavailable": "another process has the GPU for itself (nvidia-smi shows its compute mode)",
    "cudaErrorNoDevice": "see that nvidia-smi shows the GPU, and that CUDA_VISIBLE_DEVICES does not hide it",
    "cudaErrorInitializationError": _FORKED,
    "CUDA_ERROR_NOT_INITIALIZED": _FORKED,
}


class CudaError(EvitError):
    """A call of CUDA or TensorRT failed (exit 3)."""

    exit_code = 3


class DeviceLostError(CudaError):
    """The GPU failed for good in this process: no engine on it works any more."""


class DeviceMemoryError(CudaError):
    """The GPU's memory does not suffice."""


class Cuda:
    """One GPU and its primary context, which other libraries of the process share.

    Attributes:
        index: Number of the GPU among those that CUDA shows to this process.
        cudart: ``cuda.bindings.runtime``.
        integrated: Whether the GPU and the CPU share their memory, as on a Jetson.
        lost: What made the GPU fail for good; None while it works.
    """

    def __init__(self, index: int) -> None:
        self.cudart, self._driver = _bindings()
        self.index, self.lost = index, None
        self._require_device(index)
        self._primary = self._retain_primary(index)
        self._primary_address = int(self._primary)
        with self.current():
            self.integrated = self._is_integrated()

    lost: str | None

    def check(self, result: Any, doing: str) -> Any:
        """The value of a call of ``cudart``, if the call succeeded.

        Args:
            result: The tuple that the call returned: its status, and a value if it has one.
            doing: What the call was for: "copying the input".

        Raises:
            CudaError: It failed.
        """
        if result[0]:
            self.fail(result[0], doing)
        return result[1] if len(result) == 2 else result[1:]

    def fail(self, status: Any, doing: str) -> None:
        """Raise what a status other than success means."""
        cudart = self.cudart
        name = _text(cudart.cudaGetErrorName(status))
        found = f"{name}: {_text(cudart.cudaGetErrorString(status))}"
        if name in STICKY:
            self.lost = f"{found} (while {doing})"
            self.require()
        cudart.cudaGetLastError()  # or the next library that asks for it takes the error for its own
        if name == _OUT_OF_MEMORY:
            raise DeviceMemoryError(
                f"the GPU's memory does not suffice for {doing}",
                found=self.describe_memory(),
                fix="close other programs that use the GPU, or build the engine for a smaller batch or resolution",
            )
        raise CudaError(f"CUDA failed while {doing}", found=found, fix=_ADVICE.get(name))

    def require(self) -> None:
        """Refuse to go on with a GPU that failed for good.

        Raises:
            DeviceLostError: It did.
        """
        if self.lost is not None:
            raise DeviceLostError(
                f"the GPU {self.index} failed and cannot be used any more in this process",
                found=self.lost,
                fix="start the process again; if the GPU fails again, see dmesg for its Xid error",
            )

    def enter(self) -> Any:
        """Make the primary context the thread's current one.

        Returns:
            What was current, for `leave`; None if there is nothing to restore.

        Raises:
            DeviceLostError: The GPU failed for good.
        """
        driver = self._driver
        if self.lost is not None:
            self.require()
        status, before = driver.cuCtxGetCurrent()
        if status:
            self._driver_failed(status, "asking for the current context")
        if int(before) == self._primary_address:
            return None
        if status := driver.cuCtxSetCurrent(self._primary)[0]:
            self._driver_failed(status, "entering the primary context")
        return before

    def leave(self, before: Any) -> None:
        """Give the thread back the context that was current before `enter`."""
        driver = self._driver
        if before is not None:
            driver.cuCtxSetCurrent(before)

    @contextmanager
    def current(self) -> Iterator[None]:
        """`enter`, then `leave`, where time does not matter."""
        before = self.enter()
        try:
            yield
        finally:
            self.leave(before)

    def release(self, free: Any, handle: Any) -> None:
        """Free something, from wherever garbage is collected; on a GPU that is lost nothing is left to free."""
        try:
            with self.current():
                self.check(free(handle), "freeing what an engine used")
        except CudaError:
            pass  # nobody could do anything about it; a GPU that is lost is marked so

    def free_memory(self) -> tuple[int, int]:
        """(free, total) device memory in bytes."""
        cudart = self.cudart
        free, total = self.check(cudart.cudaMemGetInfo(), "asking for free memory")
        return int(free), int(total)

    def describe_memory(self) -> str:
        """Free and total device memory, in words."""
        cudart = self.cudart
        status, free, total = cudart.cudaMemGetInfo()
        if status:
            return "an unknown amount of free memory"
        return f"{int(free) / 1e6:.0f} MB free of {int(total) / 1e6:.0f} MB"

    def owner_of(self, pointer: int) -> int:
        """Address of the context that device memory belongs to; 0 if it belongs to none in particular."""
        driver = self._driver
        attribute = driver.CUpointer_attribute.CU_POINTER_ATTRIBUTE_CONTEXT
        status, owner = driver.cuPointerGetAttribute(attribute, pointer)
        return 0 if status or owner is None else int(owner)

    def is_own(self, context: int) -> bool:
        """Whether a context's memory can be read by work in the primary context."""
        return context in (0, self._primary_address)

    def _require_device(self, index: int) -> None:
        cudart = self.cudart
        status, count = cudart.cudaGetDeviceCount()
        if status or not count:
            self._no_device(status)
        if not 0 <= index < count:
            raise UsageError(f"there is no GPU {index}", expected="0" if count == 1 else f"0 to {count - 1}")

    def _no_device(self, status: Any) -> None:
        cudart = self.cudart
        name = _text(cudart.cudaGetErrorName(status)) if status else "cudaErrorNoDevice"
        words = f"{name}: {_text(cudart.cudaGetErrorString(status))}" if status else "CUDA shows none"
        raise UnavailableError(
            "this machine has no NVIDIA GPU that CUDA can use", found=words,
            fix=_ADVICE.get(name, _ADVICE["cudaErrorNoDevice"]),
        )  # fmt: skip

    def _retain_primary(self, index: int) -> Any:
        """The primary context. It is kept until the process ends, as the CUDA runtime itself keeps it."""
        driver = self._driver
        if status := driver.cuInit(0)[0]:
            self._driver_failed(status, "starting")
        status, device = driver.cuDeviceGet(index)
        if status:
            self._driver_failed(status, f"opening the GPU {index}")
        status, context = driver.cuDevicePrimaryCtxRetain(device)
        if status:
            self._driver_failed(status, f"opening the GPU {index}")
        return context

    def _driver_failed(self, status: Any, doing: str) -> None:
        name = str(getattr(status, "name", status))
        raise CudaError(f"CUDA's driver failed while {doing}", found=name, fix=_ADVICE.get(name))

    def _is_integrated(self) -> bool:
        cudart = self.cudart
        kinds = (cudart.cudaDeviceAttr.cudaDevAttrIntegrated, cudart.cudaDeviceAttr.cudaDevAttrCanMapHostMemory)
        return all(self.check(cudart.cudaDeviceGetAttribute(kind, self.index), "reading properties") for kind in kinds)


_OPEN: dict[int, Cuda] = {}
_OPENING = threading.Lock()


def open_device(index: int) -> Cuda:
    """The GPU of a number; the same object for everyone, since what loses it loses it for all.

    Raises:
        MissingExtraError: NVIDIA's bindings are not installed.
        UnavailableError: No GPU, or no driver.
        UsageError: No GPU of that number.
    """
    with _OPENING:
        if index not in _OPEN:
            _OPEN[index] = Cuda(index)
        return _OPEN[index]


def _bindings() -> tuple[Any, Any]:
    try:
        from cuda.bindings import driver
        from cuda.bindings import runtime as cudart
    except ImportError:
        raise MissingExtraError("cuda-bindings", "cuda", "Running an engine on a GPU") from None
    return cudart, driver


def _text(result: tuple[Any, Any]) -> str:
    """The text that a call returned, as bytes in the bindings."""
    text = result[1]
    return text.decode() if isinstance(text, bytes) else str(text)
