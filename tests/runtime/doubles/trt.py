# SPDX-License-Identifier: Apache-2.0
"""`tensorrt` and `tensorrt_rtx` over a `World`: the part that runs engines, in the forms of several releases.

A plan is an ONNX graph behind a magic word. A run is two kernels: one computes and leaves its results in the scratch
memory, the other moves them to the outputs. So two runs that use the scratch memory at once spoil one another.
"""

from __future__ import annotations

import enum
import hashlib
import weakref
from types import ModuleType
from typing import Any

import numpy as np
import onnxruntime as ort

from tests.runtime.doubles.world import DeviceFault, World

MAGIC = b"a plan of the double\n"

DataType = enum.Enum("DataType", "FLOAT HALF INT8 INT32 BOOL UINT8 FP8 BF16 INT64 INT4")
TensorIOMode = enum.Enum("TensorIOMode", "NONE INPUT OUTPUT")
TensorLocation = enum.Enum("TensorLocation", "DEVICE HOST")
Strategy = enum.Enum("ExecutionContextAllocationStrategy", "STATIC ON_PROFILE_CHANGE USER_MANAGED")
CudaGraphStrategy = enum.Enum("CudaGraphStrategy", "DISABLED WHOLE_GRAPH_CAPTURE")
Specialization = enum.Enum("DynamicShapesKernelSpecializationStrategy", "LAZY EAGER NONE")

_TYPES = {"tensor(uint8)": DataType.UINT8, "tensor(float)": DataType.FLOAT, "tensor(float16)": DataType.HALF,
          "tensor(int32)": DataType.INT32}  # fmt: skip
_NUMPY = {DataType.UINT8: np.uint8, DataType.FLOAT: np.float32, DataType.HALF: np.float16, DataType.INT32: np.int32}
_sessions: dict[str, ort.InferenceSession] = {}


class ILogger:
    """What a logger derives from."""

    Severity = enum.Enum("Severity", "INTERNAL_ERROR ERROR WARNING INFO VERBOSE")

    def __init__(self) -> None:
        pass


class IProfiler:
    """What a profiler derives from."""

    def __init__(self) -> None:
        self.started = True


LAYERS = ("image convolution", "best class")
"""What a profiler is told of."""


def plan_of(graph: bytes) -> bytes:
    """The plan of an ONNX graph."""
    return MAGIC + graph


def make_trt(world: World, *, version: str = "10.3.0", rtx: bool = False) -> ModuleType:
    """A module as the one of a release: "10.0.1", "10.3.0", "11.4.0.106", or of TensorRT-RTX."""
    trt = ModuleType("tensorrt_rtx" if rtx else "tensorrt")
    trt.__version__ = version
    trt.ILogger, trt.DataType, trt.TensorIOMode, trt.TensorLocation = ILogger, DataType, TensorIOMode, TensorLocation
    trt.ExecutionContextAllocationStrategy, trt.IProfiler = Strategy, IProfiler
    old = version.startswith("10.0")
    engine_kind: type[Engine] = OldEngine if old else RtxEngine if rtx else Engine
    if rtx:
        trt.CudaGraphStrategy, trt.DynamicShapesKernelSpecializationStrategy = CudaGraphStrategy, Specialization
    trt.ICudaEngine, trt.IExecutionContext = engine_kind, OldContext if old else Context
    trt.Runtime = type("Runtime", (Runtime,), {"world": world, "engine_kind": engine_kind})
    return trt


class Counted:
    """An object whose end is counted."""

    def count(self, world: World, name: str) -> None:
        world.trt_objects[name] += 1
        weakref.finalize(self, world.trt_objects.subtract, [name])


class Runtime(Counted):
    """Loads plans."""

    world: World
    engine_kind: type[Engine]

    def __init__(self, logger: Any) -> None:
        self.logger = logger
        self.count(self.world, "runtimes")

    def deserialize_cuda_engine(self, data: bytes) -> Any:
        if not data.startswith(MAGIC):
            self.logger.log(ILogger.Severity.ERROR, "Error Code 1: Serialization (magicTag rtMagicTag failed.)")
            return None
        weights = self.world.allocate(1 << 16, "device")
        if weights is None:
            self.logger.log(ILogger.Severity.ERROR, "Error Code 2: OutOfMemory (Requested size was 65536 bytes.)")
            return None
        return self.engine_kind(self, data[len(MAGIC) :], weights.start)


class Engine(Counted):
    """A plan in memory, as from 10.1 on."""

    device_memory_size_v2 = 4096
    num_optimization_profiles = 1

    def __init__(self, runtime: Runtime, graph: bytes, weights: int) -> None:
        self.runtime, self.world, self.weights = runtime, runtime.world, weights
        key = hashlib.sha256(graph).hexdigest()
        if key not in _sessions:
            options = ort.SessionOptions()
            options.intra_op_num_threads = 1
            _sessions[key] = ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        self.session = _sessions[key]
        self.tensors = [*self.session.get_inputs(), *self.session.get_outputs()]
        self.by_name = {tensor.name: tensor for tensor in self.tensors}
        self.count(self.world, "engines")
        weakref.finalize(self, self.world.free, weights)

    @property
    def num_io_tensors(self) -> int:
        return len(self.tensors)

    def get_tensor_name(self, index: int) -> str:
        return self.tensors[index].name

    def get_tensor_location(self, name: str) -> Any:
        return TensorLocation.DEVICE

    def get_tensor_dtype(self, name: str) -> Any:
        return _TYPES[self.by_name[name].type]

    def get_tensor_mode(self, name: str) -> Any:
        first = len(self.session.get_inputs())
        return TensorIOMode.INPUT if self.by_name[name] in self.tensors[:first] else TensorIOMode.OUTPUT

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return tuple(size if isinstance(size, int) else -1 for size in self.by_name[name].shape)

    def create_execution_context(self, strategy: Any = Strategy.STATIC) -> Any:
        assert isinstance(strategy, Strategy)
        return self.new_context(strategy)

    def new_context(self, strategy: Any) -> Any:
        assert strategy is Strategy.USER_MANAGED
        if self.world.faults.pop("create_execution_context", None):
            return None
        return Context(self)


class OldEngine(Engine):
    """As in 10.0."""

    device_memory_size = 4096

    def __getattribute__(self, name: str) -> Any:
        if name == "device_memory_size_v2":
            raise AttributeError(name)
        return super().__getattribute__(name)

    def new_context(self, strategy: Any) -> Any:
        return OldContext(self)


class RuntimeCache:
    """Compiled kernels."""

    def __init__(self) -> None:
        self.blob = b""

    def deserialize(self, blob: bytes) -> bool:
        if not blob.startswith(b"kernels of the double"):
            return False
        self.blob = bytes(blob)
        return True

    def serialize(self) -> bytes:
        return self.blob


class RuntimeConfig:
    """Settings of TensorRT-RTX."""

    def __init__(self) -> None:
        self.cuda_graph_strategy: Any = CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
        self.dynamic_shapes_kernel_specialization_strategy: Any = Specialization.LAZY
        self.strategy: Any = Strategy.STATIC
        self.cache: RuntimeCache | None = None

    def set_execution_context_allocation_strategy(self, strategy: Any = Strategy.STATIC) -> None:
        self.strategy = strategy

    def create_runtime_cache(self) -> RuntimeCache:
        return RuntimeCache()

    def set_runtime_cache(self, cache: RuntimeCache) -> bool:
        self.cache = cache
        return True

    def get_runtime_cache(self) -> RuntimeCache | None:
        return self.cache


class RtxEngine(Engine):
    """As in TensorRT-RTX."""

    def create_runtime_config(self) -> RuntimeConfig:
        return RuntimeConfig()

    def create_execution_context(self, runtime_config: Any = None) -> Any:
        assert runtime_config.cuda_graph_strategy is CudaGraphStrategy.DISABLED
        assert runtime_config.dynamic_shapes_kernel_specialization_strategy is Specialization.EAGER
        self.world.calls["compiled kernels"] += not runtime_config.cache.blob
        runtime_config.cache.blob = runtime_config.cache.blob or b"kernels of the double"
        return self.new_context(runtime_config.strategy)


class Context(Counted):
    """An execution context."""

    def __init__(self, engine: Engine) -> None:
        self.engine, self.world = engine, engine.world
        self.active_optimization_profile = -1
        self.addresses: dict[str, int] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.scratch = 0
        self.profiler: Any = None
        self.warm: set[Any] = set()
        self.count(self.world, "execution contexts")

    def set_optimization_profile_async(self, profile_index: int, stream_handle: int) -> bool:
        self.active_optimization_profile = profile_index
        return int(stream_handle) in self.world.streams

    def set_device_memory(self, memory: int, size: int) -> None:
        assert size >= 4096
        self.world.view(memory, size)
        self.scratch = memory

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        assert self.active_optimization_profile == 0
        own = self.engine.get_tensor_shape(name)
        fits = len(own) == len(shape) and all(a in (-1, b) for a, b in zip(own, shape, strict=True))
        if fits:
            self.shapes[name] = tuple(shape)
        return fits

    def infer_shapes(self) -> list[str]:
        return [tensor.name for tensor in self.engine.session.get_inputs() if tensor.name not in self.shapes]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        batch = next(iter(self.shapes.values()))[0]
        return tuple(batch if size == -1 else size for size in self.engine.get_tensor_shape(name))

    def set_tensor_address(self, name: str, memory: int) -> bool:
        assert isinstance(memory, int)
        if name not in self.engine.by_name:
            return False
        self.addresses[name] = memory
        return True

    def execute_async_v3(self, stream_handle: int) -> bool:
        """Put a run on a stream; the addresses are those of now, whatever is set afterwards."""
        world, stream = self.world, self.world.streams.get(int(stream_handle))
        capturing = stream is not None and stream.capture is not None
        assert world.context == stream.context if stream is not None else True
        if stream is None or len(self.addresses) < self.engine.num_io_tensors or not self.scratch:
            return self._refuse("not everything is set")
        shape = tuple(self.shapes.items())
        if capturing and shape not in self.warm:
            stream.broken = True
            return self._refuse("it must run once before it is captured")
        if world.refuse_enqueue(capturing):
            stream.broken = stream.broken or capturing
            return self._refuse("Error Code 1: Cuda Runtime (the double refuses)")
        self.warm.add(shape)
        if capturing and world.spoil_capture == "nothing":
            return True
        if capturing and world.spoil_capture == "invalid":
            stream.broken = True
            return True
        first, second = self._kernels(dict(self.addresses), dict(self.shapes))
        world.enqueue(stream, first)
        if not (capturing and world.spoil_capture == "half"):
            world.enqueue(stream, second)
        if self.profiler is not None:
            assert self.profiler.started, "IProfiler.__init__ was not called"
            assert not capturing, "a profiler waits for every run"
            world.advance(stream, stream.enqueued)
            for number, name in enumerate(LAYERS, start=1):
                self.profiler.report_layer_time(name, 0.5 * number)
        return True

    def _kernels(self, addresses: dict[str, int], shapes: dict[str, tuple[int, ...]]) -> tuple[Any, Any]:
        world, engine, scratch = self.world, self.engine, self.scratch

        def compute() -> None:
            if world.kernel_fault is not None:
                raise DeviceFault(world.kernel_fault)
            inputs = {}
            for name, shape in shapes.items():
                dtype = np.dtype(_NUMPY[engine.get_tensor_dtype(name)])
                data = world.view(addresses[name], int(np.prod(shape)) * dtype.itemsize)
                inputs[name] = data.view(dtype).reshape(shape)
            names = [tensor.name for tensor in engine.session.get_outputs()]
            world.view(scratch, 4096)
            world.scratch[scratch] = dict(zip(names, engine.session.run(names, inputs), strict=True))

        def store() -> None:
            results: Any = world.scratch[scratch]
            for name, value in results.items():
                data = np.ascontiguousarray(value).reshape(-1).view(np.uint8)
                world.view(addresses[name], data.nbytes)[...] = data

        return compute, store

    def _refuse(self, reason: str) -> bool:
        self.engine.runtime.logger.log(ILogger.Severity.ERROR, reason)
        return False


class OldContext(Context):
    """As in 10.0, where the scratch memory is a property."""

    def __getattribute__(self, name: str) -> Any:
        if name == "set_device_memory":
            raise AttributeError(name)
        return super().__getattribute__(name)

    @property
    def device_memory(self) -> int:
        return self.scratch

    @device_memory.setter
    def device_memory(self, memory: int) -> None:
        self.world.view(memory, 4096)
        self.scratch = memory
