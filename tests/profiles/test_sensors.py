# SPDX-License-Identifier: Apache-2.0
"""Temperatures, clocks and other load, from files in the forms that Linux writes; and nothing where there are none."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from evit_deploy.profiles import environment as environment_module
from evit_deploy.profiles import sensors
from evit_deploy.profiles.environment import device_entries, nvidia_driver
from evit_deploy.profiles.latency import Subject, measure_together
from evit_deploy.profiles.sensors import Clock, Watch, clocks, temperatures
from evit_deploy.targets.device import Device


def write(root: Path, **files: str) -> None:
    for path, text in files.items():
        place = root / path.replace("__", "/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)


@pytest.fixture
def board(tmp_path: Path) -> Path:
    """A Jetson's files, as of R36."""
    zones = {"cpu-thermal": "45312\n", "gpu-thermal": "44000", "cv0-thermal": "-256000", "": "30000", "odd": "warm"}
    for number, (name, value) in enumerate(zones.items()):
        folder = tmp_path / f"sys/class/thermal/thermal_zone{number}"
        folder.mkdir(parents=True)
        (folder / "type").write_text(name + "\n")
        (folder / "temp").write_text(value)
    second = tmp_path / "sys/class/thermal/thermal_zone9"
    second.mkdir()
    write(second, type="gpu-thermal\n", temp="47500")
    for number, now in enumerate(("1190400", "2201600")):
        policy = tmp_path / f"sys/devices/system/cpu/cpufreq/policy{4 * number}"
        policy.mkdir(parents=True)
        write(policy, scaling_cur_freq=now, cpuinfo_max_freq="2201600\n")
    gpu = tmp_path / "sys/class/devfreq/17000000.gpu"
    gpu.mkdir(parents=True)
    write(gpu, cur_freq="612000000\n", max_freq="1300500000", min_freq="306000000")
    return tmp_path


def test_a_jetson(board: Path) -> None:
    assert temperatures(board) == {"cpu-thermal": 45.312, "gpu-thermal": 47.5}
    assert clocks(board) == {"CPU": Clock(2201.6, 2201.6), "GPU": Clock(612.0, 1300.5)}


def test_a_machine_without_cpufreq(tmp_path: Path) -> None:
    write(tmp_path, proc__cpuinfo="processor : 0\ncpu MHz\t\t: 2596.128\nprocessor : 1\ncpu MHz\t\t: 3000.5\n")
    assert clocks(tmp_path) == {"CPU": Clock(3000.5)}


def test_a_machine_that_says_nothing(tmp_path: Path) -> None:
    assert temperatures(tmp_path) == {}
    assert clocks(tmp_path) == {}
    watch = Watch(tmp_path)
    watch.look()
    assert watch.entries() == {}


@pytest.mark.parametrize("text", ["", "cpu", "cpu  one two three 4 5 6 7", "intr 5"])
def test_a_strange_stat(tmp_path: Path, text: str) -> None:
    write(tmp_path, proc__stat=text)
    assert Watch(tmp_path).other_load() is None


def test_what_was_seen_from_beginning_to_end(board: Path) -> None:
    watch = Watch(board)
    rounds = []
    write(board, sys__class__devfreq__17000000_gpu="")  # a file where nothing is expected
    (board / "sys/class/thermal/thermal_zone0/temp").write_text("61000")
    (board / "sys/class/devfreq/17000000.gpu/cur_freq").write_text("1300500000")
    watch.beside(lambda: rounds.append(1))()
    assert rounds == [1]
    assert watch.entries() == {
        "temperature of cpu-thermal": "45.3 to 61.0 °C while measured",
        "temperature of gpu-thermal": "47.5 °C while measured",
        "CPU clock": "2202 MHz while measured, at most 2202",
        "GPU clock": "612 to 1300 MHz while measured, at most 1300",
    }


def test_other_load_is_that_of_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = os.sysconf("SC_CLK_TCK")
    own = iter([10.0, 12.0])
    monkeypatch.setattr(sensors, "_own_seconds", lambda: next(own))
    monkeypatch.setattr(sensors.time, "perf_counter", iter([100.0, 104.0]).__next__)
    write(tmp_path, proc__stat=f"cpu  {1 * ticks} 0 {1 * ticks} 500 7 0 0 0 0 0\n")
    watch = Watch(tmp_path)
    write(tmp_path, proc__stat=f"cpu  {9 * ticks} 0 {1 * ticks} 900 7 1 1 0 0 0\n")
    # 8 s of all cores and 2 ticks, 2 s of them this process's, in 4 s
    assert watch.other_load() == pytest.approx((8 + 2 / ticks - 2) / 4)


@pytest.mark.skipif(not Path("/proc/stat").exists(), reason="no /proc")
def test_this_process_is_no_other_load(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it spends itself is taken from what all spend, however much the others do."""
    watch, start, began = Watch(), time.process_time(), time.perf_counter()
    while time.process_time() - start < 0.4:
        pass
    own = (time.process_time() - start) / (time.perf_counter() - began)
    others = watch.other_load()
    monkeypatch.setattr(sensors, "_own_seconds", lambda: watch._began[2])  # as if it had spent nothing
    everything = watch.other_load()
    assert everything - others > 0.5 * own
    assert "other load" in watch.entries()


ORIN = Device("Orin", "8.7", 8, 64.0, True, "12.6", board="AGX Orin", l4t="36.4.3", jetpack="6.2", power_mode="30W",
              clocks_pinned=False, clock_mhz=612)  # fmt: skip


def test_a_devices_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment_module, "nvidia_driver", lambda: "540.4.0")
    found = device_entries(ORIN)
    assert (found["power mode"], found["multiprocessors"], found["clocks"]) == ("30W", "8", "free to change")
    assert (found["driver"], found["driver serves"], found["highest GPU clock"]) == ("540.4.0", "CUDA 12.6", "612 MHz")
    assert (found["jetpack"], found["l4t"], found["board"]) == ("6.2", "36.4.3", "AGX Orin")
    assert device_entries(None) == {}


@pytest.mark.parametrize(
    ("text", "version"),
    [
        (
            "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar  5 22:23:56 UTC 2024\nGCC 12",
            "550.54.15",
        ),
        ("NVRM version: NVIDIA UNIX Open Kernel Module for aarch64  540.4.0  Release Build  (buildbrain)", "540.4.0"),
        ("nothing", None),
    ],
)
def test_the_drivers_version(tmp_path: Path, text: str, version: str | None) -> None:
    (tmp_path / "version").write_text(text)
    assert nvidia_driver(tmp_path / "version") == version
    assert nvidia_driver(tmp_path / "missing") is None


PAIRS, DEAREST = 20, 1.015


def cost(board: Path, more: int = 0) -> float:
    """How much longer native work takes, as an engine does it, while a watch looks: the median over pairs of runs.

    Each pair is of two short runs, one after the other and in turning order, so that both meet the same machine.
    `more` is extra work, in bytes of 500 000, of the run with a watch.
    """

    def median(watched: bool) -> float:
        data = bytes(500_000 + (more if watched else 0))
        advance = Watch(board).beside(lambda: None) if watched else (lambda: None)
        subject = Subject("work", lambda: hashlib.sha256(data).digest(), 60)
        return measure_together([subject], advance, warm_up_seconds=0.0)[0].p50

    ratios = []
    for pair in range(PAIRS):
        found = {watched: median(watched) for watched in ((True, False) if pair % 2 else (False, True))}
        ratios.append(found[True] / found[False])
    return float(np.median(ratios))


def test_looking_costs_little_of_what_is_measured(board: Path) -> None:
    """Others may use the machine, so a second series decides where the first says otherwise."""
    assert cost(board) < DEAREST or cost(board) < DEAREST


def test_what_costs_a_twentieth_would_be_seen(board: Path) -> None:
    assert max(cost(board, 25_000), cost(board, 25_000)) > DEAREST


def test_nothing_runs_beside_the_timed_calls() -> None:
    before = threading.active_count()
    seen: list[int] = []
    watch = Watch()
    measure_together([Subject("x", lambda: seen.append(threading.active_count()), 40)], watch.beside(lambda: None),
                     warm_up_seconds=0.0)  # fmt: skip
    assert set(seen) == {before}
