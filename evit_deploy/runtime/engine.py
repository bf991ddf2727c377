# SPDX-License-Identifier: Apache-2.0
"""A loaded engine: named tensors in, named tensors out."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from evit_deploy.errors import EvitError, UnavailableError, UsageError
from evit_deploy.manifest import Manifest, TensorInfo
from evit_deploy.runtime.backends import Backend, DeviceBackend, Place, open_backend
from evit_deploy.runtime.cuda.interop import is_device_array
from evit_deploy.runtime.cuda.memory import MemoryReport
from evit_deploy.runtime.pending import FinishedWork, Pending
from evit_deploy.runtime.shapes import fits, require_together, shown

Array = npt.NDArray[Any]


class EngineBusyError(EvitError):
    """Two threads called one engine at the same time."""


class Engine:
    """One engine and its buffers, for one caller at a time.

    The buffers are made once, so `infer` allocates no large array and the arrays it returns are overwritten by the
    next call: copy what must outlive it. A second thread that calls in between is refused with `EngineBusyError`
    rather than given mixed results; load the engine once per thread.

    Attributes:
        folder: Where it was loaded from.
        manifest: What it says about itself.
    """

    def __init__(self, folder: Path, manifest: Manifest, backend: Backend) -> None:
        self.folder, self.manifest = folder, manifest
        self._backend: Backend | None = backend
        self._lock = threading.RLock()
        self._names = {tensor.name for tensor in manifest.graph.inputs}
        self._open_inputs = sum(-1 in tensor.shape for tensor in manifest.graph.inputs)

    @property
    def inputs(self) -> tuple[TensorInfo, ...]:
        """Name, dtype and shape of every input."""
        return self.manifest.graph.inputs

    @property
    def outputs(self) -> tuple[TensorInfo, ...]:
        """Name, dtype and shape of every output."""
        return self.manifest.graph.outputs

    def infer(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Run the raw graph.

        Args:
            inputs: One C-contiguous array per input, of exactly its dtype and shape (the batch within its range, other
                open axes of any size from 1): numpy arrays; or, of an engine on a GPU, arrays of another library on
                that GPU, which are not copied.

        Returns:
            One array per output: numpy arrays for numpy arrays, else `DeviceArray`. They are the engine's own buffers:
            the next call overwrites them.

        Raises:
            UsageError: A missing or unknown name, a wrong dtype, shape or place, a closed engine, or submitted runs
                that are in flight.
            EngineBusyError: Another thread is inside this engine.
            CudaError: The GPU failed.
        """
        self._check(inputs)
        with self.exclusive() as backend:
            return backend.run(inputs)

    def submit(self, inputs: Mapping[str, Any]) -> Pending:
        """Put a run under way, and return at once. On a CPU it is over then.

        Args:
            inputs: As for `infer`. Numpy arrays may be changed once this returns, device arrays only after the result.

        Raises:
            UsageError: As for `infer`; or as many runs are in flight as the engine was loaded for.
        """
        self._check(inputs)
        with self.exclusive() as backend:
            if hasattr(backend, "submit"):
                return Pending(self, cast(DeviceBackend, backend).submit(inputs))
            return Pending(self, FinishedWork({name: array.copy() for name, array in backend.run(inputs).items()}))

    def input_buffer(self, name: str, batch: int = 1) -> Array:
        """An array for an input. What is written there and given to `infer` reaches a GPU without a copy on the host.

        Raises:
            UsageError: There is no such input or batch.
        """
        low, high = self.manifest.graph.batch
        tensor = next((tensor for tensor in self.inputs if tensor.name == name), None)
        if tensor is None or not low <= batch <= high or -1 in tensor.shape[1:]:
            raise UsageError(
                f"the graph has no input '{name}' of batch {batch}" + (" and of no other open size" if tensor else ""),
                expected=f"{', '.join(t.name for t in self.inputs if -1 not in t.shape[1:])}, of batch {low} to {high}",
            )
        with self.exclusive() as backend:
            if hasattr(backend, "input_buffer"):
                return cast(DeviceBackend, backend).input_buffer(name, batch)
        return np.empty([batch if size == -1 else size for size in tensor.shape], tensor.dtype)

    @property
    def on_gpu(self) -> bool:
        """Whether it runs on a GPU, where device arrays are inputs too and submitted runs overlap."""
        return getattr(self._backend, "takes_device_arrays", False)

    @property
    def memory(self) -> MemoryReport | None:
        """What it takes on its GPU; None of an engine that runs on the CPU."""
        with self.exclusive() as backend:
            return cast(DeviceBackend, backend).memory() if hasattr(backend, "memory") else None

    @property
    def notes(self) -> tuple[str, ...]:
        """What is worth knowing about how it runs here, such as why it goes without a CUDA graph."""
        with self.exclusive() as backend:
            return cast(DeviceBackend, backend).notes() if hasattr(backend, "notes") else ()

    @property
    def backend_version(self) -> str:
        """Version of the library that runs it here."""
        with self.exclusive() as backend:
            return backend.version

    def close(self) -> None:
        """Free the engine; calling it afterwards is an error. Closing twice is not."""
        with self._lock:
            if self._backend is not None:
                self._backend.close()
                self._backend = None

    def __enter__(self) -> Engine:
        """Return the engine itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the engine."""
        self.close()

    @contextmanager
    def exclusive(self) -> Iterator[Backend]:
        """Hold the engine for one thread; calls of the same thread may nest.

        Raises:
            EngineBusyError: Another thread holds it.
            UsageError: The engine is closed.
        """
        if not self._lock.acquire(blocking=False):
            raise EngineBusyError(
                f"the engine {self.folder.name} is running in another thread",
                fix="load the engine once per thread, or guard it with a lock of your own",
            )
        try:
            if self._backend is None:
                raise UsageError(f"the engine {self.folder.name} is closed", fix="load it again")
            yield self._backend
        finally:
            self._lock.release()

    def _check(self, inputs: Mapping[str, Any]) -> None:
        if inputs.keys() != self._names:
            raise UsageError(
                "the inputs have other names than the graph's",
                found=", ".join(inputs) or "none",
                expected=", ".join(tensor.name for tensor in self.inputs),
            )
        on_device = 0
        for tensor in self.inputs:
            array = inputs[tensor.name]
            if type(array) is not np.ndarray and is_device_array(array):
                self._require_device_arrays(tensor, array)
                on_device += 1
            else:
                _check_tensor(tensor, array, self.manifest.graph.batch)
        if on_device not in (0, len(self.inputs)):
            raise UsageError("some inputs are on the host and some on the GPU", expected="all of them in one place")
        if self._open_inputs > 1:
            require_together(self.manifest.graph, inputs)

    def _require_device_arrays(self, tensor: TensorInfo, array: Any) -> None:
        if self._backend is not None and not self.on_gpu:
            raise UsageError(
                f"the input '{tensor.name}' is no numpy array",
                found=type(array).__name__,
                expected="a numpy array, since this engine runs on the CPU",
                fix="pass tensor.numpy(), or cupy.asnumpy(array)",
            )


def _check_tensor(tensor: TensorInfo, array: Array, batch: tuple[int, int]) -> None:
    if not (isinstance(array, np.ndarray) and array.dtype == tensor.dtype and fits(tensor, batch, array.shape)):
        found = f"{array.dtype} {list(array.shape)}" if isinstance(array, np.ndarray) else type(array).__name__
        raise UsageError(
            f"the input '{tensor.name}' does not fit the graph", found=found, expected=shown(tensor, batch)
        )
    if not array.flags.c_contiguous:
        raise UsageError(f"the input '{tensor.name}' is not contiguous", fix="pass numpy.ascontiguousarray(array)")


def open_engine(
    folder: Path, manifest: Manifest, *, threads: int | None = None, device: int = 0, in_flight: int = 2
) -> Engine:
    """Open an engine whose manifest was read already.

    Args:
        folder: The engine's folder.
        manifest: Its manifest.
        threads: CPU threads of an engine that runs on the CPU; None takes the cores this process may use.
        device: Number of the GPU, of an engine that runs on one.
        in_flight: How many submitted runs it may have in flight there.

    Raises:
        UsageError: The folder holds an export, not an engine; or there is no such GPU.
        UnavailableError: The engine is not compiled yet, or its backend cannot run it here.
        CudaError: The GPU failed, or its memory does not suffice.
    """
    if manifest.engine is None:
        raise UsageError(
            f"{folder} is an export, not an engine",
            fix=f"evit-deploy build {manifest.model.name} --target cpu",
        )
    if manifest.engine.state != "compiled":
        raise UnavailableError(
            f"the engine {folder} is lowered but not compiled yet",
            fix=f"compile it on the device that it is for: evit-deploy build {folder}",
        )
    if in_flight < 1:
        raise UsageError("an engine runs at least one thing at a time", found=f"in_flight={in_flight}")
    place = Place(threads or available_cores(), device, in_flight)
    return Engine(folder, manifest, open_backend(folder, manifest, place))


def available_cores() -> int:
    """CPU cores this process may run on."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS or Windows
        return os.cpu_count() or 1
