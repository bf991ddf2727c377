# SPDX-License-Identifier: Apache-2.0
"""Shared fixtures: one small export and its engines, made once per session."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

SMALL = (64, 128)

# A person at work wants new examples; a change that lands must not depend on luck.
settings.register_profile("ci", derandomize=True)
if os.environ.get("CI"):
    settings.load_profile("ci")


def require(module: str) -> None:
    """Skip what needs a package that some machines cannot have; a CI machine must have it, and fails."""
    if not os.environ.get("CI"):
        pytest.importorskip(module)


@pytest.fixture(scope="session")
def small_workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with b0-seg (random weights, 64×128) exported, and built by both CPU compilers. Do not change it."""
    from evit_deploy.engines import build_engine
    from evit_deploy.export import ExportOptions, export_model

    workspace = tmp_path_factory.mktemp("workspace")
    export = workspace / "export" / "b0-seg"
    export_model("b0-seg", export, ExportOptions(weights="random", resolution=SMALL))
    for compiler in ("onnxruntime", "openvino"):
        folder = workspace / "engines" / f"b0-seg.cpu.fp32.{compiler}"
        build_engine(export, folder, target="cpu", compiler=compiler)
    return workspace


@pytest.fixture(params=["onnxruntime", "openvino"])
def engine_folder(request: pytest.FixtureRequest, small_workspace: Path) -> Path:
    """An engine folder of each CPU compiler. Do not change it."""
    return small_workspace / "engines" / f"b0-seg.cpu.fp32.{request.param}"


@pytest.fixture(scope="session")
def gpu_workspace(small_workspace: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with the small export's FP16 engines: lowered for orin, and compiled for rtx where that can be."""
    from evit_deploy.engines import build_engine, get_compiler
    from evit_deploy.engines.build import engine_name

    workspace = tmp_path_factory.mktemp("gpu")
    export = small_workspace / "export" / "b0-seg"
    pairs = [("orin", None)]
    if os.environ.get("CI") or get_compiler("tensorrt_rtx").version() is not None:
        pairs.append(("rtx", "sm80"))
    for target, arch in pairs:
        folder = workspace / "engines" / engine_name(export, target, "fp16", arch=arch)
        build_engine(export, folder, target=target, precision="fp16", arch=arch)
    return workspace


@pytest.fixture(params=["orin", "rtx-sm80"])
def gpu_engine(request: pytest.FixtureRequest, gpu_workspace: Path) -> Path:
    """An engine folder for a GPU, lowered and compiled. Do not change it."""
    if request.param.startswith("rtx"):
        require("tensorrt_rtx")
    return gpu_workspace / "engines" / f"b0-seg.{request.param}.fp16"


@pytest.fixture
def own_engine(small_workspace: Path, tmp_path: Path) -> Path:
    """A copy of an engine folder that a test may damage."""
    return Path(shutil.copytree(small_workspace / "engines" / "b0-seg.cpu.fp32.onnxruntime", tmp_path / "engine"))


@pytest.fixture
def own_export(small_workspace: Path, tmp_path: Path) -> Path:
    """A copy of an export folder that a test may damage."""
    return Path(shutil.copytree(small_workspace / "export" / "b0-seg", tmp_path / "export" / "b0-seg"))


@pytest.fixture
def frame() -> np.ndarray:
    """A small street scene, of a size that no graph has."""
    from evit_deploy.data.scenes import render_scene

    return render_scene(5, 90, 140).image


@pytest.fixture
def mount_disk(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """Mounts a disk of a number of bytes, or skips the test where this user may not."""
    disk = tmp_path / "disk"

    def mount(size: int) -> Path:
        disk.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(disk)]
        if not shutil.which("mount") or subprocess.run(command, capture_output=True, check=False).returncode:
            pytest.skip("this user may not mount a small disk")
        return disk

    yield mount
    if disk.is_mount():
        subprocess.run(["umount", str(disk)], check=True)


@pytest.fixture
def small_disk(mount_disk: Callable[[int], Path]) -> Path:
    """A disk of one megabyte, too small for any graph."""
    return mount_disk(1 << 20)
