# SPDX-License-Identifier: Apache-2.0
"""The surfaces of all versions, read once per session."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conformance import bindings
from tests.conformance.bindings import CUDA, TENSORRT, Surface, UnavailableWheelError, read_surface
from tests.conftest import require


@pytest.fixture(scope="session")
def wheels(request: pytest.FixtureRequest) -> Path:
    """Where wheels are kept between sessions."""
    return Path(request.config.cache.mkdir("wheels"))


def _surfaces(requirements, module, folder):
    try:
        return {version: read_surface(text, module, folder) for version, text in requirements.items()}
    except UnavailableWheelError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def tensorrt(wheels: Path) -> dict[str, Surface]:
    """TensorRT's bindings by version."""
    return _surfaces(TENSORRT, "tensorrt_bindings", wheels)


@pytest.fixture(scope="session")
def tensorrt_rtx() -> Surface:
    """The bindings of TensorRT-RTX that are installed."""
    require("tensorrt_rtx")
    command = [sys.executable, str(Path(bindings.__file__).with_name("dump_api.py")), "tensorrt_rtx"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return Surface("tensorrt_rtx", json.loads(done.stdout)["members"])


@pytest.fixture(scope="session", params=["cudart", "driver"])
def cuda(request: pytest.FixtureRequest, wheels: Path) -> tuple[str, dict[str, Surface]]:
    """A module of CUDA's bindings by version."""
    module = {"cudart": "cuda.bindings.runtime", "driver": "cuda.bindings.driver"}[request.param]
    return request.param, _surfaces(CUDA, module, wheels)
