# SPDX-License-Identifier: Apache-2.0
"""One profile of one small engine, made once."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from evit_deploy.data.images import write_image
from evit_deploy.engines.bundle import Sizes, build_bundle, lower_bundle
from evit_deploy.manifest import Manifest, read_manifest
from evit_deploy.manifest.model import Agreement, Budget, FrameAgreement
from evit_deploy.profiles import ProfileReport, profile_engine
from tests.cli.conftest import evit  # noqa: F401
from tests.engines.toy_sam import write_toy

IMPOSSIBLE = Budget(-1.0, 1.1, -1.0, -1.0, mask_iou=1.1, score_error=-1.0)


@pytest.fixture(scope="session")
def profiled(small_workspace: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[ProfileReport, Path]:
    """The report and the page of an ONNX Runtime engine, PyTorch beside it."""
    folder = small_workspace / "engines" / "b0-seg.cpu.fp32.onnxruntime"
    return profile_engine(folder, tmp_path_factory.mktemp("profiles"))


@pytest.fixture
def manifest(small_workspace: Path) -> Manifest:
    """The manifest of a small segmentation engine."""
    return read_manifest(small_workspace / "engines" / "b0-seg.cpu.fp32.onnxruntime")


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder of two images of different sizes, one of them in a subfolder."""
    random = np.random.default_rng(0)
    write_image(tmp_path / "images" / "wide.png", random.integers(0, 256, (50, 90, 3), np.uint8))
    write_image(tmp_path / "images" / "more" / "tall.png", random.integers(0, 256, (90, 40, 3), np.uint8))
    return tmp_path / "images"


@pytest.fixture
def failed() -> Agreement:
    """A comparison that failed with everything JSON cannot say."""
    frame = FrameAgreement(
        "bad.png", 0.5, 0.1, 3.0, finite=False, relative_l2=float("inf"), max_error=float("inf"), cosine=None
    )
    return Agreement("PyTorch", False, Budget(1e-4, 0.999, 1e-3, 1e-3), (frame,))


@pytest.fixture(scope="session")
def toy_workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with a toy of two parts, built for a CPU and lowered for a GPU. Do not change it."""
    workspace = tmp_path_factory.mktemp("toy")
    export = workspace / "export" / "l0-sam"
    write_toy(export)
    build_bundle(export, workspace / "engines" / "l0-sam.cpu.fp32", target="cpu", compiler="onnxruntime")
    lowered = workspace / "engines" / "l0-sam.orin.fp16"
    lower_bundle(export, lowered, target="orin", precision="fp16", attention="portable", sizes=Sizes((2, 5), 4))
    return workspace


@pytest.fixture
def toy(toy_workspace: Path) -> Path:
    """The toy's engine for a CPU. Do not change it."""
    return toy_workspace / "engines" / "l0-sam.cpu.fp32"


@pytest.fixture
def own_toy(toy: Path, tmp_path: Path) -> Path:
    """A copy of the toy's engine that a test may damage."""
    return Path(shutil.copytree(toy, tmp_path / "engines" / toy.name))
