# SPDX-License-Identifier: Apache-2.0
"""What the compilers of the TensorRT family share: a typed ONNX graph as a strongly typed network, and its build.

``trt`` is the module that speaks for the family, ``tensorrt`` (10.0 and later) or ``tensorrt_rtx``. What some releases
lack is looked for by its name; versions are shown, never compared.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Iterator
from typing import Any

from evit_deploy.engines.build_monitor import STEPS, BuildBar, interruptible, new_monitor
from evit_deploy.engines.compiler import Compiler, Job
from evit_deploy.engines.flops import GraphMath, graph_math
from evit_deploy.errors import UnavailableError, UsageError
from evit_deploy.progress import Progress
from evit_deploy.runtime.cuda.logger import is_error, shared_logger

TYPES = {"fp32": "FLOAT", "fp16": "FLOAT16", "int8": "FLOAT16"}
"""ONNX type of the convolutions and matrix products, by precision; in INT8, of what stands between Q and DQ."""

LEVELS = (0, 5)
"""Smallest and largest builder optimisation level."""

_SOURCE = re.compile(r"\((.*?)\.? In \S+ at /\S+:\d+.*\)$")
_ASSERTION = re.compile(r'^.* && "(.*)"$')
_CUDA = re.compile(r"catchCudaError.* \((?:In \S+ at \S+ \()?([^()]+)\)+$")
_NO_DRIVER = re.compile(r"cudaError 35\b|driver version is insufficient|no CUDA-capable device", re.I)
_MEMORY = re.compile(
    r"OutOfMemory|out of memory|memory is insufficient|insufficient memory|not be allocated"
    r"|CUDA error 2\b|error allocating \d+-byte",
    re.I,
)
_SHOWN = 5


class TypedNetwork:
    """A typed graph, read into a builder.

    Attributes:
        log: What the library said.
        builder: The library's builder.
        network: The strongly typed network.
    """

    def __init__(self, trt: Any, job: Job, compiler: Compiler, *, keep_log: bool = False) -> None:
        """Read a graph.

        Args:
            trt: The library's module.
            job: What to compile.
            compiler: The compiler that asks, for messages.
            keep_log: Whether to keep all that the library says, not only its errors.

        Raises:
            UnavailableError: The library cannot start here, or refuses the graph; the message names the nodes.
        """
        self.log = BuildLog(trt, keep_all=keep_log)
        self._trt, self._job, self._name = trt, job, compiler.name
        self._title = f"{compiler.name} {compiler.version()}"
        self.builder = _new_builder(trt, self._title)
        self.network = self.builder.create_network(strongly_typed(trt))
        parser = trt.OnnxParser(self.network, shared_logger(trt))
        self._parser = parser  # it owns the weights until the build is done
        if not parser.parse_from_file(str(job.graph)):
            raise self.refused(_parser_errors(parser))

    @functools.cached_property
    def math(self) -> GraphMath:
        """What the graph computes."""
        return graph_math(self._job.graph)

    def require_typed(self) -> None:
        """Compare the graph's types with the precision asked for.

        A strongly typed engine computes as its graph says, so the graph must say what was asked for. A graph typed in
        FP16 may keep some products in FP32 on purpose; one in FP32 has nothing else.

        Raises:
            UsageError: It is typed otherwise.
        """
        found, wanted = self.math.types, TYPES[self._job.precision]
        if found and (wanted not in found or not found <= {wanted, "FLOAT"}):
            raise UsageError(
                f"the graph is not typed in {self._job.precision}",
                found=f"convolutions and matrix products in {', '.join(sorted(found))}",
                expected=wanted,
            )

    def new_config(self) -> Any:
        """Settings that all builds share: FP32 that is FP32, the finished plan in full, the level asked for.

        Raises:
            UsageError: No such level, or none to choose.
        """
        config = self.builder.create_builder_config()
        config.profiling_verbosity = self._trt.ProfilingVerbosity.DETAILED
        config.clear_flag(self._trt.BuilderFlag.TF32)  # on by default: FP32 rounded to 10 bits, without saying so
        level = self._job.level
        if level is not None:
            if not hasattr(config, "builder_optimization_level") or not LEVELS[0] <= level <= LEVELS[1]:
                raise UsageError(f"{self._title} has no level {level}", expected=f"{LEVELS[0]} to {LEVELS[1]}")
            config.builder_optimization_level = level
        return config

    def build(self, config: Any, progress: Progress) -> Any:
        """Build the engine, with a bar, and stopped by Ctrl-C.

        Args:
            config: From `new_config`.
            progress: Told how far it is. What it raises ends the build and is raised again here, so that a program can
                stop a build in another thread.

        Returns:
            The serialised engine, in the library's memory.

        Raises:
            UnavailableError: The library cannot; the message says why.
            KeyboardInterrupt: After Ctrl-C.
        """
        with progress(f"compile with {self._name}", STEPS) as step:
            bar = BuildBar(step)
            monitor = new_monitor(self._trt, bar)
            if monitor is not None:
                config.progress_monitor = monitor
            serialized = interruptible(
                lambda: self.builder.build_serialized_network(self.network, config), bar.cancel if monitor else None
            )
            if serialized is not None:
                bar.fill()
            if bar.failure is not None:
                raise bar.failure
        if serialized is None:
            raise self.refused(self.log.errors)
        return serialized

    def release(self) -> None:
        """Give the builder's memory back: what was built needs none of it. Only the log remains."""
        del self._parser, self.network, self.builder

    def refused(self, reasons: Iterable[str]) -> UnavailableError:
        """An error from what the library says."""
        reasons = [*reasons, *self.log.shortages[:1]]
        fix = "export it with other options, or report it with this message"
        if any(_MEMORY.search(reason) for reason in reasons):
            fix = "close what else needs memory on this machine, and build again"
        return UnavailableError(
            f"{self._title} cannot compile the graph in {self._job.precision}", found=in_words(reasons), fix=fix
        )


class BuildLog:
    """What a library says during a build: errors and lack of memory, or everything.

    A kernel that does not fit in memory is a warning; that no kernel is left, the error of the end, does not say why.
    A build in another thread is heard as well.

    Attributes:
        messages: Everything, if that was asked for.
        errors: What failed.
        shortages: Warnings about memory.
    """

    def __init__(self, trt: Any, *, keep_all: bool = False) -> None:
        self.messages: list[str] = []
        self.errors: list[str] = []
        self.shortages: list[str] = []
        self._keep_all = keep_all
        shared_logger(trt).listeners.add(self)

    def hear(self, severity: str, message: str) -> None:
        """Keep one message, if it is to be kept."""
        if self._keep_all:
            self.messages.append(message)
        if is_error(severity):
            self.errors.append(message)
        elif severity == "WARNING" and _MEMORY.search(message):
            self.shortages.append(message)


def strongly_typed(trt: Any) -> int:
    """Flags of a strongly typed network: from TensorRT 11 on there is no other kind, and the flag may go."""
    flag = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    return 0 if flag is None else 1 << int(flag)


def can_type_strongly(trt: Any) -> bool:
    """Whether the library has strongly typed networks: TensorRT 8 wants explicit batches instead."""
    flags = trt.NetworkDefinitionCreationFlag
    return hasattr(flags, "STRONGLY_TYPED") or not hasattr(flags, "EXPLICIT_BATCH")


def in_words(reasons: Iterable[str]) -> str:
    """What the library says, each thing once and the first few only.

    On a machine without a driver every error drags along that there is none, which nobody has to know who builds there.
    """
    found = list(dict.fromkeys(filter(None, map(_readable, reasons))))
    found = [reason for reason in found if not _NO_DRIVER.search(reason)] or found or ["it does not say why"]
    return "; ".join(found[:_SHOWN] + ([f"and {len(found) - _SHOWN} more"] if len(found) > _SHOWN else []))


def _new_builder(trt: Any, title: str) -> Any:
    log = BuildLog(trt)
    try:
        return trt.Builder(shared_logger(trt))
    except TypeError as error:  # what its bindings raise where the library gives no object
        raise UnavailableError(
            f"{title} cannot start on this machine", found=in_words(log.errors), fix="see evit-deploy doctor"
        ) from error


def _parser_errors(parser: Any) -> Iterator[str]:
    for parser_error in (parser.get_error(index) for index in range(parser.num_errors)):
        name, reason = parser_error.node_name(), _readable(parser_error.desc())
        where = f"{parser_error.node_operator()} node '{name}': " if parser_error.node_operator() else ""
        yield where + reason.removeprefix(f"{name}: ")


def _readable(text: str) -> str:
    """What an error of TensorRT says, without its source lines. A CUDA error is told where nothing else is."""
    lines = [line for line in text.split("\n") if line.strip() and not line.startswith("Invalid Node - ")]
    line = next((line for line in lines if "catchCudaError" not in line), lines[0] if lines else "")
    if found := _CUDA.search(line):
        return f"CUDA: {found[1]}"
    found = _SOURCE.search(line) or _ASSERTION.search(line)
    return found[1] if found else line.strip()
