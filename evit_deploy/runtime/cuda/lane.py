# SPDX-License-Identifier: Apache-2.0
"""A stream with buffers of its own, for one run at a time.

Copies of one lane overlap the work of another; the engine's own runs do not, since they share their scratch memory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy.typing as npt

from evit_deploy.runtime.cuda.api import Cuda, CudaError
from evit_deploy.runtime.cuda.interop import DeviceInput, take_array
from evit_deploy.runtime.cuda.plan import Plan
from evit_deploy.runtime.cuda.sides import DeviceSide, HostSide
from evit_deploy.runtime.shapes import batch_of


class Lane:
    """A stream, its buffers, and the run that may be on it.

    Attributes:
        stream: Handle of the stream.
        running: Whether something was put on the stream that nobody has waited for.
    """

    def __init__(self, plan: Plan, device: Cuda, lanes: Sequence[Lane]) -> None:
        self._plan, self._device, self._lanes = plan, device, lanes
        self._hosts: dict[int, HostSide] = {}
        self._devices: dict[int, DeviceSide] = {}
        self._held: Any = None
        self._results: dict[str, Any] = {}
        self._events: list[Any] = []
        cudart = device.cudart
        created = cudart.cudaStreamCreateWithFlags(cudart.cudaStreamNonBlocking)
        self._stream: Any = device.check(created, "creating a stream")
        self.stream, self.running = int(self._stream), False
        try:
            self._computed, self._marker = self._new_event(), self._new_event()
        except CudaError:
            self.close()
            raise

    def alone(self) -> None:
        """Wait until no other lane is running: to record a graph the engine is run, out of turn."""
        for other in self._lanes:
            if other is not self and other.running:
                other.wait()

    def host_side(self, batch: int) -> HostSide:
        """Buffers for a batch size, made when it is first seen."""
        side = self._hosts.get(batch)
        if side is None:
            self.alone()
            side = HostSide(self._plan, self._device, batch, self.stream)
            with side.binding.closed_on_error():
                side.prepare()
            self._hosts[batch] = side
        return side

    def start(self, inputs: Mapping[str, npt.NDArray[Any]], batch: int, after: Lane | None) -> None:
        """Put a run with values of the host on the stream.

        Args:
            inputs: Checked arrays.
            batch: Their batch size.
            after: Lane whose engine run must be over first.
        """
        side = self.host_side(batch)
        self.running, self._results = True, side.results
        side.write(inputs)
        if after is not None:
            self._follow_engine(after)
        side.binding.enqueue()
        if after is not None:
            self.mark_engine()
        side.read()

    def take(self, arrays: Mapping[str, Any]) -> dict[str, DeviceInput]:
        """Check device arrays of other libraries, and order the stream behind what they wait for."""
        graph = self._plan.manifest.graph
        return {
            tensor.name: take_array(
                self._device, tensor, graph.batch, arrays[tensor.name], self.stream, self._follow_stream
            )
            for tensor in self._plan.inputs
        }

    def start_on_device(self, inputs: Mapping[str, DeviceInput], after: Lane | None) -> None:
        """Put a run with device arrays on the stream. They are held until it is over."""
        batch = batch_of(self._plan.manifest.graph, inputs)
        side = self._devices.get(batch)
        if side is None:
            side = DeviceSide(self._plan, self._device, batch, self.stream, self.lead, self.alone)
            self._devices[batch] = side
        self.running, self._held, self._results = True, inputs, side.results
        if after is not None:
            self._follow_engine(after)
        binding = side.binding(inputs)
        binding.enqueue()
        self.mark_engine()

    def wait(self) -> None:
        """Wait for what is on the stream, without an end to the run."""
        cudart = self._device.cudart
        self._device.check(cudart.cudaStreamSynchronize(self.stream), "waiting for the engine")

    @property
    def on_device(self) -> bool:
        """Whether the outputs of the run stay on the GPU."""
        return self._held is not None

    def finish(self) -> dict[str, Any]:
        """Wait for the run, and return its outputs."""
        cudart = self._device.cudart
        status = cudart.cudaStreamSynchronize(self.stream)[0]
        self.running, self._held = False, None
        if status:
            self._device.fail(status, "waiting for the engine")
        return self._results

    def hand_over(self, stream: int) -> dict[str, Any]:
        """Make another stream wait for the run, and return its outputs at once."""
        self.lead(stream)
        return self._results

    def is_done(self) -> bool:
        """Whether the run is over."""
        cudart = self._device.cudart
        status = cudart.cudaStreamQuery(self.stream)[0]
        if status and status != cudart.cudaError_t.cudaErrorNotReady:
            self._device.fail(status, "asking for the engine's state")
        return not status

    def lead(self, stream: int) -> None:
        """Make another stream wait for what is on this one."""
        if self._stream is not None:
            self._order(self.stream, stream)

    def mark_engine(self) -> None:
        """Remember the end of the engine's run for `start` of another lane."""
        cudart = self._device.cudart
        self._device.check(cudart.cudaEventRecord(self._computed, self.stream), "recording an event")

    def host_bytes(self) -> int:
        """Page-locked memory of its buffers."""
        return sum(tensor.nbytes for side in self._hosts.values() for tensor in side.inputs + side.outputs)

    def device_bytes(self) -> int:
        """Device memory of its buffers."""
        paired = [t.nbytes for side in self._hosts.values() for t in side.inputs + side.outputs if t.device]
        return sum(paired) + sum(array.nbytes for side in self._devices.values() for array in side.results.values())

    def close(self) -> None:
        """Wait, then free everything; arrays that were given out stay readable."""
        cudart = self._device.cudart
        if self._stream is None:
            return
        self._device.release(cudart.cudaStreamSynchronize, self.stream)
        for host in self._hosts.values():
            host.binding.close()
        for side in self._devices.values():
            side.close()
        self._hosts.clear()
        self._devices.clear()
        self._held, self._results = None, {}
        for event in self._events:
            self._device.release(cudart.cudaEventDestroy, event)
        stream, self._stream, self.running = self._stream, None, False
        self._device.release(cudart.cudaStreamDestroy, stream)

    def _new_event(self) -> Any:
        cudart = self._device.cudart
        created = cudart.cudaEventCreateWithFlags(cudart.cudaEventDisableTiming)
        self._events.append(self._device.check(created, "creating an event"))
        return self._events[-1]

    def _follow_engine(self, other: Lane) -> None:
        cudart = self._device.cudart
        if other is not self and other.running:
            waits = cudart.cudaStreamWaitEvent(self.stream, other._computed, 0)
            self._device.check(waits, "ordering two runs")

    def _follow_stream(self, stream: int) -> None:
        self._order(stream, self.stream)

    def _order(self, first: int, then: int) -> None:
        cudart = self._device.cudart
        self._device.check(cudart.cudaEventRecord(self._marker, first), f"asking the stream 0x{first:x} for its end")
        self._device.check(cudart.cudaStreamWaitEvent(then, self._marker, 0), f"ordering the stream 0x{then:x}")
