# SPDX-License-Identifier: Apache-2.0
"""The seam between a typed graph and whatever compiles it.

To add a compiler, write a module of its name in this folder, with a class that fits `Compiler` and an object
``COMPILER``, and list it with the targets it serves in `evit_deploy.targets`.
"""

from __future__ import annotations

import importlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from evit_deploy.errors import UnavailableError, UsageError, first_line
from evit_deploy.progress import Progress
from evit_deploy.targets import TARGETS, TargetSpec
from evit_deploy.targets.device import Device, this_device
from evit_deploy.targets.machine import gpu_compute_capability

COMPILERS = tuple(dict.fromkeys(name for target in TARGETS.values() for name in target.compilers))
"""Names of all compilers. The module of each has its name."""

BF16_REFUSAL = "BF16 is not offered on GPUs: FP16 is as fast there and eight times as exact"
NOT_INSTALLED = "not installed"

_REFUSALS = {
    "fp16": "CPUs compute FP16 graphs in FP32 behind the user's back, so an FP16 engine would not be one",
    "bf16": BF16_REFUSAL,
    "int8": "nothing here tells what INT8 gains on a CPU, and without that it is not worth what it loses",
}
_ADVICE = {
    "cpu": "--bf16 is the fast choice on CPUs with BF16 instructions (evit-deploy doctor says)",
}


@dataclass(frozen=True)
class Job:
    """What to compile.

    Attributes:
        graph: The ONNX file; what it computes may stand beside it, see `evit_deploy.engines.flops.graph_math`.
        folder: Where the result goes.
        precision: Precision of the engine; a GPU's graph is typed in it.
        arch: One of the compiler's architectures, if it has any.
        batch: (smallest, largest) batch; equal for a static graph.
        level: How long to search for fast kernels, in the compiler's own scale; None takes its default.
    """

    graph: Path
    folder: Path
    precision: str
    arch: str | None = None
    batch: tuple[int, int] = (1, 1)
    level: int | None = None


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

    def install_command(self) -> str:
        """What installs it on this machine."""

    def archs(self) -> tuple[str, ...]:
        """GPU architectures it can be told to build for, such as "sm86"; none if it builds for this machine only."""

    def obstacle(self, precision: str, target: TargetSpec) -> str | None:
        """Why this machine cannot build at a precision for a target with it, in words; None if it can."""

    def compile(self, job: Job, progress: Progress) -> str:
        """Compile a graph; return the name of the file that the backend loads."""


def get_compiler(name: str) -> Compiler:
    """The compiler of a name.

    Raises:
        UsageError: No such compiler.
    """
    if name not in COMPILERS:
        raise UsageError(f"there is no compiler '{name}'", expected=f"one of {', '.join(COMPILERS)}")
    return importlib.import_module(f"evit_deploy.engines.{name}").COMPILER  # type: ignore[no-any-return]


def choose_compiler(
    target: TargetSpec, precision: str, name: str | None = None, *, required: bool = False
) -> Compiler | None:
    """The first compiler of a target that can build at a precision here.

    Args:
        target: The machine to build for.
        precision: "fp32", "bf16", …
        name: Take this one, or fail.
        required: Fail where a GPU's graph would be lowered only.

    Returns:
        The compiler; None where a GPU's graph can be lowered here but not compiled.

    Raises:
        UsageError: The target is not built at this precision, or not by the named compiler.
        UnavailableError: None can; the message says why, one by one.
    """
    require_precision(target, precision)
    require_compiler(target, name)
    names = (name,) if name else target.compilers
    for candidate in names:
        if _obstacle(candidate, precision, target) is None:
            return get_compiler(candidate)
    if target.attention is not None and name is None and not required:
        return None
    raise UnavailableError(
        f"no compiler on this machine builds {precision} for {target.name}",
        found="; ".join(obstacles(target, precision, names)),
        fix=f"--remote USER@HOST compiles on the {target.title}" if _is_elsewhere(target) else None,
    )


def require_precision(target: TargetSpec, precision: str) -> None:
    """Refuse a precision that a target is not built in, with the reason.

    Raises:
        UsageError: It is not one of the target's.
    """
    if precision not in target.precisions:
        raise UsageError(
            f"{precision} is not built for {target.name}",
            found=_refusal(target, precision),
            expected=f"--{' or --'.join(target.precisions)}",
            fix=_ADVICE.get(target.name, "--fp16 is the fast choice"),
        )


def require_compiler(target: TargetSpec, name: str | None) -> None:
    """Refuse a compiler that does not exist, or does not build for a target.

    Raises:
        UsageError: It does not.
    """
    if name is not None and get_compiler(name).name not in target.compilers:
        raise UsageError(
            f"{name} does not build for {target.name}",
            expected=f"one of {', '.join(target.compilers)}",
            fix="leave --compiler out",
        )


def obstacles(target: TargetSpec, precision: str, names: tuple[str, ...] | None = None) -> list[str]:
    """Why compilers of a target (all of them, or those named) cannot build here, a sentence for each that cannot."""
    return list(filter(None, (_obstacle(name, precision, target) for name in names or target.compilers)))


def _obstacle(name: str, precision: str, target: TargetSpec) -> str | None:
    compiler = get_compiler(name)
    device = this_device()
    if target.compute_capability is not None and not _is_of(device, target):
        return f"{name} compiles on the {target.title} itself, and here is {device.gpu if device else 'no NVIDIA GPU'}"
    if compiler.version() is None:
        problem = import_problem(name)
        words = "is not installed" if problem in (None, NOT_INSTALLED) else problem
        return f"{name} {words} ({compiler.install_command()})"
    reason = compiler.obstacle(precision, target)
    return None if reason is None else f"{name}: {reason}"


def _is_elsewhere(target: TargetSpec) -> bool:
    """Whether a target is a GPU that this machine does not have."""
    return target.attention is not None and not _is_of(this_device(), target)


def _is_of(device: Device | None, target: TargetSpec) -> bool:
    return device is not None and device.compute_capability == target.compute_capability


def _refusal(target: TargetSpec, precision: str) -> str | None:
    """Why a target does not have a precision, in its compiler's words where that is what refuses."""
    if target.attention is None or not target.compilers:
        return _REFUSALS.get(precision)
    return get_compiler(target.compilers[0]).obstacle(precision, target)


def choose_arch(compiler: Compiler | None, target: TargetSpec, arch: str | None) -> str | None:
    """The GPU architecture to build for, in the compiler's words.

    Args:
        compiler: The compiler that was chosen; None where another machine compiles, which then checks the name.
        target: The machine to build for.
        arch: "sm86", "SM86" or "8.6"; None takes the architecture of this machine's GPU.

    Returns:
        One of the compiler's architectures; None if it has none.

    Raises:
        UsageError: An architecture where there is none to choose, one that the compiler does not know, or none on a
            machine without a GPU.
    """
    if target.attention is None or target.compute_capability is not None:
        if arch is not None:
            raise UsageError(
                f"there is no architecture to choose for {target.name}", found=f"--arch {arch}",
                fix="leave --arch out",
            )  # fmt: skip
        return None
    if compiler is None and arch is None:  # the GPU of the machine that compiles
        return None
    known = compiler.archs() if compiler else ()
    wanted = arch if arch is not None else gpu_compute_capability()
    if wanted is None:
        raise UsageError(
            f"{target.name} is many machines, and here is no NVIDIA GPU to build for",
            expected=f"--arch and one of {', '.join(known)}",
            fix="--arch sm86 for RTX 30, sm89 for RTX 40, sm120 for RTX 50",
        )
    name = f"sm{wanted.replace('.', '')}" if re.fullmatch(r"[0-9]+\.[0-9]", wanted) else wanted.lower()
    if compiler is not None and name not in known:
        raise UsageError(
            f"{compiler.name} does not build for the architecture '{wanted}'", expected=f"one of {', '.join(known)}"
        )
    if not re.fullmatch(r"sm[0-9]{2,3}", name):  # it becomes part of a folder's name
        raise UsageError(f"'{wanted}' is no architecture", expected="a name such as sm86, or a number such as 8.6")
    return name


def imported_version(module: str) -> str | None:
    """Version of a module if it can be imported, whatever distribution it came from; else None."""
    try:
        return str(importlib.import_module(module).__version__).partition("-")[0]
    except Exception:  # a half-installed native package raises anything
        return None


def import_problem(module: str) -> str | None:
    """Why a module cannot be imported, in words; None if it can."""
    try:
        importlib.import_module(module)
    except ModuleNotFoundError as error:
        return NOT_INSTALLED if error.name == module else f"does not import: {first_line(error)}"
    except Exception as error:  # a half-installed native package raises anything
        return f"does not import: {first_line(error)}"
    return None
