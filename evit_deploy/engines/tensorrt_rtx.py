# SPDX-License-Identifier: Apache-2.0
"""TensorRT for RTX as a compiler: engines for a GPU that this machine need not have.

It compiles ahead of time for one architecture, from a strongly typed network: every tensor has the type that the graph
gives it. The finished plan is stored next to the engine.

Source: NVIDIA TensorRT for RTX documentation. Names of unnamed nodes and the form of the log are not in it; they were
observed with the pinned release.
"""

from __future__ import annotations

from typing import Any

from evit_deploy.engines.build_log import parse_log
from evit_deploy.engines.compiler import BF16_REFUSAL, Job, imported_version
from evit_deploy.engines.plan import Plan, with_flops, write_plan
from evit_deploy.engines.typed_network import TYPES, TypedNetwork
from evit_deploy.errors import UsageError
from evit_deploy.progress import Progress
from evit_deploy.targets import TargetSpec
from evit_deploy.targets.packages import pip_command

ENTRY = "engine.rtx"

_REFUSALS = {
    "bf16": BF16_REFUSAL,
    "int8": "its INT8 convolutions write FP32 and fuse nothing, so it would be slower than FP16"
    " (b1-seg at 512x1024: 125 kernels moving 0.48 GB in FP16, 193 to 201 moving 0.95 to 1.28 GB in INT8)",
}


class TensorRtRtxCompiler:
    """Compiles a typed graph of fixed sizes for one GPU architecture."""

    name = "tensorrt_rtx"
    backend = "tensorrt_rtx"
    extra = "rtx"
    keeps_plan = True

    def version(self) -> str | None:
        """Version of TensorRT for RTX, or None."""
        return imported_version("tensorrt_rtx")

    def install_command(self) -> str:
        """It comes with an extra."""
        return pip_command(self.extra)

    def archs(self) -> tuple[str, ...]:
        """Architectures that the installed release knows; NONE and CURRENT are not names of any."""
        import tensorrt_rtx as trt

        return tuple(name.lower() for name in trt.ComputeCapability.__members__ if name.startswith("SM"))

    def obstacle(self, precision: str, target: TargetSpec) -> str | None:
        """FP32 and FP16; compiling needs no GPU."""
        if precision in TYPES and precision not in _REFUSALS:
            return None
        return _REFUSALS.get(precision, f"it does not compute in {precision.upper()}")

    def compile(self, job: Job, progress: Progress) -> str:
        """Compile for one architecture, and write the engine and its plan.

        A log that cannot be read ends the build: the release is pinned, so that does not happen by itself, and without
        a GPU the plan is all that inspecting and predicting have to go by.

        Raises:
            UsageError: The graph is typed otherwise, or has no fixed sizes.
            UnavailableError: TensorRT for RTX refuses it; the message names the nodes.
            KeyboardInterrupt: After Ctrl-C.
        """
        import tensorrt_rtx as trt

        typed = TypedNetwork(trt, job, self, keep_log=True)
        _require_fixed(typed.network)
        typed.require_typed()
        serialized = typed.build(_for_arch(trt, typed.new_config(), job.arch), progress)
        kernels = with_flops(parse_log(typed.log.messages), typed.math.flops)
        write_plan(job.folder, Plan(self.name, self.version() or "", job.arch or "", kernels))
        (job.folder / ENTRY).write_bytes(serialized)
        return ENTRY


def _for_arch(trt: Any, config: Any, arch: str | None) -> Any:
    """One architecture, and an engine that may be captured in a CUDA graph."""
    assert arch is not None
    if hasattr(trt.BuilderFlag, "REQUIRE_USER_ALLOCATION"):  # an engine that allocates by itself cannot be captured
        config.set_flag(trt.BuilderFlag.REQUIRE_USER_ALLOCATION)
    config.num_compute_capabilities = 1
    config.set_compute_capability(trt.ComputeCapability.__members__[arch.upper()], 0)
    return config


def _require_fixed(network: Any) -> None:
    """Refuse a dynamic batch: the log shows -1 for a batch, and for a batch times something, so nothing can be counted.

    Raises:
        UsageError: An input has an open size.
    """
    for network_input in (network.get_input(index) for index in range(network.num_inputs)):
        if -1 in (shape := list(network_input.shape)):
            raise UsageError(
                "an engine for rtx has one batch size",
                found=f"the input '{network_input.name}' of shape {shape}",
                expected="a graph of fixed sizes",
                fix="evit-deploy export MODEL --batch 1, then build that",
            )


COMPILER = TensorRtRtxCompiler()
