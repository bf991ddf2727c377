# SPDX-License-Identifier: Apache-2.0
"""A loaded engine's plan with buffers and a stream of its own, for measurements that the runtime has no use for.

The runtime copies nothing where CPU and GPU share their memory, and its events take no time. What reproduces `trtexec`
must copy, and time each part on the GPU's own clock. Scratch memory is the plan's, so nothing else of the engine may
run meanwhile: `opened` holds it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt

from evit_deploy.manifest import TensorInfo
from evit_deploy.runtime import Engine
from evit_deploy.runtime.cuda.api import Cuda
from evit_deploy.runtime.cuda.backend import CudaBackend
from evit_deploy.runtime.cuda.memory import DeviceMemory, HostMemory, sized
from evit_deploy.runtime.cuda.plan import Plan
from evit_deploy.runtime.shapes import batch_of

Arrays = Mapping[str, npt.NDArray[Any]]


class GpuRun:
    """One set of inputs on the GPU.

    Attributes:
        plan: The engine's plan.
        device: The GPU.
        batch: Frames in the inputs.
        addresses: Device address of every input and output.
        stream: Where everything is put.
    """

    def __init__(self, plan: Plan, device: Cuda, inputs: Arrays, stream: int) -> None:
        self.plan, self.device, self.stream = plan, device, stream
        self.batch = batch_of(plan.manifest.graph, inputs)
        self._inputs = [_Pair(device, tensor, self.batch) for tensor in plan.inputs]
        self._outputs = [_Pair(device, tensor, self.batch) for tensor in plan.outputs]
        self.addresses = {pair.name: pair.device.pointer for pair in self._inputs + self._outputs}
        for pair in self._inputs:
            np.asarray(pair.host)[:] = np.ascontiguousarray(inputs[pair.name]).reshape(-1).view(np.uint8)

    def upload(self) -> None:
        """Put the copies of all inputs on the stream."""
        kind = self.device.cudart.cudaMemcpyKind.cudaMemcpyHostToDevice
        for pair in self._inputs:
            self._copy(pair.device.pointer, pair.host.address, pair.host.nbytes, kind, "copying an input")

    def download(self) -> None:
        """Put the copies of all outputs on the stream."""
        kind = self.device.cudart.cudaMemcpyKind.cudaMemcpyDeviceToHost
        for pair in self._outputs:
            self._copy(pair.host.address, pair.device.pointer, pair.host.nbytes, kind, "copying an output")

    def _copy(self, to: int, source: int, nbytes: int, kind: Any, doing: str) -> None:
        copied = self.device.cudart.cudaMemcpyAsync(to, source, nbytes, kind, self.stream)
        self.device.check(copied, doing)

    def wait(self) -> None:
        """Wait for the stream."""
        cudart = self.device.cudart
        waited = cudart.cudaStreamSynchronize(self.stream)
        self.device.check(waited, "waiting for the engine")


class _Pair:
    """A tensor's memory on both sides; page-locked on the host, as `trtexec` has it."""

    def __init__(self, device: Cuda, tensor: TensorInfo, batch: int) -> None:
        self.name = tensor.name
        nbytes, purpose = sized(tensor, batch)[1], f"'{tensor.name}'"
        self.host = HostMemory(device, nbytes, purpose, mapped=False)
        self.device = DeviceMemory(device, nbytes, purpose)


@contextmanager
def opened(engine: Engine, inputs: Arrays) -> Iterator[GpuRun]:
    """Hold an engine that runs on a GPU, and make a run of its plan.

    Args:
        engine: The engine; no submitted run may be in flight.
        inputs: Arrays of the host, as for `Engine.infer`.

    Raises:
        UsageError: A submitted run is in flight.
        CudaError: The GPU failed, or its memory does not suffice.
    """
    with engine.exclusive() as backend, ExitStack() as stack:
        assert isinstance(backend, CudaBackend)
        device = backend.device
        cudart = device.cudart
        stack.enter_context(device.current())
        backend.require_idle()
        stream = device.check(cudart.cudaStreamCreateWithFlags(cudart.cudaStreamNonBlocking), "creating a stream")
        stack.callback(device.release, cudart.cudaStreamDestroy, stream)
        run = GpuRun(backend.plan, device, inputs, int(stream))
        run.upload()
        stack.callback(run.wait)
        yield run
