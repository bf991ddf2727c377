# SPDX-License-Identifier: Apache-2.0
"""A TensorRT or TensorRT-RTX engine as a backend: one run at a time, or a few in flight."""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from evit_deploy.errors import UsageError
from evit_deploy.runtime.cuda.api import Cuda, CudaError
from evit_deploy.runtime.cuda.lane import Lane
from evit_deploy.runtime.cuda.memory import MemoryReport
from evit_deploy.runtime.cuda.plan import Plan
from evit_deploy.runtime.shapes import batch_of


class CudaBackend:
    """A plan, and lanes to run it in: the first one for `run`, all of them in turn for `submit`.

    Attributes:
        version: Version of the library that runs it.
        plan: What it runs. Profilers make execution contexts of their own from it, while nothing else is under way.
        device: The GPU.
        takes_device_arrays: True: arrays of other libraries on the GPU are inputs too.
    """

    takes_device_arrays = True

    def __init__(self, plan: Plan, device: Cuda, version: str, in_flight: int) -> None:
        self.version, self.plan, self.device, self._in_flight = version, plan, device, in_flight
        self._lanes: list[Lane] = []
        self._works: dict[int, weakref.ref[CudaWork]] = {}
        self._last: Lane | None = None
        self._finalizer = weakref.finalize(self, _close, device, plan, self._lanes, self._works)
        try:
            with device.current():
                self._add_lane().host_side(plan.manifest.graph.batch[0])
        except BaseException:
            self.close()
            raise

    def run(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Run checked inputs; outputs are buffers, on the GPU for device arrays.

        Raises:
            UsageError: Submitted runs still hold the engine, or a device array does not fit.
            CudaError: The run failed.
        """
        device, lane = self.device, self._lanes[0]
        before = device.enter()
        try:
            if self._works or lane.running:
                self.require_idle()
            first = next(iter(inputs.values()))
            if isinstance(first, np.ndarray):
                lane.start(inputs, batch_of(self.plan.manifest.graph, inputs), None)
            else:
                lane.start_on_device(lane.take(inputs), None)
            return lane.finish()
        finally:
            device.leave(before)

    def submit(self, inputs: Mapping[str, Any]) -> CudaWork:
        """Put a run under way.

        Raises:
            UsageError: As many are under way as there may be, or a device array does not fit.
        """
        with self.device.current():
            lane = self._free_lane()
            work = CudaWork(self.device, lane)
            first = next(iter(inputs.values()))
            taken = None if isinstance(first, np.ndarray) else lane.take(inputs)
            try:
                if taken is None:
                    lane.start(inputs, batch_of(self.plan.manifest.graph, inputs), self._last or lane)
                else:
                    lane.start_on_device(taken, self._last or lane)
            except CudaError as error:
                work.error = error
        self._works[id(lane)], self._last = weakref.ref(work), lane
        return work

    def input_buffer(self, name: str, batch: int) -> npt.NDArray[Any]:
        """The array that `run` sends to the GPU; what is written there need not be copied."""
        with self.device.current():
            if self._works or self._lanes[0].running:
                self.require_idle()
            return next(t.array for t in self._lanes[0].host_side(batch).inputs if t.name == name)

    def memory(self) -> MemoryReport:
        """What the engine takes."""
        return MemoryReport(
            plan=self.plan.memory,
            scratch=self.plan.scratch.nbytes,
            device=sum(lane.device_bytes() for lane in self._lanes),
            host=sum(lane.host_bytes() for lane in self._lanes),
        )

    def notes(self) -> tuple[str, ...]:
        """What is worth knowing about how it runs."""
        return tuple(self.plan.notes)

    def require_idle(self) -> None:
        """Make sure that nothing is under way: whoever uses the plan beside `run` needs its scratch memory.

        Raises:
            UsageError: Results of submitted runs were not taken yet.
        """
        waiting = sum(self._is_awaited(lane) for lane in self._lanes)
        if waiting:
            raise UsageError(
                f"{waiting} submitted {'run is' if waiting == 1 else 'runs are'} still in flight",
                fix="take their results before the next infer",
            )
        for lane in self._lanes:
            self._reclaim(lane)

    def close(self) -> None:
        """Wait for what is under way, and free everything. Also happens when the backend is forgotten."""
        self._finalizer()

    def _add_lane(self) -> Lane:
        lane = Lane(self.plan, self.device, self._lanes)
        self._lanes.append(lane)
        return lane

    def _free_lane(self) -> Lane:
        """A lane that nobody waits for: the one after the last, or a new one."""
        free = [lane for lane in self._lanes if not self._is_awaited(lane)]
        if not free and len(self._lanes) == self._in_flight:
            raise UsageError(
                f"{self._in_flight} runs are in flight already",
                fix="take the result of the oldest one first, or load the engine with a larger in_flight",
            )
        if not free or (len(free) == 1 and free[0] is self._last and len(self._lanes) < self._in_flight):
            return self._add_lane()
        lane = next((lane for lane in free if lane is not self._last), free[0])
        self._reclaim(lane)
        return lane

    def _is_awaited(self, lane: Lane) -> bool:
        work = self._works.get(id(lane), _nothing)()
        return work is not None and not work.taken

    def _reclaim(self, lane: Lane) -> None:
        """Make a lane ready for its next run, whose predecessor may have been forgotten."""
        self._works.pop(id(lane), None)
        if lane.running:
            lane.finish()


class CudaWork:
    """A run under way on a lane.

    Attributes:
        error: What went wrong when it was put under way.
        taken: Whether its result was taken, so that the lane is free for the next run.
    """

    def __init__(self, device: Cuda, lane: Lane) -> None:
        self._device, self._lane = device, lane
        self._outputs: dict[str, Any] | None = None
        self.error: CudaError | None = None
        self.taken = False

    def result(self, stream: int | None) -> dict[str, Any]:
        """Wait for the run, and return its outputs; the same ones when asked again.

        Args:
            stream: A stream that shall wait in the place of the caller, for outputs on the GPU.

        Raises:
            CudaError: The run failed.
            UsageError: A stream is named, but the outputs are on the host.
        """
        if self._outputs is not None:
            return self._outputs
        lane = self._lane
        if stream is not None and not lane.on_device:
            raise UsageError(
                "only outputs on the GPU can be handed to a stream", fix="submit device arrays, or leave stream out"
            )
        self.taken = True
        if self.error is not None:
            raise self.error
        try:
            with self._device.current():
                self._outputs = lane.finish() if stream is None else lane.hand_over(stream)
        except CudaError as error:
            self.error = error  # whoever asks again must not get what a later run leaves in the buffers
            raise
        return self._outputs

    def done(self) -> bool:
        """Whether `result` would return at once."""
        if self.taken or self.error is not None:
            return True
        with self._device.current():
            return self._lane.is_done()


def _nothing() -> None:
    return None


def _close(device: Cuda, plan: Plan, lanes: list[Lane], works: dict[int, Any]) -> None:
    """Free a backend's parts, the users before the used."""
    works.clear()
    while lanes:
        lanes.pop().close()
    try:
        before = device.enter()
    except CudaError:
        plan.close()  # the GPU is lost: TensorRT frees what it can
        return
    try:
        plan.close()
    finally:
        device.leave(before)
