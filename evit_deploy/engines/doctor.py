# SPDX-License-Identifier: Apache-2.0
"""What this machine can do, compiler by compiler, and what would make it do more."""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path

import evit_deploy
from evit_deploy.engines.compiler import COMPILERS, get_compiler, import_problem
from evit_deploy.runtime.engine import available_cores
from evit_deploy.targets import PRECISIONS, TARGETS, Difference, differences, find_target, find_target_of, jetson
from evit_deploy.targets.device import Device, free_memory, machine_record, this_device, with_clocks
from evit_deploy.targets.machine import describe, memory_gb

_PACKAGES = (
    (("torch",), "export", "export, and PyTorch beside the engine in reports"),
    (("onnx",), "export", "export"),
    (("onnxsim",), "export", "export"),
    (("huggingface-hub",), "export", "official weights"),
    (("pillow",), "images", "reading and writing image files"),
    (("opencv-python-headless", "opencv-python", "opencv-contrib-python"), "images", "faster resizing"),
    (("matplotlib",), "report", "HTML reports"),
)
"""What no engine needs: names of each package, the extra that installs it, what it is for."""


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Attributes:
        name: What it is.
        ok: Whether it is there.
        found: What was found, in words.
        fix: What to do if it is missing.
        optional: Whether engines of this machine's target are built and run without it.
    """

    name: str
    ok: bool
    found: str
    fix: str = ""
    optional: bool = False


@dataclass(frozen=True)
class Ability:
    """Whether a compiler can build for a target here.

    Attributes:
        compiler: Its name.
        target: Name of the target.
        precision: "fp32", "bf16", …
        obstacle: Why it cannot, in words; None if it can.
    """

    compiler: str
    target: str
    precision: str
    obstacle: str | None


@dataclass(frozen=True)
class Report:
    """The whole examination.

    Attributes:
        machine: The machine in words.
        checks: Everything that was looked at, for people.
        device: The GPU and its board, or None.
        target: Name of the target that this machine is; None where no target has its GPU.
        compared: Name of the target that `differences` are about.
        differences: How this machine differs from it.
        abilities: What every compiler can build here, for programs.
        versions: Of evit-deploy, Python and every compiler; None where it cannot be imported.
        free_disk: Free bytes where the workspace is.
        free_memory: Bytes that an allocation may take now, on the GPU if there is one; None where nobody says.
    """

    machine: dict[str, str]
    checks: tuple[Check, ...]
    device: Device | None
    target: str | None
    compared: str | None
    differences: tuple[Difference, ...]
    abilities: tuple[Ability, ...]
    versions: dict[str, str | None]
    free_disk: int
    free_memory: int | None

    @property
    def blocked(self) -> bool:
        """Whether engines of the target that it was compared with do not run on this machine."""
        return any(row.blocks for row in self.differences)


def examine(workspace: Path, target: str | None = None) -> Report:
    """Look at this machine, its compilers, its packages and the workspace.

    Args:
        workspace: Folder that holds export/, engines/ and profiles/.
        target: Say how the machine differs from this one; None takes the target that it is.

    Raises:
        UsageError: No such target.
    """
    device = this_device()
    device = with_clocks(device) if device else None
    recognised = find_target_of(device)
    compared = find_target(target) if target is not None else recognised
    wanted = {name for spec in (recognised, compared) if spec for name in spec.compilers} or {*COMPILERS}
    compilers = {name: get_compiler(name).version() for name in COMPILERS}
    abilities = tuple(row for name, version in compilers.items() for row in _abilities(name, version))
    checks = list(_gpu(device))
    for name, version in compilers.items():
        checks += [replace(check, optional=name not in wanted) for check in _compiler(name, version, abilities)]
    checks += [replace(_package(*row), optional=True) for row in _PACKAGES]
    checks += [_cuda(device), _workspace(workspace), _hub()]
    return Report(
        machine=_machine(device),
        checks=tuple(checks),
        device=device,
        target=recognised.name if recognised else None,
        compared=compared.name if compared else None,
        differences=differences(device, compared) if compared else (),
        abilities=abilities,
        versions={"evit-deploy": evit_deploy.__version__, "python": platform.python_version(), **compilers},
        free_disk=_free_disk(workspace),
        free_memory=free_memory(device),
    )


def _machine(device: Device | None) -> dict[str, str]:
    memory = memory_gb()
    return {
        "evit-deploy": evit_deploy.__version__,
        "python": platform.python_version(),
        **describe(),
        "cores": str(available_cores()),
        "memory": f"{memory:.1f} GB" if memory else "unknown",
        **(machine_record(device) if device else {}),
    }


def _gpu(device: Device | None, root: Path = Path("/")) -> Iterator[Check]:
    """The GPU, if there is any sign of one."""
    if device is not None:
        found = (
            f"{device.gpu}, compute capability {device.compute_capability}, {device.multiprocessors} multiprocessors"
        )
        yield Check("GPU", True, found)
    elif jetson.l4t(root) is not None or (root / "proc/driver/nvidia/version").exists():
        fix = "sudo usermod -aG video,render $USER, and log in again; in a container: --runtime nvidia or --gpus all"
        yield Check("GPU", False, "there is one, but its driver does not answer here", fix)


def _abilities(name: str, version: str | None) -> Iterator[Ability]:
    """What a compiler can build here, for each target and precision that it serves."""
    compiler = get_compiler(name)
    problem = None if version else compiler_problem(name)
    for spec in (spec for spec in TARGETS.values() if name in spec.compilers):
        for precision in spec.precisions:
            yield Ability(name, spec.name, precision, problem or compiler.obstacle(precision, spec))


def compiler_problem(name: str) -> str:
    """Why a compiler has no version, such as "not installed" or "does not import: …"."""
    return import_problem(name) or "it does not say its version"


def _compiler(name: str, version: str | None, abilities: tuple[Ability, ...]) -> Iterator[Check]:
    """A check per precision of the targets that the compiler serves."""
    compiler = get_compiler(name)
    own = [row for row in abilities if row.compiler == name]
    for precision in (known for known in PRECISIONS if any(row.precision == known for row in own)):
        rows = [row for row in own if row.precision == precision]
        able = [row.target for row in rows if row.obstacle is None]
        title = f"{name} {precision}"
        if version is None:
            yield Check(title, False, compiler_problem(name), compiler.install_command())
        elif not able:
            reasons = dict.fromkeys(row.obstacle for row in rows if row.obstacle)
            yield Check(title, False, f"{version}: {'; '.join(reasons)}")
        else:
            archs = f" --arch {'|'.join(compiler.archs())}" if compiler.archs() else ""
            yield Check(title, True, f"{version}: builds --target {' or '.join(able)} --{precision}{archs}")


def _package(names: tuple[str, ...], extra: str, purpose: str) -> Check:
    """Look for a package that is distributed under one of several names."""
    for name in names:
        with contextlib.suppress(metadata.PackageNotFoundError):
            return Check(name, True, f"{metadata.version(name)}: {purpose}")
    return Check(names[0], False, f"not installed: {purpose}", f"pip install 'evit-deploy[{extra}]'")


def _cuda(device: Device | None) -> Check:
    """The package that runs engines on a GPU; one for a newer CUDA than the driver serves finds no GPU."""
    check = _package(("cuda-bindings",), "cuda", "running engines on NVIDIA GPUs")
    if device is None:
        return replace(check, optional=True)
    if not check.ok:
        return check
    version, served = check.found.partition(":")[0], device.driver.partition(".")[0]
    if int(version.partition(".")[0]) <= int(served):
        return check
    found = f"{version} is for a newer CUDA than this driver serves ({device.driver})"
    return Check(check.name, False, found, f"pip install 'cuda-bindings=={served}.*'")


def _workspace(folder: Path) -> Check:
    place = _existing(folder)
    ok = place.is_dir() and os.access(place, os.W_OK)
    free = f"{_free_disk(folder) / 1e9:.0f} GB free"
    found = f"{folder.resolve()}, {free}" if ok else f"{folder.resolve()} cannot be written"
    return Check("workspace", ok, found, "" if ok else "--workspace DIR, or EVIT_WORKSPACE")


def _existing(folder: Path) -> Path:
    """The folder, or the nearest one above it: writing makes what is missing."""
    place = folder.resolve()
    while not place.exists():
        place = place.parent
    return place


def _free_disk(folder: Path) -> int:
    return shutil.disk_usage(_existing(folder)).free


def _hub() -> Check:
    offline = os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")
    endpoint = os.environ.get("HF_ENDPOINT", "the default endpoint")
    found = "HF_HUB_OFFLINE is set: cached checkpoints only" if offline else f"checkpoints come from {endpoint}"
    fix = "unset HF_HUB_OFFLINE to download" if offline else ""
    return Check("Hugging Face", not offline, found, fix, optional=True)
