# SPDX-License-Identifier: Apache-2.0
"""The examination of this machine."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from dataclasses import replace
from importlib import metadata
from pathlib import Path

import pytest

import evit_deploy
from evit_deploy.engines import COMPILERS, doctor
from evit_deploy.engines import openvino as ov_compiler
from evit_deploy.engines.doctor import Check, examine
from evit_deploy.engines.tensorrt import TensorRtCompiler
from evit_deploy.errors import UsageError
from evit_deploy.targets import TARGETS
from evit_deploy.targets.device import Device
from tests.conftest import require
from tests.targets.boards import build_driver, driver_answers


def _checks(workspace: Path) -> dict[str, Check]:
    return {check.name: check for check in examine(workspace).checks}


def test_the_machine_is_described(tmp_path: Path) -> None:
    machine = examine(tmp_path).machine
    assert machine["evit-deploy"] == evit_deploy.__version__
    assert machine["architecture"] == platform.machine()
    assert int(machine["cores"]) >= 1
    assert all(isinstance(value, str) for value in machine.values())


INSTALLED = ("openvino", "onnxruntime", "tensorrt_rtx")
"""Compilers that a machine without a GPU can have; TensorRT is looked at below."""


def test_all_compilers_are_looked_at() -> None:
    assert {*INSTALLED, "tensorrt"} == set(COMPILERS)


@pytest.mark.parametrize("compiler", INSTALLED)
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


ORIN = Device(
    "Orin", "8.7", 8, 65.8, True, "12.6", "NVIDIA Jetson AGX Orin Developer Kit", "36.4.3", "6.2", "30W", False, 1300,
    ((0, "MAXN"), (1, "15W"), (2, "30W"), (3, "50W")),
)  # fmt: skip


@pytest.fixture
def on_an_orin(monkeypatch: pytest.MonkeyPatch) -> None:
    """This machine is an AGX Orin as far as the driver and the board say."""
    monkeypatch.setattr(doctor, "this_device", lambda: ORIN)


def test_a_machine_without_a_gpu_is_a_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "this_device", lambda: None)
    report = examine(tmp_path)
    assert (report.device, report.target, report.compared, report.differences) == (None, "cpu", "cpu", ())
    assert "gpu" not in report.machine


@pytest.mark.usefixtures("on_an_orin")
def test_an_orin_is_recognised_and_compared_with_its_best_state(tmp_path: Path) -> None:
    report = examine(tmp_path)
    assert (report.device, report.target, report.compared) == (ORIN, "orin", "orin")
    assert [row.what for row in report.differences] == ["multiprocessors", "power mode", "clocks"]
    assert not report.blocked
    assert report.machine["gpu"] == "Orin"
    assert report.machine["power mode"] == "30W"
    assert report.machine["board"] == ORIN.board


@pytest.mark.usefixtures("on_an_orin")
def test_an_orin_is_no_a100(tmp_path: Path) -> None:
    report = examine(tmp_path, "a100")
    assert (report.target, report.compared, report.blocked) == ("orin", "a100", True)
    assert report.differences[0].fix == "--target orin"


def test_an_unknown_target_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no target 'orinx'"):
        examine(tmp_path, "orinx")


def test_a_gpu_of_no_target_is_compared_with_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "this_device", lambda: replace(ORIN, gpu="Xavier", compute_capability="7.2"))
    report = examine(tmp_path)
    assert (report.target, report.compared, report.differences) == (None, None, ())


@pytest.mark.usefixtures("on_an_orin")
def test_tensorrt_of_a_jetson_comes_with_apt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evit_deploy.targets.packages.this_device", lambda: ORIN)
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    check = _checks(tmp_path)["tensorrt fp16"]
    assert (check.ok, check.found, check.optional) == (False, "not installed", False)
    assert "apt install python3-libnvinfer" in check.fix
    assert "--system-site-packages" in check.fix


BROKEN = "libnvinfer.so.10: cannot open shared object file: No such file or directory"


@pytest.mark.usefixtures("on_an_orin")
def test_a_tensorrt_that_does_not_import_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where the Python module was installed without its libraries."""
    (tmp_path / "tensorrt.py").write_text(f"raise ImportError({BROKEN!r})")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "tensorrt", raising=False)
    report = examine(tmp_path)
    check = next(check for check in report.checks if check.name == "tensorrt fp16")
    assert (check.ok, check.found) == (False, f"does not import: {BROKEN}")
    assert report.versions["tensorrt"] is None
    assert {row.obstacle for row in report.abilities if row.compiler == "tensorrt"} == {f"does not import: {BROKEN}"}


@pytest.mark.parametrize(
    ("device", "needed"), [(None, {"openvino", "onnxruntime"}), (ORIN, {"tensorrt"})], ids=["cpu", "orin"]
)
def test_what_this_machine_can_do_without_is_optional(
    device: Device | None, needed: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "this_device", lambda: device)
    for name in COMPILERS:
        monkeypatch.setitem(sys.modules, name, None)
    checks = examine(tmp_path).checks
    assert {check.name.split()[0] for check in checks if not check.ok and not check.optional} - {
        "cuda-bindings"
    } == needed
    optional = {check.name for check in checks if check.optional}
    assert {"torch", "onnx", "matplotlib", "Hugging Face"} <= optional
    assert ("cuda-bindings" in optional) == (device is None)


@pytest.mark.usefixtures("on_an_orin")
def test_a_compiler_of_the_target_asked_for_is_not_optional(tmp_path: Path) -> None:
    checks = {check.name: check for check in examine(tmp_path, "rtx").checks}
    assert not checks["tensorrt_rtx fp16"].optional
    assert not checks["tensorrt fp16"].optional
    assert checks["openvino fp32"].optional


@pytest.mark.usefixtures("on_an_orin")
def test_what_tensorrt_builds_here_is_told_target_by_target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TensorRtCompiler, "version", lambda self: "10.3.0")
    monkeypatch.setattr(
        TensorRtCompiler, "obstacle",
        lambda self, precision, target: None if target.name.startswith("orin") else f"no {target.name}",
    )  # fmt: skip
    report = examine(tmp_path)
    check = next(check for check in report.checks if check.name == "tensorrt fp16")
    assert check == Check("tensorrt fp16", True, "10.3.0: builds --target orin or orin-nx or orin-nano --fp16")
    able = {(row.target, row.precision): row.obstacle for row in report.abilities if row.compiler == "tensorrt"}
    assert able["orin", "fp16"] is None
    assert able["a100", "fp32"] == "no a100"
    assert report.versions["tensorrt"] == "10.3.0"


def test_one_reason_for_many_targets_is_told_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TensorRtCompiler, "version", lambda self: "10.3.0")
    monkeypatch.setattr(TensorRtCompiler, "obstacle", lambda self, precision, target: "no GPU here")
    assert _checks(tmp_path)["tensorrt fp32"].found == "10.3.0: no GPU here"


@pytest.mark.parametrize(
    ("version", "driver", "fix"),
    [
        ("12.9.10", "12.6", ""), ("12.9.10", "13.2", ""), ("13.5.0", "13.0", ""),
        ("13.4.4", "12.6", "pip install 'cuda-bindings==12.*'"),
    ],
)  # fmt: skip
def test_bindings_for_a_newer_cuda_than_the_driver_serves(
    version: str, driver: str, fix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What pip takes on JetPack 6: the newest, which is for CUDA 13."""
    monkeypatch.setattr(doctor.metadata, "version", lambda name: version)
    check = doctor._cuda(replace(ORIN, driver=driver))
    assert (check.name, check.ok, check.fix) == ("cuda-bindings", not fix, fix)
    assert version in check.found
    assert doctor._cuda(None).ok


@pytest.mark.parametrize(
    ("sign", "content"),
    [
        ("etc/nv_tegra_release", "# R36 (release), REVISION: 4.3, GCID: 38968081\n"),
        ("proc/driver/nvidia/version", "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15\n"),
    ],
)
def test_a_gpu_that_does_not_answer_is_told(sign: str, content: str, tmp_path: Path) -> None:
    assert list(doctor._gpu(None, tmp_path)) == []
    (tmp_path / sign).parent.mkdir(parents=True)
    (tmp_path / sign).write_text(content)
    (check,) = doctor._gpu(None, tmp_path)
    assert not check.ok
    assert "video,render" in check.fix


@pytest.mark.usefixtures("on_an_orin")
def test_a_gpu_that_answers_is_told(tmp_path: Path) -> None:
    assert _checks(tmp_path)["GPU"] == Check("GPU", True, "Orin, compute capability 8.7, 8 multiprocessors")


def test_missing_bindings_name_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(doctor.metadata, "version", missing)
    assert doctor._cuda(ORIN).fix == "pip install 'evit-deploy[cuda]'"


def test_every_target_and_precision_has_an_ability(tmp_path: Path) -> None:
    found = {(row.compiler, row.target, row.precision) for row in examine(tmp_path).abilities}
    assert found == {
        (compiler, spec.name, precision)
        for spec in TARGETS.values()
        for compiler in spec.compilers
        for precision in spec.precisions
    }


def test_versions_and_room_are_there_for_programs(tmp_path: Path) -> None:
    report = examine(tmp_path)
    assert report.versions["evit-deploy"] == evit_deploy.__version__
    assert report.versions["python"] == platform.python_version()
    assert set(COMPILERS) <= set(report.versions)
    assert report.free_disk > 1_000_000
    assert report.free_memory > 1_000_000


PROGRAM = """
import json, sys
from evit_deploy.cli import doctor
doctor.command(target="orin", json=True)
print([name for name in ("torch", "onnx", "matplotlib") if name in sys.modules], file=sys.stderr)
"""


def test_a_remote_host_can_decide_from_the_json(tmp_path: Path) -> None:
    """The whole way, in a process of its own: a driver's double, JSON on standard output, nothing heavy imported."""
    driver = build_driver(tmp_path)
    room = {**os.environ, **driver_answers("agx_orin_64"), "LD_LIBRARY_PATH": str(driver.parent)}
    answer = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=room, cwd=tmp_path, check=True, capture_output=True, text=True
    )
    assert answer.stderr.strip().endswith("[]")
    data = json.loads(answer.stdout)
    assert data["device"]["gpu"] == "Orin"
    assert data["device"]["compute_capability"] == "8.7"
    assert data["device"]["multiprocessors"] == 8
    assert (data["target"], data["compared"]) == ("orin", "orin")
    assert data["differences"][0]["what"] == "multiprocessors"
    assert set(data["differences"][0]) == {"what", "found", "expected", "fix", "blocks"}
    assert isinstance(data["free_disk"], int)
    assert isinstance(data["free_memory"], int)
    assert data["versions"]["evit-deploy"] == evit_deploy.__version__


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
