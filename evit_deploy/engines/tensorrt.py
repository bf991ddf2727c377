# SPDX-License-Identifier: Apache-2.0
"""TensorRT as a compiler: engines for the GPU at hand, which is the only one that it builds for.

TensorRT 10.0 and later, through strongly typed networks; what it made of the graph is asked from the finished engine
and stored next to it. docs/tensorrt.md says what each setting is for.
"""

from __future__ import annotations

import logging
from typing import Any

from evit_deploy.engines.compiler import BF16_REFUSAL, Job, imported_version
from evit_deploy.engines.inspector import UnreadableError, parse_inspector
from evit_deploy.engines.plan import Plan, with_flops, write_plan
from evit_deploy.engines.timing_cache import attach_cache, cache_path, store_cache
from evit_deploy.engines.typed_network import TYPES, TypedNetwork, can_type_strongly, in_words
from evit_deploy.engines.workspace import first_to_go, spare_memory, tactic_pool, workspace_pool
from evit_deploy.errors import UnavailableError, UsageError
from evit_deploy.progress import Progress
from evit_deploy.runtime.cuda.logger import shared_logger
from evit_deploy.targets import TargetSpec
from evit_deploy.targets.device import Device, this_device
from evit_deploy.targets.packages import tensorrt_command

ENTRY = "engine.plan"
INSPECTOR = "inspector.json"

_LOG = logging.getLogger(__name__)
_REFUSALS = {"bf16": BF16_REFUSAL}


class TensorRtCompiler:
    """Compiles a typed graph for the GPU at hand."""

    name = "tensorrt"
    backend = "tensorrt"
    extra = "tensorrt"
    keeps_plan = True

    def version(self) -> str | None:
        """Version of TensorRT, or None."""
        return imported_version("tensorrt")

    def install_command(self) -> str:
        """On a Jetson it comes with JetPack, never from pip."""
        return tensorrt_command()

    def archs(self) -> tuple[str, ...]:
        """None: it builds for the GPU at hand."""
        return ()

    def obstacle(self, precision: str, target: TargetSpec) -> str | None:
        """It takes TensorRT 10 or later, and the target's own GPU."""
        if precision not in TYPES:
            return _REFUSALS.get(precision, f"it does not compute in {precision.upper()}")
        version, device = self.version(), this_device()
        if version is None:
            return f"TensorRT cannot be imported: {self.install_command()}"
        if reason := _too_old(version, device):
            return reason
        if device is None:
            return "it builds for the GPU at hand, and here is no NVIDIA GPU, or no driver"
        if target.compute_capability not in (None, device.compute_capability):
            return (
                f"it builds for the GPU at hand, and {device.gpu} has compute capability {device.compute_capability}"
                f" where {target.name} has {target.compute_capability}"
            )
        return None

    def compile(self, job: Job, progress: Progress) -> str:
        """Compile for the GPU at hand; write the engine, what its inspector says, and its plan.

        Raises:
            UsageError: The graph is typed otherwise, or open in more than its batch.
            UnavailableError: TensorRT cannot, or too little memory is free; the message says why.
            KeyboardInterrupt: After Ctrl-C.
        """
        import tensorrt as trt

        device = this_device()
        if device is None:
            raise UnavailableError("TensorRT builds for the GPU at hand", found="no NVIDIA GPU, or no driver")
        spare_memory(device)  # a graph is not read first where too little is free
        typed = TypedNetwork(trt, job, self)
        typed.require_typed()
        config = typed.new_config()
        _limit_memory(trt, config, device)
        _add_profile(typed, config, job.batch)
        timings = cache_path(self.version() or "", device)
        attach_cache(config, timings)
        with first_to_go(device):
            serialized = typed.build(config, progress)
            store_cache(config, timings)
            (job.folder / ENTRY).write_bytes(serialized)
            del config
            typed.release()  # the engine, which is loaded now, takes memory of its own
            with progress("ask for the plan"):
                self._write_plan(trt, job, typed, serialized, device)
        return ENTRY

    def _write_plan(self, trt: Any, job: Job, typed: TypedNetwork, serialized: Any, device: Device) -> None:
        """Keep what the engine's inspector says. An engine is as good without it, so what goes wrong is a note."""
        text = None
        try:
            text = _inspect(trt, serialized, job.batch[0])
            kernels = with_flops(parse_inspector(text), typed.math.flops)
        except Exception as error:  # the bindings raise many kinds where the library gives no object
            if text is None:
                reason = f"TensorRT does not load or inspect what it built: {error}: {in_words(typed.log.errors)}"
                _LOG.warning("no plan is kept: %s", reason)
            else:
                (job.folder / INSPECTOR).write_text(text, encoding="utf-8")
                _LOG.warning("no plan is kept, only %s: the inspector's form is not known here: %s", INSPECTOR, error)
            return
        (job.folder / INSPECTOR).write_text(text, encoding="utf-8")
        arch = f"sm{device.compute_capability.replace('.', '')}"
        write_plan(job.folder, Plan(self.name, self.version() or "", arch, kernels))


def _too_old(version: str, device: Device | None) -> str | None:
    """Why a TensorRT cannot do it: the 8 of older JetPacks has no strongly typed networks."""
    import tensorrt as trt

    if can_type_strongly(trt):
        return None
    advice = "install TensorRT 10 or later"
    if _is_jetson(device):
        found = f"JetPack {device.jetpack}" if device is not None and device.jetpack else "this JetPack"
        advice = f"upgrade {found} to JetPack 6.2 (TensorRT 10.3) or later"
    return f"TensorRT {version} has no strongly typed networks: {advice}"


def _is_jetson(device: Device | None) -> bool:
    return device is not None and (device.l4t is not None or device.integrated)


def _limit_memory(trt: Any, config: Any, device: Device) -> None:
    """Bound what a build takes, from what is free now that the builder is in memory.

    Raises:
        UnavailableError: Too little is left.
    """
    spare = spare_memory(device, loaded=True)
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, workspace_pool(spare))
    if device.integrated and hasattr(trt.MemoryPoolType, "TACTIC_DRAM"):
        config.set_memory_pool_limit(trt.MemoryPoolType.TACTIC_DRAM, tactic_pool(spare))


def _add_profile(typed: TypedNetwork, config: Any, batch: tuple[int, int]) -> None:
    """Say which batches a dynamic graph is for; kernels are chosen for the largest.

    Who needs batch 1 fast exports batch 1, the default: a graph for many batches is for many frames at once.

    Raises:
        UsageError: More than the batch is open.
    """
    inputs = [typed.network.get_input(index) for index in range(typed.network.num_inputs)]
    dynamic = {network_input.name: tuple(network_input.shape) for network_input in inputs}
    dynamic = {name: shape for name, shape in dynamic.items() if -1 in shape}
    if not dynamic:
        return
    profile = typed.builder.create_optimization_profile()
    for name, shape in dynamic.items():
        if -1 in shape[1:]:
            raise UsageError(
                "only the batch of a graph may be open", found=f"the input '{name}' of shape {list(shape)}",
                fix="export it with a --resolution",
            )  # fmt: skip
        smallest, largest = ((size, *shape[1:]) for size in batch)
        profile.set_shape(name, smallest, largest, largest)
    config.add_optimization_profile(profile)


def _inspect(trt: Any, serialized: Any, batch: int) -> str:
    """Ask a finished engine about its kernels, at one batch size.

    Raises:
        UnreadableError: It cannot be loaded, or nothing can be asked.
    """
    runtime = trt.Runtime(shared_logger(trt))
    engine = runtime.deserialize_cuda_engine(serialized)
    if engine is None:
        raise UnreadableError("it gives no engine")
    inspector = engine.create_engine_inspector()
    if inspector is None:
        raise UnreadableError("it gives no inspector")
    if context := _fixed_context(trt, engine, batch):
        inspector.execution_context = context
    return str(inspector.get_engine_information(trt.LayerInformationFormat.JSON))


def _fixed_context(trt: Any, engine: Any, batch: int) -> Any:
    """A context that has sizes for what a dynamic engine leaves open, and takes no memory; None for a static one."""
    names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
    names = [name for name in names if engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT]
    dynamic = {name: tuple(engine.get_tensor_shape(name)) for name in names}
    dynamic = {name: (batch, *shape[1:]) for name, shape in dynamic.items() if -1 in shape}
    if not dynamic:
        return None
    context = engine.create_execution_context(trt.ExecutionContextAllocationStrategy.USER_MANAGED)
    for name, shape in dynamic.items() if context is not None else ():
        context.set_input_shape(name, shape)
    return context


COMPILER = TensorRtCompiler()
