# SPDX-License-Identifier: Apache-2.0
"""What this machine can do, compiler by compiler, and what would make it do more."""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import evit_deploy
from evit_deploy.engines.compiler import COMPILERS, get_compiler
from evit_deploy.runtime.engine import available_cores
from evit_deploy.targets import PRECISIONS, TARGETS
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


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Attributes:
        name: What it is.
        ok: Whether it is there.
        found: What was found, in words.
        fix: What to do if it is missing.
    """

    name: str
    ok: bool
    found: str
    fix: str = ""


@dataclass(frozen=True)
class Report:
    """The whole examination."""

    machine: dict[str, str]
    checks: tuple[Check, ...]


def examine(workspace: Path) -> Report:
    """Look at this machine, its compilers, its packages and the workspace."""
    checks = [check for name in COMPILERS for check in _compiler(name)]
    checks += [_package(*row) for row in _PACKAGES]
    checks += [_workspace(workspace), _hub()]
    memory = memory_gb()
    machine = {
        "evit-deploy": evit_deploy.__version__,
        "python": platform.python_version(),
        **describe(),
        "cores": str(available_cores()),
        "memory": f"{memory:.1f} GB" if memory else "unknown",
    }
    return Report(machine, tuple(checks))


def _compiler(name: str) -> Iterator[Check]:
    """A check per precision of the targets that the compiler serves."""
    compiler = get_compiler(name)
    version = compiler.version()
    served = [spec for spec in TARGETS.values() if name in spec.compilers]
    for precision in (known for known in PRECISIONS if any(known in spec.precisions for spec in served)):
        title = f"{name} {precision}"
        if version is None:
            yield Check(title, False, "not installed", f"pip install 'evit-deploy[{compiler.extra}]'")
        elif reason := compiler.obstacle(precision):
            yield Check(title, False, f"{version}: {reason}")
        else:
            targets = " or ".join(spec.name for spec in served if precision in spec.precisions)
            archs = f" --arch {'|'.join(compiler.archs())}" if compiler.archs() else ""
            yield Check(title, True, f"{version}: builds --target {targets} --{precision}{archs}")


def _package(names: tuple[str, ...], extra: str, purpose: str) -> Check:
    """Look for a package that is distributed under one of several names."""
    for name in names:
        with contextlib.suppress(metadata.PackageNotFoundError):
            return Check(name, True, f"{metadata.version(name)}: {purpose}")
    return Check(names[0], False, f"not installed: {purpose}", f"pip install 'evit-deploy[{extra}]'")


def _workspace(folder: Path) -> Check:
    probe = folder.resolve()
    while not probe.exists():  # writing makes what is missing
        probe = probe.parent
    free = shutil.disk_usage(probe).free / 1e9 if probe.is_dir() else 0.0
    ok = probe.is_dir() and os.access(probe, os.W_OK)
    found = f"{folder.resolve()}, {free:.0f} GB free" if ok else f"{folder.resolve()} cannot be written"
    return Check("workspace", ok, found, "" if ok else "--workspace DIR, or EVIT_WORKSPACE")


def _hub() -> Check:
    offline = os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")
    endpoint = os.environ.get("HF_ENDPOINT", "the default endpoint")
    found = "HF_HUB_OFFLINE is set: cached checkpoints only" if offline else f"checkpoints come from {endpoint}"
    return Check("Hugging Face", not offline, found, "unset HF_HUB_OFFLINE to download" if offline else "")
