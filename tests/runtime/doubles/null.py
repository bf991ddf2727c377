# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: N802 (names are NVIDIA's)
"""CUDA and TensorRT that answer at once and do nothing: what is left of a call is the wrapper's own time."""

from __future__ import annotations

import ctypes
import itertools
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
from cuda.bindings import driver as real_driver
from cuda.bindings import runtime as real

from tests.runtime.doubles.bench import HEIGHT, WIDTH
from tests.runtime.doubles.trt import DataType, ILogger, Strategy, TensorIOMode, TensorLocation

OK = real.cudaError_t.cudaSuccess
_TENSORS = {"image": (DataType.UINT8, (1, HEIGHT, WIDTH, 3)), "classes": (DataType.UINT8, (1, HEIGHT, WIDTH)),
            "confidence": (DataType.FLOAT, (1, HEIGHT, WIDTH))}  # fmt: skip


class NullCudart:
    """Success, whatever is asked."""

    def __init__(self, *, integrated: bool) -> None:
        self.kept: list[np.ndarray] = []
        done, handles = (OK,), itertools.count(1 << 40, 4096)
        for name in (
            "Free",
            "FreeHost",
            "StreamDestroy",
            "EventDestroy",
            "GraphDestroy",
            "GraphExecDestroy",
            "StreamSynchronize",
            "StreamBeginCapture",
            "StreamWaitEvent",
            "EventRecord",
            "GetLastError",
        ):
            setattr(self, f"cuda{name}", lambda *_: done)  # fmt: skip
        self.cudaMemcpyAsync = lambda target, source, size, kind, stream: done
        self.cudaGraphLaunch = lambda graph, stream: done
        self.cudaMemsetAsync = lambda pointer, value, size, stream: done
        self.cudaMalloc = lambda size: (OK, next(handles))
        self.cudaHostGetDevicePointer = lambda address, flags: (OK, next(handles))
        self.cudaStreamCreateWithFlags = lambda flags: (OK, real.cudaStream_t(next(handles)))
        self.cudaEventCreateWithFlags = lambda flags: (OK, real.cudaEvent_t(next(handles)))
        self.cudaStreamEndCapture = lambda stream: (OK, real.cudaGraph_t(next(handles)))
        self.cudaGraphGetNodes = lambda graph, count: (OK, [], 1)
        self.cudaGraphInstantiate = lambda graph, flags: (OK, real.cudaGraphExec_t(next(handles)))
        self.cudaGetDeviceCount = lambda: (OK, 1)
        self.cudaMemGetInfo = lambda: (OK, 1 << 30, 1 << 30)
        self.cudaDeviceGetAttribute = lambda kind, index: (OK, int(integrated))
        device = SimpleNamespace(type=real.cudaMemoryType.cudaMemoryTypeDevice, device=0, devicePointer=0)
        self.cudaPointerGetAttributes = lambda pointer: (OK, device)

    def cudaMemcpy(self, target: int, source: int, size: int, kind: Any) -> Any:
        if kind == real.cudaMemcpyKind.cudaMemcpyDefault:  # outputs, to be compared: always the same ones
            ctypes.memset(target, 0, size)
        return (OK,)

    def cudaHostAlloc(self, size: int, flags: int) -> Any:
        self.kept.append(np.zeros(size, np.uint8))
        return OK, self.kept[-1].ctypes.data

    def __getattr__(self, name: str) -> Any:
        value = getattr(real, name)
        if callable(value) and not isinstance(value, type):
            raise AttributeError(name)
        return value


class NullDriver:
    """One context, current everywhere."""

    CUpointer_attribute = real_driver.CUpointer_attribute

    def __init__(self) -> None:
        ok, context = real_driver.CUresult.CUDA_SUCCESS, real_driver.CUcontext(1)
        self.cuInit = lambda flags: (ok,)
        self.cuDeviceGet = lambda index: (ok, index)
        self.cuDevicePrimaryCtxRetain = lambda device: (ok, context)
        self.cuCtxGetCurrent = lambda: (ok, context)
        self.cuCtxSetCurrent = lambda current: (ok,)
        self.cuPointerGetAttribute = lambda attribute, pointer: (ok, context)


def null_trt() -> ModuleType:
    """A TensorRT whose engines are the one of `bench`, and do nothing."""
    trt = ModuleType("tensorrt")
    trt.__version__ = "10.3.0"
    trt.ILogger, trt.TensorIOMode, trt.TensorLocation = ILogger, TensorIOMode, TensorLocation
    trt.ExecutionContextAllocationStrategy, trt.ICudaEngine = Strategy, NullEngine
    trt.Runtime = lambda logger: SimpleNamespace(deserialize_cuda_engine=lambda data: NullEngine())
    return trt


class NullEngine:
    """An engine that does nothing."""

    num_io_tensors, device_memory_size_v2 = 3, 4096

    def get_tensor_name(self, index: int) -> str:
        return list(_TENSORS)[index]

    def get_tensor_location(self, name: str) -> Any:
        return TensorLocation.DEVICE

    def get_tensor_dtype(self, name: str) -> Any:
        return _TENSORS[name][0]

    def get_tensor_mode(self, name: str) -> Any:
        return TensorIOMode.INPUT if name == "image" else TensorIOMode.OUTPUT

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return _TENSORS[name][1]

    def create_execution_context(self, strategy: Any) -> Any:
        done = {name: lambda *_: True for name in ("set_input_shape", "set_tensor_address", "execute_async_v3")}
        return SimpleNamespace(
            active_optimization_profile=0, infer_shapes=list, get_tensor_shape=self.get_tensor_shape,
            set_device_memory=lambda memory, size: None, **done,
        )  # fmt: skip
