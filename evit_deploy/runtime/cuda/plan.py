# SPDX-License-Identifier: Apache-2.0
"""A TensorRT or TensorRT-RTX plan in memory, and execution contexts made from it.

Every captured CUDA graph gets an execution context of its own, which is never changed afterwards, and all contexts
share one piece of scratch memory: NVIDIA's advice for CUDA graphs (TensorRT developer guide, "CUDA Graphs"). Runs are
therefore ordered one after another by whoever enqueues them.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evit_deploy.errors import ArtifactError, UnavailableError
from evit_deploy.manifest import Manifest, TensorInfo
from evit_deploy.manifest.store import read_file
from evit_deploy.runtime.cuda.api import Cuda, CudaError
from evit_deploy.runtime.cuda.logger import shared_logger
from evit_deploy.runtime.cuda.memory import DeviceMemory, sized

_DTYPES = {"FLOAT": "float32", "HALF": "float16", "INT32": "int32", "INT64": "int64", "INT8": "int8", "UINT8": "uint8",
           "BOOL": "bool"}  # fmt: skip
_ALIGNED = 256


class Plan:
    """A plan that TensorRT has loaded.

    Attributes:
        manifest: What the engine's folder says about it.
        inputs: The graph's inputs.
        outputs: The graph's outputs.
        memory: Device memory that went away while it was loaded, in bytes.
        scratch: Memory that its runs share, one after another.
        notes: What is worth knowing about how it runs.
    """

    def __init__(self, trt: Any, device: Cuda, folder: Path, manifest: Manifest) -> None:
        assert manifest.engine is not None
        self._trt, self._device, self.manifest = trt, device, manifest
        self.inputs, self.outputs = manifest.graph.inputs, manifest.graph.outputs
        self._path = folder / manifest.engine.entry
        self._logger = shared_logger(trt)
        self.notes: list[str] = []
        with device.current():
            before, _ = device.free_memory()
            self._engine = self._deserialise(read_file(folder, manifest, manifest.engine.entry))
            self.memory = max(0, before - device.free_memory()[0])
            self._require_interface()
            self.scratch = DeviceMemory(device, max(_ALIGNED, self._scratch_size()), "the values between layers")
        self._runtime_config = self._new_runtime_config()

    def new_context(self, batch: int, addresses: Mapping[str, int], stream: int) -> Any:
        """An execution context for one batch size and one set of device addresses.

        Args:
            batch: Size of the first axis.
            addresses: Device address of every input and output.
            stream: Where choosing the optimisation profile may put work.

        Raises:
            CudaError: TensorRT refuses; the message has its reason.
        """
        self._logger.messages.clear()
        context = self._create_context()
        if context is None:
            self.failed("TensorRT cannot create an execution context")
        if context.active_optimization_profile != 0 and not context.set_optimization_profile_async(0, stream):
            self.failed("TensorRT refuses its only optimisation profile")
        self._give_scratch(context)
        for tensor in self.inputs:
            if not context.set_input_shape(tensor.name, sized(tensor, batch)[0]):
                self.failed(f"TensorRT refuses the batch size {batch} for '{tensor.name}'")
        if missing := context.infer_shapes():
            self.failed(f"TensorRT misses the shapes of {', '.join(missing)}")
        for tensor in self.outputs:
            self._require_shape(tensor, tuple(context.get_tensor_shape(tensor.name)), batch)
        self.set_addresses(context, addresses)
        return context

    def set_addresses(self, context: Any, addresses: Mapping[str, int]) -> None:
        """Tell an execution context where its tensors are.

        Raises:
            CudaError: TensorRT refuses an address.
        """
        for name, pointer in addresses.items():
            if not context.set_tensor_address(name, pointer):
                self.failed(f"TensorRT refuses the address 0x{pointer:x} for '{name}'")

    def failed(self, what: str) -> None:
        """Raise an error with what TensorRT logged.

        Raises:
            CudaError: Always.
        """
        self._device.require()
        raise CudaError(what, found=self._logger.reason())

    def note(self, text: str) -> None:
        """Say once, and keep, what costs time but not correctness."""
        if text not in self.notes:
            self.notes.append(text)
            warnings.warn(f"the engine {self._path.parent.name} {text}", stacklevel=2)

    def runtime_cache(self) -> Any:
        """TensorRT-RTX's kernels compiled for this GPU; None with TensorRT, which compiled them when it built."""
        runtime_config = self._runtime_config
        return runtime_config.get_runtime_cache() if hasattr(runtime_config, "get_runtime_cache") else None

    def close(self) -> None:
        """Free the plan; its contexts must be gone."""
        self._runtime_config = self._engine = self._runtime = None
        del self.scratch

    def _deserialise(self, data: bytes) -> Any:
        trt = self._trt
        self._logger.messages.clear()
        self._runtime = runtime = trt.Runtime(self._logger)
        engine = runtime.deserialize_cuda_engine(data)
        if engine is None:
            assert self.manifest.engine is not None
            raise UnavailableError(
                f"{trt.__name__} {trt.__version__} cannot load {self._path}",
                found=f"{self._logger.reason()}; {self._device.describe_memory()}",
                expected=f"{self.manifest.engine.compiler} {self.manifest.engine.compiler_version}, on the GPU that it"
                " was compiled for",
                fix=f"compile it on this device: evit-deploy build {self._path.parent}",
            )
        return engine

    def _require_interface(self) -> None:
        """Refuse a plan whose tensors are not those of the manifest."""
        trt, engine = self._trt, self._engine
        found = []
        for index in range(engine.num_io_tensors):
            name = engine.get_tensor_name(index)
            if engine.get_tensor_location(name) != trt.TensorLocation.DEVICE:
                raise ArtifactError(f"{self._path} reads or writes '{name}' on the host, which nothing here does")
            dtype = engine.get_tensor_dtype(name).name
            mode = engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT
            shape = tuple(engine.get_tensor_shape(name))
            found.append((mode, name, _DTYPES.get(dtype, dtype.lower()), shape))
        expected = [(mode, t.name, t.dtype, t.shape) for mode in (True, False) for t in self._tensors(mode)]
        if sorted(found) != sorted(expected):
            raise ArtifactError(
                f"{self._path} is not the plan of this engine's graph",
                found=", ".join(f"{name} {dtype} {list(shape)}" for _, name, dtype, shape in found),
                expected=", ".join(f"{name} {dtype} {list(shape)}" for _, name, dtype, shape in expected),
                fix=f"evit-deploy build {self._path.parent}",
            )

    def _tensors(self, inputs: bool) -> tuple[TensorInfo, ...]:
        return self.inputs if inputs else self.outputs

    def _scratch_size(self) -> int:
        engine = self._engine
        if hasattr(engine, "device_memory_size_v2"):
            return int(engine.device_memory_size_v2)
        return int(engine.device_memory_size)  # until 10.0

    def _new_runtime_config(self) -> Any:
        """TensorRT-RTX's settings; None with TensorRT, which has none that matter here.

        Its own CUDA graphs stay off: ours are compared with a plain run before they are used, and theirs, taken while
        kernels are still being specialised, could keep the slow ones. For the same reason kernels are specialised
        before a run rather than behind it.
        """
        trt, engine = self._trt, self._engine
        if not hasattr(trt, "CudaGraphStrategy"):
            return None
        runtime_config = engine.create_runtime_config()
        runtime_config.set_execution_context_allocation_strategy(trt.ExecutionContextAllocationStrategy.USER_MANAGED)
        runtime_config.cuda_graph_strategy = trt.CudaGraphStrategy.DISABLED
        if hasattr(trt, "DynamicShapesKernelSpecializationStrategy"):
            eager = trt.DynamicShapesKernelSpecializationStrategy.EAGER
            runtime_config.dynamic_shapes_kernel_specialization_strategy = eager
        runtime_config.set_runtime_cache(runtime_config.create_runtime_cache())
        return runtime_config

    def _create_context(self) -> Any:
        trt, engine, runtime_config = self._trt, self._engine, self._runtime_config
        if runtime_config is not None:
            return engine.create_execution_context(runtime_config)
        return engine.create_execution_context(trt.ExecutionContextAllocationStrategy.USER_MANAGED)

    def _give_scratch(self, context: Any) -> None:
        if hasattr(context, "set_device_memory"):
            context.set_device_memory(self.scratch.pointer, self.scratch.nbytes)
        else:
            context.device_memory = self.scratch.pointer  # 10.0

    def _require_shape(self, tensor: TensorInfo, found: tuple[int, ...], batch: int) -> None:
        expected = sized(tensor, batch)[0]
        if found != expected:
            raise ArtifactError(
                f"{self._path} gives '{tensor.name}' another shape than its graph",
                found=str(list(found)),
                expected=str(list(expected)),
            )
