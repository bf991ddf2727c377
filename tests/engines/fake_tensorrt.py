# SPDX-License-Identifier: Apache-2.0
"""A stand-in for TensorRT where no GPU is: it keeps what it is told and builds nothing.

tests/conformance holds its classes, members and parameters against those of TensorRT's own bindings, so it has nothing
that a real version lacks.
"""

from __future__ import annotations

import enum
import json
import types
import weakref
from dataclasses import dataclass, field
from typing import Any

import onnx

PHASES = [("Building engine", None, 2), ("Timing graph nodes", "Building engine", 4)]


@dataclass
class World:
    """What the stand-in does, and what was done with it.

    Attributes:
        device: Whose timing caches it takes.
        starts: Whether there is a builder.
        parser_errors: (operator, node, text) of what the parser refuses.
        errors: What the build logs before it gives nothing.
        warnings: What it logs before.
        answer: What the inspector says; None: what was built cannot be loaded.
        configs: Configurations that were made.
        networks: Networks that were made.
        shapes: Shapes that the inspected context was given.
        during: Called in the middle of a build.
        asking: Called when the finished engine is loaded.
        faults: Names of what gives no object: "Runtime" (its bindings raise), "inspector".
        builders: Those that are alive.
        loggers: All that were given; the first one hears everything, as in TensorRT.
    """

    device: str = "here"
    starts: bool = True
    parser_errors: list[tuple[str, str, str]] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    answer: str | None = '{"Layers": [], "Bindings": ["x", "y"]}'
    configs: list[Any] = field(default_factory=list)
    networks: list[Any] = field(default_factory=list)
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    during: Any = None
    asking: Any = None
    faults: tuple[str, ...] = ()
    builders: weakref.WeakSet[Any] = field(default_factory=weakref.WeakSet)
    loggers: list[Any] = field(default_factory=list)

    def logger_of_the_process(self, logger: Any) -> Any:
        """The logger that hears what concerns an object which was given one."""
        self.loggers.append(logger)
        return self.loggers[0]


def make_tensorrt(world: World, version: str = "10.3.0", without: tuple[str, ...] = ()) -> types.ModuleType:
    """The module.

    Args:
        world: What it does.
        version: What it says it is.
        without: Names to leave out: a member of the module, or "Class.member".
    """
    module = types.ModuleType("tensorrt")
    module.__version__ = version
    for name, value in _members(world).items():
        setattr(module, name, value)
    for name in without:
        owner, _, member = name.rpartition(".")
        if isinstance(kind := getattr(module, owner, None), enum.EnumMeta):  # members of these cannot be deleted
            setattr(module, owner, enum.Enum(owner, [other.name for other in kind if other.name != member]))
        else:
            delattr(getattr(module, owner) if owner else module, member)
    return module


def _members(world: World) -> dict[str, Any]:
    class ILogger:
        class Severity(enum.Enum):
            INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = range(5)

        def log(self, severity: Any, msg: str) -> None:
            raise NotImplementedError

    class IProgressMonitor:
        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            raise NotImplementedError

        def step_complete(self, phase_name: str, step: int) -> bool:
            raise NotImplementedError

        def phase_finish(self, phase_name: str) -> None:
            raise NotImplementedError

    class NetworkDefinitionCreationFlag:
        STRONGLY_TYPED = 1

    class BuilderFlag(enum.Enum):
        TF32, REFIT = range(2)

    class MemoryPoolType(enum.Enum):
        WORKSPACE, DLA_MANAGED_SRAM, TACTIC_DRAM = range(3)

    class ProfilingVerbosity(enum.Enum):
        LAYER_NAMES_ONLY, DETAILED, NONE = range(3)

    class LayerInformationFormat(enum.Enum):
        ONELINE, JSON = range(2)

    class ExecutionContextAllocationStrategy(enum.Enum):
        STATIC, ON_PROFILE_CHANGE, USER_MANAGED = range(3)

    class TensorIOMode(enum.Enum):
        NONE, INPUT, OUTPUT = range(3)

    @dataclass
    class ITensor:
        name: str
        shape: tuple[int, ...]

    class INetworkDefinition:
        num_inputs: int = 0
        flags: int = 0

        def get_input(self, index: int) -> ITensor:
            return self._inputs[index]

    class ITimingCache:
        def __init__(self, content: dict[str, Any]) -> None:
            self._content = content

        def combine(self, input_cache: Any, ignore_mismatch: bool) -> bool:
            fits = ignore_mismatch or input_cache._content["device"] == self._content["device"]
            self._content["times"] |= input_cache._content["times"] if fits else {}
            return fits

        def serialize(self) -> bytes:
            return json.dumps(self._content).encode()

    class IOptimizationProfile:
        def __init__(self) -> None:
            self._shapes: dict[str, tuple[Any, Any, Any]] = {}

        def set_shape(self, input: str, min: Any, opt: Any, max: Any) -> None:
            self._shapes[input] = (min, opt, max)

    class IBuilderConfig:
        profiling_verbosity: Any = ProfilingVerbosity.LAYER_NAMES_ONLY
        builder_optimization_level: int = 3
        progress_monitor: Any = None

        def __init__(self) -> None:
            self._flags, self._pools, self._profiles, self._timing_cache = {BuilderFlag.TF32}, {}, [], None

        def clear_flag(self, flag: Any) -> None:
            self._flags.discard(flag)

        def set_memory_pool_limit(self, pool: Any, pool_size: int) -> None:
            if pool.name != "WORKSPACE" and pool_size.bit_count() != 1:
                return  # as TensorRT does, with an error in its log
            self._pools[pool] = pool_size

        def add_optimization_profile(self, profile: Any) -> int:
            self._profiles.append(profile)
            return len(self._profiles) - 1

        def create_timing_cache(self, serialized_timing_cache: bytes) -> Any:
            try:
                content = json.loads(serialized_timing_cache) if serialized_timing_cache else {"times": {}}
                return ITimingCache({"device": world.device, **content})
            except ValueError:
                return None

        def set_timing_cache(self, cache: Any, ignore_mismatch: bool) -> bool:
            fits = ignore_mismatch or cache._content["device"] == world.device
            self._timing_cache = cache if fits else None
            return fits

        def get_timing_cache(self) -> Any:
            return self._timing_cache

    class Builder:
        def __init__(self, logger: Any) -> None:
            self._logger = world.logger_of_the_process(logger)
            world.builders.add(self)
            if not world.starts:
                self._logger.log(ILogger.Severity.ERROR, "CUDA initialization failure with error: 35")
                raise TypeError("pybind11::init(): factory function returned nullptr")

        def create_network(self, flags: int = 0) -> INetworkDefinition:
            network = INetworkDefinition()
            network.flags = flags
            world.networks.append(network)
            return network

        def create_builder_config(self) -> IBuilderConfig:
            world.configs.append(IBuilderConfig())
            return world.configs[-1]

        def create_optimization_profile(self) -> IOptimizationProfile:
            return IOptimizationProfile()

        def build_serialized_network(self, network: Any, config: Any) -> bytes | None:
            if config.get_timing_cache() is not None:
                config.get_timing_cache()._content["times"]["kernel"] = 1
            if world.during is not None:
                world.during()
            for text in world.warnings:
                self._logger.log(ILogger.Severity.WARNING, text)
            for text in world.errors:
                self._logger.log(ILogger.Severity.ERROR, text)
            return None if world.errors or not _report(config.progress_monitor) else b"the plan"

    class ParserError:
        def __init__(self, row: tuple[str, str, str]) -> None:
            self._row = row

        def node_operator(self) -> str:
            return self._row[0]

        def node_name(self) -> str:
            return self._row[1]

        def desc(self) -> str:
            return self._row[2]

    class OnnxParser:
        num_errors: int = 0

        def __init__(self, network: Any, logger: Any) -> None:
            self._network, self.num_errors = network, len(world.parser_errors)

        def parse_from_file(self, model: str) -> bool:
            values = onnx.load(model).graph.input
            sizes = [[dim.dim_value or -1 for dim in value.type.tensor_type.shape.dim] for value in values]
            self._network._inputs = [ITensor(v.name, tuple(s)) for v, s in zip(values, sizes, strict=True)]
            self._network.num_inputs = len(values)
            return not world.parser_errors

        def get_error(self, index: int) -> ParserError:
            return ParserError(world.parser_errors[index])

    class IExecutionContext:
        def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
            world.shapes[name] = shape
            return True

    class EngineInspector:
        execution_context: Any = None

        def get_engine_information(self, format: Any) -> str:
            assert format is LayerInformationFormat.JSON
            return world.answer or ""

    class ICudaEngine:
        @property
        def num_io_tensors(self) -> int:
            return len(self._inputs) + 1

        @property
        def _inputs(self) -> list[ITensor]:
            return world.networks[-1]._inputs

        def get_tensor_name(self, index: int) -> str:
            return [*(tensor.name for tensor in self._inputs), "an output"][index]

        def get_tensor_mode(self, name: str) -> TensorIOMode:
            return TensorIOMode.OUTPUT if name == "an output" else TensorIOMode.INPUT

        def get_tensor_shape(self, name: str) -> tuple[int, ...]:
            return next(tensor.shape for tensor in self._inputs if tensor.name == name)

        def create_execution_context(self, strategy: Any = None) -> IExecutionContext:
            assert strategy is ExecutionContextAllocationStrategy.USER_MANAGED
            return IExecutionContext()

        def create_engine_inspector(self) -> EngineInspector | None:
            return None if "inspector" in world.faults else EngineInspector()

    class Runtime:
        def __init__(self, logger: Any) -> None:
            self._logger = world.logger_of_the_process(logger)
            if "Runtime" in world.faults:
                self._logger.log(ILogger.Severity.ERROR, "CUDA initialization failure with error: 2")
                raise TypeError("pybind11::init(): factory function returned nullptr")

        def deserialize_cuda_engine(self, serialized_engine: Any) -> ICudaEngine | None:
            if world.asking is not None:
                world.asking()
            if world.answer is None:
                self._logger.log(ILogger.Severity.ERROR, "out of memory")
            return None if world.answer is None else ICudaEngine()

    return {name: value for name, value in locals().items() if name != "world"}


def _report(monitor: Any) -> bool:
    """Tell a monitor about a build; return whether it let it go on to the end."""
    if monitor is None:
        return True
    for name, parent, steps in PHASES:
        monitor.phase_start(name, parent, steps)
    for phase, steps in (("Timing graph nodes", 4), ("Building engine", 2)):
        for step in range(steps):
            if not monitor.step_complete(phase, step):
                return False
        monitor.phase_finish(phase)
    return True
