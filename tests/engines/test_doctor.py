# SPDX-License-Identifier: Apache-2.0
"""The examination of this machine."""

from __future__ import annotations

import platform
import sys
from importlib import metadata
from pathlib import Path

import pytest

import evit_deploy
from evit_deploy.engines import COMPILERS, doctor
from evit_deploy.engines import openvino as ov_compiler
from evit_deploy.engines.doctor import Check, examine
from evit_deploy.targets import TARGETS
from tests.conftest import require


def _checks(workspace: Path) -> dict[str, Check]:
    return {check.name: check for check in examine(workspace).checks}


def test_the_machine_is_described(tmp_path: Path) -> None:
    machine = examine(tmp_path).machine
    assert machine["evit-deploy"] == evit_deploy.__version__
    assert machine["architecture"] == platform.machine()
    assert int(machine["cores"]) >= 1
    assert all(isinstance(value, str) for value in machine.values())


@pytest.mark.parametrize("compiler", COMPILERS)
def test_every_compiler_and_precision_is_looked_at(compiler: str, tmp_path: Path) -> None:
    require(compiler)
    checks = _checks(tmp_path)
    assert checks[f"{compiler} fp32"].ok
    assert metadata.version(compiler) in checks[f"{compiler} fp32"].found
    for spec in TARGETS.values():
        for precision in spec.precisions if compiler in spec.compilers else ():
            check = checks[f"{compiler} {precision}"]
            assert f"--target {spec.name} --{precision}" in check.found or not check.ok


def test_the_architectures_are_told(tmp_path: Path) -> None:
    require("tensorrt_rtx")
    checks = _checks(tmp_path)
    assert checks["tensorrt_rtx fp16"].found.endswith("--target rtx --fp16 --arch sm75|sm80|sm86|sm89|sm120|sm121")
    assert "--arch" not in checks["openvino fp32"].found


def test_a_cpu_without_bf16_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ov_compiler, "_capabilities", lambda: ["FP32"])
    check = _checks(tmp_path)["openvino bf16"]
    assert not check.ok
    assert "no BF16 instructions" in check.found


@pytest.mark.parametrize(("name", "extra"), [("openvino", "openvino"), ("tensorrt_rtx", "rtx")])
def test_a_missing_compiler_names_the_extra(
    name: str, extra: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    check = _checks(tmp_path)[f"{name} fp32"]
    assert (check.ok, check.found) == (False, "not installed")
    assert check.fix == f"pip install 'evit-deploy[{extra}]'"


def test_a_missing_package_names_the_extra() -> None:
    check = doctor._package(("no-such-package",), "report", "HTML reports")
    assert check == Check("no-such-package", False, "not installed: HTML reports", "pip install 'evit-deploy[report]'")


def test_a_package_under_another_name_counts() -> None:
    check = doctor._package(("no-such-package", "numpy"), "images", "arrays")
    assert check == Check("numpy", True, f"{metadata.version('numpy')}: arrays")


def test_the_packages_are_those_of_the_extras() -> None:
    extras = metadata.metadata("evit-deploy").get_all("Provides-Extra")
    assert {extra for _, extra, _ in doctor._PACKAGES} <= set(extras)


def test_a_writable_workspace(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "new", tmp_path / "made" / "when" / "needed"):
        check = _checks(folder)["workspace"]
        assert check.ok
        assert str(folder) in check.found
        assert "GB free" in check.found


@pytest.mark.parametrize("place", ["file", "file/below"])
def test_a_workspace_that_cannot_be_written(place: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    check = _checks(tmp_path / place)["workspace"]
    assert not check.ok
    assert "cannot be written" in check.found
    assert "--workspace" in check.fix


@pytest.mark.parametrize(("value", "ok"), [("1", False), ("true", False), ("ON", False), ("0", True), ("", True)])
def test_offline_mode_is_seen(value: str, ok: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", value)
    check = _checks(tmp_path)["Hugging Face"]
    assert check.ok == ok
    assert ("HF_HUB_OFFLINE" in check.found) != ok


def test_the_endpoint_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setenv("HF_ENDPOINT", "https://mirror.example")
    assert "https://mirror.example" in _checks(tmp_path)["Hugging Face"].found
