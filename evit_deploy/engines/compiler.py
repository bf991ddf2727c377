# SPDX-License-Identifier: Apache-2.0
"""The seam between a typed graph and whatever compiles it.

To add a compiler, write a module of its name in this folder, with a class that fits `Compiler` and an object
``COMPILER``, and list it with the targets it serves in `evit_deploy.targets`.
"""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Protocol

from evit_deploy.errors import UnavailableError, UsageError
from evit_deploy.targets import TARGETS, TargetSpec
from evit_deploy.targets.machine import gpu_compute_capability

COMPILERS = tuple(dict.fromkeys(name for target in TARGETS.values() for name in target.compilers))
"""Names of all compilers. The module of each has its name."""

_REFUSALS = {
    "fp16": "CPUs compute FP16 graphs in FP32 behind the user's back, so an FP16 engine would not be one",
    "bf16": "BF16 is not offered on GPUs: FP16 is as fast there and eight times as exact",
    "int8": "INT8 is not part of this version",
}
_ADVICE = {
    "cpu": "--bf16 is the fast choice on CPUs with BF16 instructions (evit-deploy doctor says)",
}


class Compiler(Protocol):
    """Turns a typed ONNX graph into files that a backend loads.

    Attributes:
        name: Name on the command line.
        backend: Runtime backend that loads its engines.
        extra: Extra of this package that installs it.
        keeps_plan: Whether it stores its finished plan next to the engine, for ``evit-deploy inspect``.
    """

    name: str
    backend: str
    extra: str
    keeps_plan: bool

    def version(self) -> str | None:
        """Exact version, or None if it cannot be imported."""

    def archs(self) -> tuple[str, ...]:
        """GPU architectures it can be told to build for, such as "sm86"; none if it builds for this machine only."""

    def obstacle(self, precision: str) -> str | None:
        """Why this machine cannot build at a precision with it, in words; None if it can."""

    def compile(self, graph: Path, folder: Path, precision: str, arch: str | None) -> str:
        """Compile a graph into a folder, for one of `archs` if there are any; return the name of the file to load."""


def get_compiler(name: str) -> Compiler:
    """The compiler of a name.

    Raises:
        UsageError: No such compiler.
    """
    if name not in COMPILERS:
        raise UsageError(f"there is no compiler '{name}'", expected=f"one of {', '.join(COMPILERS)}")
    return importlib.import_module(f"evit_deploy.engines.{name}").COMPILER  # type: ignore[no-any-return]


def choose_compiler(target: TargetSpec, precision: str, name: str | None = None) -> Compiler | None:
    """The first compiler of a target that can build at a precision here.

    Args:
        target: The machine to build for.
        precision: "fp32", "bf16", …
        name: Take this one, or fail.

    Returns:
        The compiler; None for a target that compiles on the device itself.

    Raises:
        UsageError: The target is not built at this precision, or not by the named compiler.
        UnavailableError: None can; the message says why, one by one.
    """
    if precision not in target.precisions:
        raise UsageError(
            f"{precision} is not built for {target.name}",
            found=_refusal(target, precision),
            expected=f"--{' or --'.join(target.precisions)}",
            fix=_ADVICE.get(target.name, "--fp16 is the fast choice"),
        )
    if not target.compilers:
        if name is not None:
            raise UsageError(f"{name} does not build for {target.name}", found=target.note, fix="leave --compiler out")
        return None
    if name is not None and get_compiler(name).name not in target.compilers:
        raise UsageError(f"{name} does not build for {target.name}", expected=f"one of {', '.join(target.compilers)}")
    obstacles = []
    for candidate in [name] if name else target.compilers:
        compiler = get_compiler(candidate)
        if compiler.version() is None:
            obstacles.append(f"{candidate} is not installed, or broken (pip install 'evit-deploy[{compiler.extra}]')")
        elif reason := compiler.obstacle(precision):
            obstacles.append(f"{candidate}: {reason}")
        else:
            return compiler
    raise UnavailableError(
        f"no compiler on this machine builds {precision} for {target.name}", found="; ".join(obstacles)
    )


def _refusal(target: TargetSpec, precision: str) -> str | None:
    """Why a target does not have a precision, in its compiler's words where that is what refuses."""
    if target.attention is None or not target.compilers:
        return _REFUSALS.get(precision)
    return get_compiler(target.compilers[0]).obstacle(precision)


def choose_arch(compiler: Compiler | None, target: TargetSpec, arch: str | None) -> str | None:
    """The GPU architecture to build for, in the compiler's words.

    Args:
        compiler: The compiler that was chosen, if any.
        target: The machine to build for.
        arch: "sm86", "SM86" or "8.6"; None takes the architecture of this machine's GPU.

    Returns:
        One of the compiler's architectures; None if it has none.

    Raises:
        UsageError: An architecture where there is none to choose, one that the compiler does not know, or none on a
            machine without a GPU.
    """
    known = compiler.archs() if compiler else ()
    if compiler is None or not known:
        if arch is not None:
            raise UsageError(
                f"there is no architecture to choose for {target.name}", found=f"--arch {arch}",
                fix="leave --arch out",
            )  # fmt: skip
        return None
    wanted = arch if arch is not None else gpu_compute_capability()
    if wanted is None:
        raise UsageError(
            f"{target.name} is many machines, and here is no NVIDIA GPU to build for",
            expected=f"--arch and one of {', '.join(known)}",
            fix="--arch sm86 for RTX 30, sm89 for RTX 40, sm120 for RTX 50",
        )
    name = f"sm{wanted.replace('.', '')}" if re.fullmatch(r"[0-9]+\.[0-9]", wanted) else wanted.lower()
    if name not in known:
        raise UsageError(
            f"{compiler.name} does not build for the architecture '{wanted}'", expected=f"one of {', '.join(known)}"
        )
    return name


def imported_version(module: str) -> str | None:
    """Version of a module if it can be imported, whatever distribution it came from; else None."""
    try:
        return str(importlib.import_module(module).__version__).partition("-")[0]
    except Exception:  # a half-installed native package raises anything
        return None
