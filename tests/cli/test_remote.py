# SPDX-License-Identifier: Apache-2.0
"""``build --remote`` as a user types it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from evit_deploy.manifest import read_artifact
from tests.cli.conftest import Program
from tests.conftest import require
from tests.devices import Device, Fleet, device, fleet, free_port, wait_until
from tests.manifest.sample import entries, snapshot

__all__ = ["device", "fleet"]

BUILD = ("build", "b0-seg", "--target", "rtx", "--arch", "sm80", "--fp16")


@pytest.fixture
def workspace(small_workspace: Path, tmp_path: Path) -> Path:
    """The test's folder, holding the small export."""
    require("tensorrt_rtx")
    shutil.copytree(small_workspace / "export", tmp_path / "export")
    return tmp_path


def test_two_devices_one_of_them_down(device: Device, fleet: Fleet, evit: Program, workspace: Path) -> None:
    fleet.point("orin-b", free_port())
    answer = evit(*BUILD, "--remote", "orin-a", "--remote", "orin-b")
    assert answer.code == 3
    assert "orin-b: no SSH server answers there" in answer.err
    assert "orin-a: compile with tensorrt_rtx" in answer.err
    (name,) = [name for name in entries(workspace / "engines") if "orin-a" in name]
    manifest = read_artifact(workspace / "engines" / name)
    assert manifest.engine is not None
    assert manifest.engine.state == "compiled"
    assert f"engines/{name}  by tensorrt_rtx" in answer.out
    assert not [name for name in entries(workspace / "engines") if "orin-b" in name]
    before = snapshot(workspace / "engines")
    again = evit(*BUILD, "--remote", "orin-a", "--json")
    assert again.code == 0, again.err
    (data,) = json.loads(again.out)
    assert data["key"] == manifest.key
    assert snapshot(workspace / "engines") == before


def test_a_refusal_is_said_once(device: Device, evit: Program, workspace: Path) -> None:
    (device.home / "bin" / "evit-deploy").unlink()
    answer = evit(*BUILD, "--remote", "orin-a")
    assert answer.code == 3
    assert answer.message.count("orin-a: evit-deploy is not installed there") == 1
    assert "--install" in answer.message
    assert "Traceback" not in answer.err
    assert not device.store.exists()


def test_ctrl_c(device: Device, workspace: Path) -> None:
    command = [sys.executable, "-m", "evit_deploy.cli.main", *BUILD, "--remote", "orin-a"]
    with subprocess.Popen(
        command, cwd=workspace, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    ) as process:
        wait_until(device.workers, 120)
        os.killpg(process.pid, signal.SIGINT)
        output, _ = process.communicate(timeout=30)
    assert process.returncode == 130, output
    assert "Traceback" not in output
    wait_until(lambda: not device.workers() and not device.agents(), 5)
    assert device.left() == []
    assert not [name for name in entries(workspace / "engines") if "orin-a" in name or ".tmp-" in name]


def test_the_agent_is_not_for_people(evit: Program) -> None:
    assert "agent" not in evit("--help").out
