# SPDX-License-Identifier: Apache-2.0
"""Which source is taken on which machine, and what `doctor` says about it."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from evit_deploy.profiles.power import Source, find_source, measure_power, obstacles, sources, survey
from evit_deploy.profiles.power.checks import power_checks
from evit_deploy.profiles.power.source import Obstacle
from tests.profiles.power import machines
from tests.profiles.power.test_tegrastats import RECORDED
from tests.targets.boards import write_tool

TEGRASTATS = f"""
while :; do
    while read -r line; do echo "$line"; sleep 0.1; done < "{RECORDED}/r36.4_orin_nx.txt"
done
"""


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine without tools and GPUs: the folder of its tools."""
    monkeypatch.setattr(survey, "find_nvml", lambda: None)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}/bin{os.pathsep}/usr/bin")
    return tmp_path


def test_a_bare_machine(root: Path) -> None:
    assert (sources(root), obstacles(root), find_source("cpu", root), find_source("gpu", root)) == ([], [], None, None)
    (check,) = power_checks(root)
    assert (check.ok, check.optional) == (False, True)
    assert check.found.startswith("nothing here tells it")


def test_a_jetson_is_read_from_its_monitors_before_its_tool(root: Path, bare: Path) -> None:
    machines.agx_orin(root)
    write_tool(bare / "tegrastats", TEGRASTATS)
    assert [source.name for source in sources(root)] == ["INA3221", "tegrastats"]
    assert find_source("gpu", root).name == find_source("cpu", root).name == "INA3221"


def test_a_jetson_whose_monitors_are_hidden_is_read_by_its_tool(root: Path, bare: Path) -> None:
    write_tool(bare / "tegrastats", TEGRASTATS)
    assert find_source("gpu", root).name == "tegrastats"


def test_work_on_the_cpu_is_not_measured_at_the_gpu(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machines.rapl(root)
    card = Source("NVML, a card", frozenset({"gpu"}), 0.1, lambda: None, lambda names: None)
    monkeypatch.setattr(survey, "find_nvml", lambda: card)
    assert find_source("gpu", root) is card
    assert find_source("cpu", root).name == "RAPL"


def test_doctor_says_what_is_measured_and_what_is_in_the_way(root: Path, as_user) -> None:
    machines.agx_orin(root)
    for path in machines.rapl(root).glob("*/energy_uj"):
        path.chmod(0o400)
    with as_user():
        good, bad = power_checks(root)
    assert good.ok
    assert good.found == "INA3221: measures work on the CPU and GPU"
    assert (bad.ok, bad.optional) == (False, True)
    assert bad.found == "RAPL: only root may read the processor's energy counters"
    assert "sudo chmod" in bad.fix


def test_a_source_that_cannot_be_read_is_not_taken(root: Path, as_user) -> None:
    for path in machines.orin_nano(root).glob("*_input"):
        path.chmod(0o400)
    with as_user():
        assert find_source("gpu", root) is None
        assert [item.source for item in obstacles(root)] == ["INA3221"]


def test_only_what_would_help_is_named(root: Path, as_user, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in machines.rapl(root).glob("*/energy_uj"):
        path.chmod(0o400)
    card = Obstacle("NVML", frozenset({"gpu"}), "a package is missing", "install it")
    monkeypatch.setattr(survey, "find_nvml", lambda: card)
    with as_user():
        assert [item.source for item in obstacles(root)] == ["NVML", "RAPL"]
        assert obstacles(root, "gpu") == [card]
        assert [item.source for item in obstacles(root, "cpu")] == ["RAPL"]


def test_power_of_a_loop_on_a_fake_board(root: Path) -> None:
    """The monitors of a tree of files: constant power, so that energy is power times time."""
    machines.orin_nano(root)
    machines.heat(root, tj=61_000)
    record = measure_power(lambda: time.sleep(0.01), seconds=2.5, source=find_source("gpu", root))
    assert record.total_w == pytest.approx(12.0)
    assert record.energy_mj == pytest.approx(12.0 * record.seconds / record.frames * 1e3, rel=0.05)
    assert record.source == "INA3221"
    assert record.temperatures == {"tj-thermal": 61.0}
    assert not record.notes


def test_power_of_a_loop_by_a_fake_tegrastats(root: Path, bare: Path) -> None:
    write_tool(bare / "tegrastats", TEGRASTATS)
    record = measure_power(lambda: time.sleep(0.01), seconds=2.5, source=find_source("gpu", root))
    assert record.total_w == pytest.approx(17.66, abs=0.1)
    assert record.total_is == "module input"
    assert record.temperatures["tj"] == 59.062
