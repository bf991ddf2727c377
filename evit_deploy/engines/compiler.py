# SPDX-License-Identifier: Apache-2.0
"""The seam between a typed graph and whatever compiles it.

To add a compiler, write a module with a class that fits `Compiler` and an object ``COMPILER``, name it in `COMPILERS`,
and list it with the targets it serves in `evit_deploy.targets`.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Protocol

from evit_deploy.errors import UnavailableError, UsageError
from evit_deploy.targets import TargetSpec

COMPILERS = {
    "openvino": "evit_deploy.engines.openvino",
    "onnxruntime": "evit_deploy.engines.onnxruntime",
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
        """Exact version, or None if it is not installed."""

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
    return importlib.import_module(COMPILERS[name]).COMPILER  # type: ignore[no-any-return]


def choose_compiler(target: TargetSpec, precision: str, name: str | None = None) -> Compiler:
    """The first compiler of a target that can build at a precision here.

    Args:
        target: The machine to build for.
        precision: "fp32", "bf16", …
        name: Take this one, or fail.

    Raises:
        UsageError: The named compiler does not serve the target.
        UnavailableError: None can; the message says why, one by one.
    """
    if not target.compilers:
        raise UnavailableError(f"cannot build for {target.title}", found=target.note, fix="--target cpu")
    if name is not None and get_compiler(name).name not in target.compilers:
        raise UsageError(f"{name} does not build for {target.name}", expected=f"one of {', '.join(target.compilers)}")
    obstacles = []
    for candidate in [name] if name else target.compilers:
        compiler = get_compiler(candidate)
        if compiler.version() is None:
            obstacles.append(f"{candidate} is not installed (pip install 'evit-deploy[{compiler.extra}]')")
        elif reason := compiler.obstacle(precision):
            obstacles.append(f"{candidate}: {reason}")
        else:
            return compiler
    raise UnavailableError(
        f"no compiler on this machine builds {precision} for {target.name}", found="; ".join(obstacles)
    )
