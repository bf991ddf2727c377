# SPDX-License-Identifier: Apache-2.0
"""The seam between a typed graph and whatever compiles it.

To add a compiler, write a module of its name in this folder, with a class that fits `Compiler` and an object
``COMPILER``, and list it with the targets it serves in `evit_deploy.targets`.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Protocol

from evit_deploy.errors import UnavailableError, UsageError
from evit_deploy.targets import TARGETS, TargetSpec

COMPILERS = tuple(dict.fromkeys(name for target in TARGETS.values() for name in target.compilers))
"""Names of all compilers. The module of each has its name."""

_REFUSALS = {
    "fp16": "CPUs compute FP16 graphs in FP32 behind the user's back, so an FP16 engine would not be one",
    "int8": "INT8 is not part of this version",
}


class Compiler(Protocol):
    """Turns a typed ONNX graph into files that a backend loads.

    Attributes:
        name: Name on the command line.
        backend: Runtime backend that loads its engines.
        extra: Extra of this package that installs it.
    """

    name: str
    backend: str
    extra: str

    def version(self) -> str | None:
        """Exact version, or None if it cannot be imported."""

    def obstacle(self, precision: str) -> str | None:
        """Why this machine cannot build at a precision with it, in words; None if it can."""

    def compile(self, graph: Path, folder: Path, precision: str) -> str:
        """Compile a graph into a folder and return the name of the file to load."""


def get_compiler(name: str) -> Compiler:
    """The compiler of a name.

    Raises:
        UsageError: No such compiler.
    """
    if name not in COMPILERS:
        raise UsageError(f"there is no compiler '{name}'", expected=f"one of {', '.join(COMPILERS)}")
    return importlib.import_module(f"evit_deploy.engines.{name}").COMPILER  # type: ignore[no-any-return]


def choose_compiler(target: TargetSpec, precision: str, name: str | None = None) -> Compiler:
    """The first compiler of a target that can build at a precision here.

    Args:
        target: The machine to build for.
        precision: "fp32", "bf16", …
        name: Take this one, or fail.

    Raises:
        UsageError: The target is not built at this precision, or not by the named compiler.
        UnavailableError: None can; the message says why, one by one.
    """
    if not target.compilers:
        raise UnavailableError(f"cannot build for {target.title}", found=target.note, fix="--target cpu")
    if precision not in target.precisions:
        raise UsageError(
            f"{precision} is not built for {target.name}",
            found=_REFUSALS.get(precision),
            expected=f"--{' or --'.join(target.precisions)}",
            fix="--bf16 is the fast choice on CPUs with BF16 instructions (evit-deploy doctor says)",
        )
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


def imported_version(module: str) -> str | None:
    """Version of a module if it can be imported, whatever distribution it came from; else None."""
    try:
        return str(importlib.import_module(module).__version__).partition("-")[0]
    except Exception:  # a half-installed native package raises anything
        return None
