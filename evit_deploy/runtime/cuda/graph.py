# SPDX-License-Identifier: Apache-2.0
"""CUDA graphs: a run recorded once, launched with one call.

A capture can go wrong without an error: TensorRT may record nothing, and a graph of nothing leaves the outputs of the
run before. So a graph is used only after its outputs were compared with those of a plain run.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from evit_deploy.runtime.cuda.api import Cuda, CudaError


class CaptureError(CudaError):
    """Recording did not work; the engine runs without a graph."""


class Graph:
    """A recorded run, with the addresses and shapes it was recorded with."""

    def __init__(self, device: Cuda, handle: Any) -> None:
        self._device, self.handle = device, handle

    def close(self) -> None:
        """Destroy it; nothing of it may be running."""
        cudart = self._device.cudart
        if self.handle is not None:
            handle, self.handle = self.handle, None
            self._device.release(cudart.cudaGraphExecDestroy, handle)


def capture(device: Cuda, stream: int, enqueue: Callable[[], None]) -> Graph:
    """Record what `enqueue` puts on a stream.

    Other threads may use CUDA meanwhile. This one may not, so the garbage collector, which might free memory, waits.

    Raises:
        CaptureError: It cannot be recorded, or nothing was.
        DeviceLostError: The GPU failed.
    """
    cudart = device.cudart
    with _no_garbage():
        mode = cudart.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        device.check(cudart.cudaStreamBeginCapture(stream, mode), "starting to record a CUDA graph")
        try:
            enqueue()
        except CudaError as error:
            reason: CudaError | None = error
        else:
            reason = None
        status, recorded = cudart.cudaStreamEndCapture(stream)  # whatever happened, or the stream stays unusable
    try:
        if reason is not None:
            raise CaptureError("the engine cannot be recorded", found=reason.found or reason.what) from reason
        if status:
            _failed(device, status)
        return _instantiate(device, recorded)
    finally:
        if recorded is not None and int(recorded):
            device.release(cudart.cudaGraphDestroy, recorded)
        cudart.cudaGetLastError()


def _instantiate(device: Cuda, recorded: Any) -> Graph:
    cudart = device.cudart
    status, _, nodes = cudart.cudaGraphGetNodes(recorded, 0)
    if status:
        _failed(device, status)
    if not nodes:
        raise CaptureError("the engine cannot be recorded", found="a graph of nothing")
    status, handle = cudart.cudaGraphInstantiate(recorded, 0)
    if status:
        _failed(device, status)
    return Graph(device, handle)


def _failed(device: Cuda, status: Any) -> None:
    try:
        device.fail(status, "recording a CUDA graph")
    except CudaError as error:
        device.require()
        raise CaptureError("the engine cannot be recorded", found=error.found) from error


@contextmanager
def _no_garbage() -> Iterator[None]:
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
