# SPDX-License-Identifier: Apache-2.0
"""A plan bound to one batch size and one set of addresses, and the CUDA graph recorded from it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt

from evit_deploy.runtime.cuda.api import Cuda, CudaError
from evit_deploy.runtime.cuda.graph import CaptureError, Graph, capture
from evit_deploy.runtime.cuda.memory import sized
from evit_deploy.runtime.cuda.plan import Plan

POISON = 0xA5
_TOLERANCE = 1e-2

Outputs = dict[str, npt.NDArray[Any]]


class Binding:
    """One execution context whose shapes and addresses do not change.

    Attributes:
        batch: Its batch size.
        addresses: Device address of every input and output.
    """

    def __init__(self, plan: Plan, device: Cuda, batch: int, addresses: Mapping[str, int], stream: int) -> None:
        self._plan, self._device, self._stream = plan, device, stream
        self.batch, self.addresses = batch, dict(addresses)
        self._context = plan.new_context(batch, addresses, stream)
        self._graph: Graph | None = None
        self._handle: Any = None

    @property
    def recorded(self) -> bool:
        """Whether it runs as a CUDA graph."""
        return self._handle is not None

    def enqueue(self) -> None:
        """Put one run on the stream.

        Raises:
            CudaError: It was refused; nothing runs then.
        """
        if self._handle is not None:
            cudart = self._device.cudart
            status = cudart.cudaGraphLaunch(self._handle, self._stream)[0]
            if status:
                self._device.fail(status, "launching the engine's CUDA graph")
            return
        self._enqueue_plain()

    def move(self, addresses: Mapping[str, int]) -> None:
        """Run on other addresses from now on. Only without a graph, which has its addresses burnt in."""
        assert self._graph is None
        if addresses != self.addresses:
            self._plan.set_addresses(self._context, addresses)
            self.addresses = dict(addresses)

    def record(self, renew: Callable[[], None] | None = None) -> None:
        """Record a CUDA graph, and use it from now on if it does what a plain run does.

        TensorRT must have run once before it is recorded. Then the graph runs first and the plain run afterwards, on
        values that the recording has not seen if `renew` writes some, and with outputs overwritten before each: what
        an empty graph leaves behind is neither.

        Args:
            renew: Writes other values into the inputs, where they may be written.

        Raises:
            CudaError: The plain run fails.
        """
        self._enqueue_plain()
        self._wait()
        try:
            self._graph = capture(self._device, self._stream, self._enqueue_plain)
        except CaptureError as error:
            self._go_without(error.found)
            self._enqueue_plain()
            self._wait()
            return
        if renew is not None:
            renew()
        if reason := self._differs(self._graph.handle):
            self._graph.close()
            self._graph = None
            self._go_without(reason)
        else:
            self._handle = self._graph.handle

    def _differs(self, handle: Any) -> str | None:
        """Why a recorded graph cannot be used, in words; None if it gives what a plain run gives."""
        try:
            self._handle = handle
            replayed = self._run_poisoned()
        except CudaError as error:
            self._device.require()
            return error.found or error.what
        finally:
            self._handle = None
        return None if _equal(replayed, self._run_poisoned()) else "it gave other outputs than a plain run"

    def _go_without(self, reason: str | None) -> None:
        self._plan.note(f"runs without a CUDA graph at batch {self.batch}: {reason}")

    @contextmanager
    def closed_on_error(self) -> Iterator[None]:
        """Close it if what happens inside fails."""
        try:
            yield
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Free the graph and the context; nothing of it may be running."""
        if self._graph is not None:
            self._graph.close()
        self._graph = self._handle = self._context = None

    def _enqueue_plain(self) -> None:
        context = self._context
        if not context.execute_async_v3(self._stream):
            self._plan.failed("TensorRT could not enqueue the engine")

    def _wait(self) -> None:
        cudart = self._device.cudart
        self._device.check(cudart.cudaStreamSynchronize(self._stream), "waiting for the engine")

    def _run_poisoned(self) -> Outputs:
        """Overwrite the outputs, run, and copy them to the host."""
        device, cudart = self._device, self._device.cudart
        results = {}
        for tensor in self._plan.outputs:
            shape, nbytes = sized(tensor, self.batch)
            results[tensor.name] = np.empty(shape, tensor.dtype)
            filled = cudart.cudaMemsetAsync(self.addresses[tensor.name], POISON, nbytes, self._stream)
            device.check(filled, "overwriting an output")
        self.enqueue()
        self._wait()
        kind = cudart.cudaMemcpyKind.cudaMemcpyDefault
        for name, result in results.items():
            copied = cudart.cudaMemcpy(result.ctypes.data, self.addresses[name], result.nbytes, kind)
            device.check(copied, "copying an output")
        return results


def _equal(replayed: Outputs, plain: Outputs) -> bool:
    """Whether two runs agree: to the byte, or as far as sums in another order differ."""
    for name, expected in plain.items():
        found = replayed[name]
        if found.tobytes() == expected.tobytes():
            continue
        if expected.dtype.kind != "f":
            if np.mean(found != expected) > _TOLERANCE:
                return False
            continue
        scale = np.abs(expected[np.isfinite(expected)]).max(initial=0.0)
        if not np.allclose(found, expected, rtol=0.0, atol=_TOLERANCE * scale, equal_nan=True):
            return False
    return True
