# SPDX-License-Identifier: Apache-2.0
"""The GPU at hand and its board, on recorded boards with a driver's double."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from evit_deploy.targets import device as device_module
from evit_deploy.targets import driver, jetson, machine
from evit_deploy.targets.device import Device, free_memory, machine_record, read_device, this_device, with_clocks
from tests.targets.boards import GPUS, build_driver, driver_answers, install, write_tool


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_driver(tmp_path_factory.mktemp("driver"))


@pytest.fixture
def gpu(library: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Puts a GPU of `GPUS` into this process."""
    monkeypatch.setattr(driver, "LIBRARY", str(library))

    def choose(name: str, **changes: Any) -> None:
        for key, value in {
            **driver_answers(name),
            **{f"FAKE_CUDA_{k.upper()}": str(v) for k, v in changes.items()},
        }.items():
            monkeypatch.setenv(key, value)

    return choose


@pytest.fixture
def board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Lays a recorded board out and puts its tools on PATH."""

    def lay_out(record: str) -> Path:
        root, tools = install(record, tmp_path)
        monkeypatch.setenv("PATH", f"{tools}:/usr/bin:/bin")
        return root

    return lay_out


BOARDS = [
    ("r36.4.3_agx_orin_64", "agx_orin_64", "NVIDIA Jetson AGX Orin Developer Kit", "36.4.3", "6.2", "30W", False),
    ("r35.4.1_agx_orin_32", "agx_orin_32", "NVIDIA Jetson AGX Orin Developer Kit", "35.4.1", "5.1.2", "MAXN", True),
    (
        "r36.3.0_agx_orin_64_jetpack_6.0", "agx_orin_64", "NVIDIA Jetson AGX Orin Developer Kit",
        "36.3.0", "6.0", "50W", None,
    ),
    ("r39.2.0_agx_orin_64", "agx_orin_64", "NVIDIA Jetson AGX Orin Developer Kit", "39.2.0", "7.2", "MAXN", True),
    (
        "r36.4.4_orin_nano_8_super", "orin_nano_8", "NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super",
        "36.4.4", "6.2.1", "25W", False,
    ),
    (
        "r36.4.3_orin_nx_16_super", "orin_nx_16", "NVIDIA Jetson Orin NX Engineering Reference Developer Kit Super",
        "36.4.3", "6.2", "MAXN_SUPER", True,
    ),
    ("r38.2.2_thor", "thor", "NVIDIA Jetson AGX Thor Developer Kit", "38.2.2", "7.0", "120W", False),
    ("r36.4.3_container", "orin_nx_16", None, "36.4.3", "6.2", None, None),
]  # fmt: skip


@pytest.mark.parametrize(("record", "chip", "name", "l4t", "jetpack", "mode", "pinned"), BOARDS)
def test_a_board_is_read(
    record: str, chip: str, name: str | None, l4t: str, jetpack: str, mode: str | None, pinned: bool | None,
    gpu: Callable[..., None], board: Callable[[str], Path],
) -> None:  # fmt: skip
    gpu(chip)
    root = board(record)
    found = read_device(root)
    assert found is not None
    assert (found.board, found.l4t, found.jetpack) == (name, l4t, jetpack)
    assert (found.power_mode, found.clocks_pinned) == (mode, None)
    assert with_clocks(found, root) == replace(found, clocks_pinned=pinned)
    facts = GPUS[chip]
    assert found.gpu == facts["name"]
    assert found.compute_capability.replace(".", "") == str(facts["cc"])
    assert found.multiprocessors == facts["sms"]
    assert found.memory_gb == pytest.approx(int(facts["memory"]) / 1e9)
    assert found.integrated


def test_the_modes_of_a_board_are_read_by_name(gpu: Callable[..., None], board: Callable[[str], Path]) -> None:
    gpu("agx_orin_64")
    found = read_device(board("r36.4.3_agx_orin_64"))
    assert found is not None
    assert found.power_modes == ((0, "MAXN"), (1, "15W"), (2, "30W"), (3, "50W"))


def test_a_card_has_no_board(gpu: Callable[..., None], tmp_path: Path) -> None:
    gpu("a100")
    found = read_device(tmp_path)
    assert found == Device("NVIDIA A100-SXM4-80GB", "8.0", 108, 85.1, False, "12.8", clock_mhz=1410)


def test_a_card_in_a_server_is_not_asked_for_power_modes(
    gpu: Callable[..., None], board: Callable[[str], Path]
) -> None:
    gpu("a100")
    root = board("r36.4.3_agx_orin_64")
    (root / "etc/nv_tegra_release").unlink()
    found = read_device(root)
    assert found is not None
    assert (found.board, found.power_mode, found.power_modes) == (None, None, ())
    assert with_clocks(found, root) is found


@pytest.mark.parametrize("changes", [{"init": 100}, {"init": 3}, {"init": 999}])
def test_a_driver_that_refuses_is_no_gpu(changes: dict[str, int], gpu: Callable[..., None], tmp_path: Path) -> None:
    gpu("a100", **changes)
    assert read_device(tmp_path) is None


def test_a_second_gpu_that_is_not_there(gpu: Callable[..., None], tmp_path: Path) -> None:
    gpu("a100")
    assert read_device(tmp_path, index=1) is None


def test_a_machine_without_a_driver_has_no_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver, "LIBRARY", str(tmp_path / "libcuda.so.1"))
    assert read_device(tmp_path) is None
    assert driver.free_device_memory() is None


def test_a_driver_older_than_a_function_is_no_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Old:
        def cuInit(self, flags: int) -> int:  # noqa: N802
            return 0

    monkeypatch.setattr(driver.ctypes, "CDLL", lambda name: Old())
    assert read_device(tmp_path) is None
    assert driver.free_device_memory() is None


def test_a_file_that_is_no_library_is_no_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "libcuda.so.1").write_bytes(b"nothing")
    monkeypatch.setattr(driver, "LIBRARY", str(tmp_path / "libcuda.so.1"))
    assert read_device(tmp_path) is None


def test_this_device_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    monkeypatch.setattr(device_module, "read_device", lambda: calls.append(1))
    this_device.cache_clear()
    assert (this_device(), this_device(), calls) == (None, None, [1])
    this_device.cache_clear()


@pytest.mark.parametrize("script", ["sleep 60", "sleep 60 & wait", "exit 1", "kill -9 $$", "printf '\\377\\376'"])
def test_a_tool_that_fails_or_hangs_is_unknown(
    script: str, gpu: Callable[..., None], board: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jetson, "TIMEOUT", 0.2)
    gpu("orin_nx_16")
    root = board("r36.4.3_container")
    for tool in ("nvpmodel", "jetson_clocks"):
        write_tool(tmp_path / "tools" / tool, script)
    start = time.perf_counter()
    found = read_device(root)
    assert time.perf_counter() - start < 3
    assert found is not None
    assert (found.power_mode, with_clocks(found, root).clocks_pinned) == (None, None)


def test_a_tool_that_may_not_be_run_is_unknown(
    gpu: Callable[..., None], board: Callable[[str], Path], tmp_path: Path
) -> None:
    gpu("orin_nano_8")
    root = board("r36.4.4_orin_nano_8_super")
    (tmp_path / "tools" / "nvpmodel").write_text("not a program")
    found = read_device(root)
    assert found is not None
    assert found.power_mode == "25W", "the file that nvpmodel keeps says it too"


def test_a_robot_waits_for_no_tool(
    gpu: Callable[..., None], board: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file that nvpmodel keeps comes first: a tool that hangs would cost seconds, and change a build's key."""
    gpu("agx_orin_64")
    root = board("r36.4.3_agx_orin_64")
    (root / "var/lib/nvpmodel").mkdir(parents=True)
    (root / "var/lib/nvpmodel/status").write_text("pmode:0003 fmode:quiet\n")
    monkeypatch.setattr(jetson, "_output", lambda *command: pytest.fail(f"{command} was run"))
    found = read_device(root)
    assert found is not None
    assert found.power_mode == "50W"


@pytest.mark.parametrize("status", ["", "pmode:0009", "fmode:quiet"])
def test_a_status_that_says_nothing_leaves_it_to_the_tool(
    status: str, gpu: Callable[..., None], board: Callable[[str], Path]
) -> None:
    gpu("agx_orin_64")
    root = board("r36.4.3_agx_orin_64")
    (root / "var/lib/nvpmodel").mkdir(parents=True)
    (root / "var/lib/nvpmodel/status").write_text(status)
    found = read_device(root)
    assert found is not None
    assert found.power_mode == "30W"


def test_files_that_cannot_be_read_are_unknown(gpu: Callable[..., None], board: Callable[[str], Path]) -> None:
    gpu("agx_orin_64")
    root = board("r36.4.3_container")
    (root / "etc/nv_tegra_release").write_bytes(b"\xff\xfe# R99")
    (root / "etc/nvpmodel.conf").mkdir()
    (root / "proc/device-tree/model").mkdir(parents=True)
    (root / "sys/class/devfreq/17000000.gpu").mkdir(parents=True)
    found = read_device(root)
    assert found is not None
    assert (found.board, found.l4t, found.jetpack, found.power_mode) == (None, None, None, None)
    assert (with_clocks(found, root).clocks_pinned, found.power_modes) == (None, ())


def test_the_record_of_a_device_leaves_out_what_is_unknown() -> None:
    full = Device("Orin", "8.7", 16, 64.0, True, "12.6", "AGX Orin", "36.4.3", "6.2", "MAXN", True)
    assert machine_record(full) == {
        "gpu": "Orin",
        "compute capability": "8.7",
        "multiprocessors": "16",
        "power mode": "MAXN",
        "jetpack": "6.2",
        "l4t": "36.4.3",
        "driver": "12.6",
        "board": "AGX Orin",
    }
    card = Device("NVIDIA A100", "8.0", 108, 80.0, False, "12.8")
    assert set(machine_record(card)) == {"gpu", "compute capability", "multiprocessors", "driver"}


def test_free_memory_of_a_jetson_is_what_linux_can_free(gpu: Callable[..., None], board: Callable[[str], Path]) -> None:
    gpu("agx_orin_64", free=123)
    root = board("r36.4.3_agx_orin_64")
    assert free_memory(read_device(root), root) == 58110200 * 1024


def test_free_memory_of_a_card_is_its_own(gpu: Callable[..., None], tmp_path: Path) -> None:
    gpu("a100", free=79_000_000_000)
    found = read_device(tmp_path)
    assert free_memory(found, tmp_path) == 79_000_000_000
    assert free_memory(found, tmp_path) == 79_000_000_000, "the context was given back"


def test_free_memory_of_this_cpu_is_told() -> None:
    free = free_memory(None)
    assert free is not None
    assert 0 < free <= os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


@pytest.mark.parametrize("text", ["", "MemTotal: 5 kB\n", None])
def test_free_memory_that_nobody_tells_is_unknown(text: str | None, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / "proc").mkdir()
        (tmp_path / "proc/meminfo").write_text(text)
    assert free_memory(None, tmp_path) is None


def test_the_compute_capability_is_that_of_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "this_device", lambda: None)
    assert machine.gpu_compute_capability() is None
    monkeypatch.setattr(machine, "this_device", lambda: Device("NVIDIA A100", "8.0", 108, 80.0, False, "12.8"))
    assert machine.gpu_compute_capability() == "8.0"


@pytest.mark.gpu
def test_a_real_gpu_is_read() -> None:
    found = read_device()
    if found is None:
        pytest.skip("needs an NVIDIA GPU")
    assert found.gpu
    assert float(found.compute_capability) >= 5.0
    assert found.multiprocessors >= 1
    assert found.memory_gb > 1
    assert float(found.driver) >= 11.0
    assert 0 < free_memory(found) <= found.memory_gb * 1e9
