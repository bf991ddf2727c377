# SPDX-License-Identifier: Apache-2.0
"""Devices, and an engine to build on them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import require
from tests.devices import device, fleet, real_device

__all__ = ["device", "fleet", "real_device"]


@pytest.fixture(scope="session")
def lowered_engine(small_workspace: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small export lowered for rtx, which needs no GPU to be compiled. Do not change it."""
    from evit_deploy.engines.build import lower_engine

    require("tensorrt_rtx")
    folder = tmp_path_factory.mktemp("lowered") / "b0-seg.rtx-sm80.fp16"
    lower_engine(small_workspace / "export" / "b0-seg", folder, target="rtx", precision="fp16")
    return folder
