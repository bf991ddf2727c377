# SPDX-License-Identifier: Apache-2.0
"""What runs an engine's graph: the engine, or its emulation; and what a device is told that can do neither."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from evit_deploy.engines import running
from evit_deploy.engines.running import opened
from evit_deploy.errors import UnavailableError, UsageError
from evit_deploy.manifest import ITSELF, read_artifact
from evit_deploy.runtime.verify import Reference


def test_a_cpus_engine_runs_itself(engine_folder: Path) -> None:
    image = Reference.load(engine_folder).images[:1]
    with opened(engine_folder, read_artifact(engine_folder)) as (infer, method):
        assert infer({"image": image})["classes"].shape == (1, 64, 128)
    assert method == ITSELF


def test_a_gpus_engine_is_emulated_without_the_gpu(gpu_engine: Path) -> None:
    image = Reference.load(gpu_engine).images[:1]
    with opened(gpu_engine, read_artifact(gpu_engine)) as (infer, method):
        assert infer({"image": image})["classes"].shape == (1, 64, 128)
    assert method != ITSELF


def test_a_device_is_told_the_cause_first(gpu_engine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("onnx", "evit_deploy.precision.faithful", "evit_deploy.precision.graph"):
        monkeypatch.setitem(sys.modules, name, None)
    with (
        pytest.raises(UnavailableError, match="cannot run here") as caught,
        opened(gpu_engine, read_artifact(gpu_engine)),
    ):
        pass
    first = str(caught.value.fix).partition(";")[0]
    if "orin" in gpu_engine.name:
        assert caught.value.found == "lowered, not compiled yet"
        assert first == f"evit-deploy build {gpu_engine}, on its device"
    else:
        assert caught.value.found == running.obstacle(read_artifact(gpu_engine))
        assert first == "evit-deploy doctor"


def test_an_export_is_no_engine(small_workspace: Path) -> None:
    folder = small_workspace / "export" / "b0-seg"
    with pytest.raises(UsageError, match="is an export, not an engine"), opened(folder, read_artifact(folder)):
        pass
