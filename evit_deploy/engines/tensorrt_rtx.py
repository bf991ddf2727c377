# SPDX-License-Identifier: Apache-2.0
"""TensorRT for RTX as a compiler: engines for a GPU that this machine need not have.

It compiles ahead of time for one architecture, from a strongly typed network: every tensor has the type that the graph
gives it. The finished plan is stored next to the engine.

Source: NVIDIA TensorRT for RTX documentation. Names of unnamed nodes and the form of the log are not in it; they were
observed with the pinned release.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from evit_deploy.engines.build_log import parse_log
from evit_deploy.engines.compiler import imported_version
from evit_deploy.engines.flops import graph_math
from evit_deploy.engines.plan import Plan, with_flops, write_plan
from evit_deploy.errors import UnavailableError, UsageError

ENTRY = "engine.rtx"

_TYPES = {"fp32": "FLOAT", "fp16": "FLOAT16"}
_REFUSALS = {
    "bf16": "BF16 is not offered on GPUs: FP16 is as fast there and eight times as exact",
    "int8": "its INT8 convolutions write FP32 and fuse nothing, so it would be slower than FP16"
    " (b1-seg at 512x1024: 125 kernels moving 0.48 GB in FP16, 201 moving 1.28 GB in INT8)",
}
_SOURCE = re.compile(r"\((.*?)\.? In \S+ at /\S+:\d+.*\)$")
_ASSERTION = re.compile(r'^.* && "(.*)"$')
_SHOWN = 5


class TensorRtRtxCompiler:
    """Compiles a typed graph of fixed sizes for one GPU architecture."""

    name = "tensorrt_rtx"
    backend = "tensorrt_rtx"
    extra = "rtx"
    keeps_plan = True

    def version(self) -> str | None:
        """Version of TensorRT for RTX, or None."""
        return imported_version("tensorrt_rtx")

    def archs(self) -> tuple[str, ...]:
        """Architectures that the installed release knows; NONE and CURRENT are not names of any."""
        import tensorrt_rtx as trt

        return tuple(name.lower() for name in trt.ComputeCapability.__members__ if name.startswith("SM"))

    def obstacle(self, precision: str) -> str | None:
        """FP32 and FP16; compiling needs no GPU."""
        return None if precision in _TYPES else _REFUSALS.get(precision, f"it does not compute in {precision.upper()}")

    def compile(self, graph: Path, folder: Path, precision: str, arch: str | None) -> str:
        """Compile for one architecture, and write the engine and its plan.

        Args:
            graph: ONNX graph of fixed sizes, typed in the precision.
            folder: Where the engine and ``plan.json`` go.
            precision: "fp32" or "fp16".
            arch: One of `archs`.

        Raises:
            UsageError: The graph is typed otherwise, or has no fixed sizes.
            UnavailableError: TensorRT for RTX refuses it; the message names the nodes.
        """
        import tensorrt_rtx as trt

        log = _new_log(trt)
        builder = trt.Builder(log)
        network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
        parser = trt.OnnxParser(network, log)
        if not parser.parse_from_file(str(graph)):
            raise self._refused(precision, _parser_errors(parser))
        _require_fixed(network)
        computed = graph_math(graph)
        _require_typed(computed.types, precision)
        engine = builder.build_serialized_network(network, _config(trt, builder, arch))
        if engine is None:
            raise self._refused(precision, log.errors)
        kernels = with_flops(parse_log(log.messages), computed.flops)
        write_plan(folder, Plan(self.name, self.version() or "", arch or "", kernels))
        (folder / ENTRY).write_bytes(engine)
        return ENTRY

    def _refused(self, precision: str, reasons: Iterable[str]) -> UnavailableError:
        found = list(dict.fromkeys(filter(None, map(_readable, reasons)))) or ["it does not say why"]
        more = [f"and {len(found) - _SHOWN} more"] if len(found) > _SHOWN else []
        return UnavailableError(
            f"{self.name} {self.version()} cannot compile the graph in {precision}",
            found="; ".join(found[:_SHOWN] + more),
            fix="export it with other options, or report it with this message",
        )


def _config(trt: Any, builder: Any, arch: str | None) -> Any:
    """One architecture, the plan in full, and FP32 that is FP32."""
    assert arch is not None
    config = builder.create_builder_config()
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    config.clear_flag(trt.BuilderFlag.TF32)  # on by default: products of FP32 rounded to 10 bits, without saying so
    config.num_compute_capabilities = 1
    config.set_compute_capability(trt.ComputeCapability.__members__[arch.upper()], 0)
    return config


def _new_log(trt: Any) -> Any:
    """A logger that keeps everything; the class can only be made where the library is installed."""

    class Log(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.messages: list[str] = []
            self.errors: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            self.messages.append(message)
            if severity in (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR):
                self.errors.append(message)

    return Log()


def _parser_errors(parser: Any) -> Iterator[str]:
    for error in (parser.get_error(index) for index in range(parser.num_errors)):
        name, reason = error.node_name(), _readable(error.desc())
        where = f"{error.node_operator()} node '{name}': " if error.node_operator() else ""
        yield where + reason.removeprefix(f"{name}: ")


def _readable(text: str) -> str:
    """What an error of TensorRT says, without its source lines and without what follows from it.

    Every error on a machine without a driver drags a CUDA error along that has nothing to do with it.
    """
    for line in text.split("\n"):
        if "catchCudaError" in line or line.startswith("Invalid Node - "):
            continue
        found = _SOURCE.search(line) or _ASSERTION.search(line)
        return found[1] if found else line.strip()
    return ""


def _require_fixed(network: Any) -> None:
    for index in range(network.num_inputs):
        tensor = network.get_input(index)
        if -1 in (shape := list(tensor.shape)):
            raise UsageError(
                "an engine for rtx has one batch size",
                found=f"the input '{tensor.name}' of shape {shape}",
                expected="a graph of fixed sizes",
                fix="evit-deploy export MODEL --batch 1, then build that",
            )


def _require_typed(found: frozenset[str], precision: str) -> None:
    """A strongly typed engine computes as its graph says, so the graph must say what was asked for.

    A graph typed in FP16 may keep some products in FP32 on purpose; one in FP32 has nothing else.
    """
    wanted = _TYPES[precision]
    if found and (wanted not in found or not found <= {wanted, "FLOAT"}):
        raise UsageError(
            f"the graph is not typed in {precision}",
            found=f"convolutions and matrix products in {', '.join(sorted(found))}",
            expected=wanted,
        )


COMPILER = TensorRtRtxCompiler()
