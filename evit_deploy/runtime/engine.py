# SPDX-License-Identifier: Apache-2.0
"""A loaded engine: named tensors in, named tensors out."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from evit_deploy.errors import EvitError, UnavailableError, UsageError
from evit_deploy.manifest import Manifest, TensorInfo
from evit_deploy.runtime.backends import Backend, open_backend

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

    @property
    def inputs(self) -> tuple[TensorInfo, ...]:
        """Name, dtype and shape of every input."""
        return self.manifest.graph.inputs

    @property
    def outputs(self) -> tuple[TensorInfo, ...]:
        """Name, dtype and shape of every output."""
        return self.manifest.graph.outputs

    def infer(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Run the raw graph.

        Args:
            inputs: One C-contiguous array per input, of exactly its dtype and shape (the batch within its range).

        Returns:
            One array per output. They are the engine's own buffers: the next call overwrites them.

        Raises:
            UsageError: A missing or unknown name, a wrong dtype or shape, or a closed engine.
            EngineBusyError: Another thread is inside this engine.
        """
        self._check(inputs)
        with self.exclusive() as backend:
            return backend.run(inputs)

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

    def _check(self, inputs: Mapping[str, Array]) -> None:
        names = [tensor.name for tensor in self.inputs]
        if set(inputs) != set(names):
            raise UsageError(
                "the inputs have other names than the graph's",
                found=", ".join(inputs) or "none",
                expected=", ".join(names),
            )
        for tensor in self.inputs:
            _check_tensor(tensor, inputs[tensor.name], self.manifest.graph.batch)


def _check_tensor(tensor: TensorInfo, array: Array, batch: tuple[int, int]) -> None:
    low, high = batch
    fits = (
        isinstance(array, np.ndarray)
        and array.dtype == tensor.dtype
        and array.ndim == len(tensor.shape)
        and all(size in (-1, found) for size, found in zip(tensor.shape, array.shape, strict=True))
        and low <= array.shape[0] <= high
    )
    if not fits:
        shape = [f"{low}..{high}" if size == -1 else str(size) for size in tensor.shape]
        found = f"{array.dtype} {list(array.shape)}" if isinstance(array, np.ndarray) else type(array).__name__
        raise UsageError(
            f"the input '{tensor.name}' does not fit the graph",
            found=found,
            expected=f"{tensor.dtype} [{', '.join(shape)}]",
        )
    if not array.flags.c_contiguous:
        raise UsageError(f"the input '{tensor.name}' is not contiguous", fix="pass numpy.ascontiguousarray(array)")


def open_engine(folder: Path, manifest: Manifest, *, threads: int | None = None) -> Engine:
    """Open an engine whose manifest was read already.

    Raises:
        UsageError: The folder holds an export, not an engine.
        UnavailableError: The engine is not compiled yet, or its backend cannot run it here.
    """
    if manifest.engine is None:
        raise UsageError(
            f"{folder} is an export, not an engine",
            fix=f"evit-deploy build {manifest.model.name} --target cpu",
        )
    if manifest.engine.state != "compiled":
        raise UnavailableError(
            f"the engine {folder} is lowered but not compiled yet",
            fix=f"compile its {manifest.graph.file} with the device's TensorRT: trtexec --onnx=… --stronglyTyped",
        )
    return Engine(folder, manifest, open_backend(folder, manifest, threads or available_cores()))


def available_cores() -> int:
    """CPU cores this process may run on."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS or Windows
        return os.cpu_count() or 1
