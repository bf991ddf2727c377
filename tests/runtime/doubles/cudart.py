# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: N802, N815 (names are NVIDIA's)
"""`cuda.bindings.runtime` and `cuda.bindings.driver` over a `World`."""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace
from typing import Any

from cuda.bindings import driver as real_driver
from cuda.bindings import runtime as real

from evit_deploy.runtime.cuda.api import STICKY
from tests.runtime.doubles.world import LEGACY, PRIMARY, DeviceFault, Event, Stream, Wait, World

OK = real.cudaError_t.cudaSuccess
_NOT_IN_CAPTURE = {"cudaMalloc", "cudaFree", "cudaHostAlloc", "cudaFreeHost", "cudaMemcpy", "cudaStreamSynchronize"}


def _error(name: str) -> Any:
    return getattr(real.cudaError_t, name)


class Cudart:
    """The calls that the runtime makes. Everything else of the real module that is no function is there too."""

    def __init__(self, world: World) -> None:
        self.world = world

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_call_"):
            raise AttributeError(name)
        if hasattr(type(self), f"_call_{name}"):
            call = self._wrapped(name)
            setattr(self, name, call)
            return call
        value = getattr(real, name)
        if callable(value) and not isinstance(value, type):
            raise AttributeError(f"the double has no {name}")
        return value

    def _wrapped(self, name: str) -> Any:
        world, function = self.world, getattr(type(self), f"_call_{name}")

        def call(*args: Any) -> tuple[Any, ...]:
            with world.lock:
                world.calls[name] += 1
                if world.sticky is not None:
                    return self._failed(name, world.sticky)
                if name in world.faults and world.calls[name] >= world.faults[name][0]:
                    return self._failed(name, world.faults.pop(name)[1], args)
                if name in _NOT_IN_CAPTURE and self._break_capture():
                    return self._failed(name, "cudaErrorStreamCaptureUnsupported")
                try:
                    result = function(self, *args)
                except DeviceFault as fault:
                    world.sticky = str(fault)
                    return self._failed(name, world.sticky)
                if isinstance(result, str):
                    return self._failed(name, result)
                return (OK, *result) if isinstance(result, tuple) else (OK,) if result is None else (OK, result)

        return call

    def _failed(self, name: str, error: str, args: tuple[Any, ...] = ()) -> tuple[Any, ...]:
        world = self.world
        if error in STICKY:
            world.sticky = error
        if name == "cudaStreamEndCapture":
            for stream in world.streams.values():
                stream.capture = None
        if error != "cudaErrorNotReady":
            world.last_error = error
        values = {"cudaMemGetInfo": 2, "cudaGraphGetNodes": 2, "cudaGetDeviceCount": 1, "cudaDeviceGetAttribute": 1,
                  "cudaMalloc": 1, "cudaHostAlloc": 1, "cudaHostGetDevicePointer": 1, "cudaStreamCreateWithFlags": 1,
                  "cudaEventCreateWithFlags": 1, "cudaStreamEndCapture": 1, "cudaGraphInstantiate": 1,
                  "cudaPointerGetAttributes": 1, "cudaEventElapsedTime": 1}  # fmt: skip
        return (_error(error), *[None] * values.get(name, 0))

    def _break_capture(self) -> bool:
        capturing = [
            s for s in self.world.streams.values() if s.capture is not None and s.thread == threading.get_ident()
        ]
        for stream in capturing:
            stream.broken = True
        return bool(capturing)

    def _stream(self, handle: Any) -> Stream | str:
        world, number = self.world, int(handle)
        context = world.need_context()
        if number in (0, LEGACY):
            return world.legacy
        stream = world.streams.get(number)
        return stream if stream is not None and stream.context == context else "cudaErrorInvalidResourceHandle"

    # Errors: these work whatever happened

    def cudaGetErrorName(self, error: Any) -> Any:
        return real.cudaGetErrorName(error)

    def cudaGetErrorString(self, error: Any) -> Any:
        return real.cudaGetErrorString(error)

    def cudaGetLastError(self) -> Any:
        error, self.world.last_error = self.world.last_error, None
        return (_error(error) if error else OK,)

    # Device

    def _call_cudaGetDeviceCount(self) -> Any:
        return 1

    def _call_cudaDeviceGetAttribute(self, attribute: Any, device: int) -> Any:
        assert device == 0
        return int(self.world.integrated or attribute != real.cudaDeviceAttr.cudaDevAttrIntegrated)

    def _call_cudaMemGetInfo(self) -> Any:
        self.world.need_context()
        return (self.world.total - self.world.used, self.world.total)

    # Memory

    def _call_cudaMalloc(self, size: int) -> Any:
        block = self.world.allocate(size, "device")
        return "cudaErrorMemoryAllocation" if block is None else block.start

    def _call_cudaHostAlloc(self, size: int, flags: int) -> Any:
        mapped = bool(flags & real.cudaHostAllocMapped)
        block = self.world.allocate(size, "mapped" if mapped else "host")
        return "cudaErrorMemoryAllocation" if block is None else block.host

    def _call_cudaHostGetDevicePointer(self, address: int, flags: int) -> Any:
        block = self.world.blocks.get(address)
        return block.start if block is not None and block.kind == "mapped" else "cudaErrorInvalidValue"

    def _call_cudaFree(self, pointer: int) -> Any:
        return None if self.world.free(pointer) else "cudaErrorInvalidValue"

    _call_cudaFreeHost = _call_cudaFree

    def _call_cudaPointerGetAttributes(self, pointer: int) -> Any:
        block, kinds = self.world.find(pointer), real.cudaMemoryType
        if block is None:
            return SimpleNamespace(type=kinds.cudaMemoryTypeUnregistered, device=-2, devicePointer=0, hostPointer=0)
        kind = kinds.cudaMemoryTypeDevice if block.kind == "device" else kinds.cudaMemoryTypeHost
        return SimpleNamespace(type=kind, device=0, devicePointer=pointer, hostPointer=block.host or 0)

    def _call_cudaMemcpyAsync(self, target: int, source: int, size: int, kind: Any, stream: Any) -> Any:
        found, world = self._stream(stream), self.world
        if isinstance(found, str):
            return found
        name = kind.name
        if "Host" not in name:
            return world.enqueue(found, world.copy(target, source, size, name))
        host = source if "HostTo" in name else target
        if host >= (1 << 48):
            return "cudaErrorInvalidValue"  # an address of the GPU where one of the host belongs
        copy = world.copy(target, source, size, name)
        if world.pinned(host):
            world.enqueue(found, copy)
        elif found.capture is not None:
            found.broken = True
            return "cudaErrorStreamCaptureUnsupported"
        else:  # memory that is not page-locked is copied before the call returns
            world.enqueue(found, copy)
            world.advance(found, found.enqueued)

    def _call_cudaMemcpy(self, target: int, source: int, size: int, kind: Any) -> Any:
        world, name = self.world, kind.name
        world.need_context()
        if name == "cudaMemcpyDefault":
            name = (
                f"cudaMemcpy{'Device' if world.find(source) else 'Host'}To{'Device' if world.find(target) else 'Host'}"
            )
        world.enqueue(world.legacy, world.copy(target, source, size, name))
        world.advance(world.legacy, world.legacy.enqueued)

    def _call_cudaMemsetAsync(self, pointer: int, value: int, size: int, stream: Any) -> Any:
        found = self._stream(stream)
        if isinstance(found, str):
            return found

        def fill() -> None:
            self.world.view(pointer, size)[...] = value

        self.world.enqueue(found, fill)

    # Streams and events

    def _call_cudaStreamCreateWithFlags(self, flags: int) -> Any:
        world = self.world
        stream = Stream(world.new_handle(), world.need_context(), blocking=flags != real.cudaStreamNonBlocking)
        world.streams[stream.handle] = stream
        return real.cudaStream_t(stream.handle)

    def _call_cudaStreamDestroy(self, stream: Any) -> Any:
        found = self._stream(stream)
        if isinstance(found, str) or found is self.world.legacy:
            return "cudaErrorInvalidResourceHandle"
        assert not found.queue, "a stream was destroyed with work on it"
        del self.world.streams[found.handle]

    def _call_cudaStreamSynchronize(self, stream: Any) -> Any:
        found = self._stream(stream)
        if isinstance(found, str):
            return found
        self.world.advance(found, found.enqueued)

    def _call_cudaStreamQuery(self, stream: Any) -> Any:
        found = self._stream(stream)
        if isinstance(found, str):
            return found
        if found.queue:
            self.world.advance(found, found.executed + 1)
        return "cudaErrorNotReady" if found.queue else None

    def _call_cudaStreamWaitEvent(self, stream: Any, event: Any, flags: int) -> Any:
        found, marked = self._stream(stream), self.world.events.get(int(event))
        if isinstance(found, str) or marked is None:
            return "cudaErrorInvalidResourceHandle"
        if marked.stream is not None:
            self.world.enqueue(found, Wait(marked.stream, marked.ticket))

    def _call_cudaEventCreateWithFlags(self, flags: int) -> Any:
        timed = flags != real.cudaEventDisableTiming
        assert self.world.timed or not timed, "an event that takes the time makes streams wait"
        handle = self.world.new_handle()
        self.world.events[handle] = Event(self.world.need_context(), timed=timed)
        return real.cudaEvent_t(handle)

    def _call_cudaEventRecord(self, event: Any, stream: Any) -> Any:
        found, marked = self._stream(stream), self.world.events.get(int(event))
        if isinstance(found, str) or marked is None:
            return "cudaErrorInvalidResourceHandle"

        def stamp() -> None:
            marked.passed = time.perf_counter()

        self.world.enqueue(found, stamp if marked.timed else None)
        marked.stream, marked.ticket = found, found.enqueued

    def _call_cudaEventSynchronize(self, event: Any) -> Any:
        marked = self.world.events.get(int(event))
        if marked is None or marked.stream is None:
            return "cudaErrorInvalidResourceHandle"
        self.world.advance(marked.stream, marked.ticket)

    def _call_cudaEventElapsedTime(self, start: Any, end: Any) -> Any:
        first, second = (self.world.events.get(int(event)) for event in (start, end))
        if first is None or second is None or not (first.timed and second.timed):
            return "cudaErrorInvalidResourceHandle"
        if first.passed is None or second.passed is None:
            return "cudaErrorNotReady"
        return (second.passed - first.passed) * 1000

    def _call_cudaEventDestroy(self, event: Any) -> Any:
        return None if self.world.events.pop(int(event), None) else "cudaErrorInvalidResourceHandle"

    # Graphs

    def _call_cudaStreamBeginCapture(self, stream: Any, mode: Any) -> Any:
        found = self._stream(stream)
        if isinstance(found, str):
            return found
        if found is self.world.legacy or found.capture is not None:
            return "cudaErrorStreamCaptureUnsupported"
        found.capture, found.broken, found.thread = [], False, threading.get_ident()

    def _call_cudaStreamEndCapture(self, stream: Any) -> Any:
        found = self._stream(stream)
        if isinstance(found, str):
            return found
        recorded, found.capture = found.capture, None
        if recorded is None:
            return "cudaErrorIllegalState"
        if found.broken:
            return "cudaErrorStreamCaptureInvalidated"
        handle = self.world.new_handle()
        self.world.graphs[handle] = recorded
        return real.cudaGraph_t(handle)

    def _call_cudaGraphGetNodes(self, graph: Any, count: int = 0) -> Any:
        recorded = self.world.graphs.get(int(graph))
        return "cudaErrorInvalidValue" if recorded is None else ([], len(recorded))

    def _call_cudaGraphInstantiate(self, graph: Any, flags: int) -> Any:
        handle = self.world.new_handle()
        self.world.execs[handle] = list(self.world.graphs[int(graph)])
        return real.cudaGraphExec_t(handle)

    def _call_cudaGraphLaunch(self, executable: Any, stream: Any) -> Any:
        found, recorded = self._stream(stream), self.world.execs.get(int(executable))
        if isinstance(found, str) or recorded is None:
            return "cudaErrorInvalidResourceHandle"
        for work in recorded:
            self.world.enqueue(found, work)

    def _call_cudaGraphDestroy(self, graph: Any) -> Any:
        return None if self.world.graphs.pop(int(graph), None) is not None else "cudaErrorInvalidValue"

    def _call_cudaGraphExecDestroy(self, executable: Any) -> Any:
        return None if self.world.execs.pop(int(executable), None) is not None else "cudaErrorInvalidValue"


class Driver:
    """The few calls of the driver: contexts."""

    CUpointer_attribute = real_driver.CUpointer_attribute

    def __init__(self, world: World) -> None:
        self.world = world

    def cuInit(self, flags: int) -> Any:
        return (real_driver.CUresult.CUDA_SUCCESS,)

    def cuDeviceGet(self, index: int) -> Any:
        return real_driver.CUresult.CUDA_SUCCESS, index

    def cuDevicePrimaryCtxRetain(self, device: int) -> Any:
        return real_driver.CUresult.CUDA_SUCCESS, real_driver.CUcontext(PRIMARY)

    def cuCtxGetCurrent(self) -> Any:
        return real_driver.CUresult.CUDA_SUCCESS, real_driver.CUcontext(self.world.context)

    def cuCtxSetCurrent(self, context: Any) -> Any:
        self.world.context = int(context)
        return (real_driver.CUresult.CUDA_SUCCESS,)

    def cuPointerGetAttribute(self, attribute: Any, pointer: int) -> Any:
        assert attribute == self.CUpointer_attribute.CU_POINTER_ATTRIBUTE_CONTEXT
        block = self.world.find(pointer)
        if block is None:
            return real_driver.CUresult.CUDA_ERROR_INVALID_VALUE, None
        return real_driver.CUresult.CUDA_SUCCESS, real_driver.CUcontext(block.context)
