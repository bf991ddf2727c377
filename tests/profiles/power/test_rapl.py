# SPDX-License-Identifier: Apache-2.0
"""RAPL: zones that must not be counted twice, counters that wrap, and rights."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evit_deploy.profiles.power.counter import Counter
from evit_deploy.profiles.power.rapl import find_rapl
from evit_deploy.profiles.power.source import Obstacle, Source
from tests.profiles.power import machines


def test_packages_and_memory_make_the_total(root: Path) -> None:
    machines.rapl(root)
    source = find_rapl(root)
    assert isinstance(source, Source)
    with source.open() as reader:
        names = {*reader.read().watts}
    assert names == {
        "package-0", "package-0/core", "package-0/dram", "package-1", "package-1/core", "package-1/dram", "psys",
    }  # fmt: skip
    total = source.total(sorted(names))
    assert {*total.rails} == {"package-0", "package-1", "package-0/dram", "package-1/dram"}
    assert total.words == "processor package and memory"
    assert source.serves == {"cpu"}


def test_a_processor_without_a_counter_for_memory(root: Path) -> None:
    files = {"name": "package-0", "energy_uj": 5, "max_energy_range_uj": 65_532_610_987}
    machines.write(root, "sys/class/powercap/intel-rapl:0", files)
    source = find_rapl(root)
    assert source.total(["package-0"]).words == "processor package"


def test_energy_becomes_power(root: Path) -> None:
    counter = machines.rapl(root) / "intel-rapl:0/energy_uj"
    with find_rapl(root).open() as reader:
        times = [time.perf_counter()]
        reader.read()
        times.append(time.perf_counter())
        counter.write_text("7000000")
        times.append(time.perf_counter())
        watts = reader.read().watts["package-0"]
        times.append(time.perf_counter())
        assert 6 / (times[3] - times[0]) <= watts <= 6 / (times[2] - times[1])
        counter.write_text("500000")  # it wrapped
        assert reader.read().watts["package-0"] > 0


@given(
    st.lists(st.floats(0, 50), min_size=1, max_size=20),
    st.floats(0, 100, exclude_max=True),
    st.floats(100, 1000),
)
def test_a_counter_that_wraps_loses_nothing(steps: list[float], first: float, largest: float) -> None:
    """Time runs as it may: power times the time since the reading before is the energy, whatever the time was."""
    level = first
    clock = iter(range(100))
    counter = Counter(lambda: level % largest, largest, now=lambda: next(clock))
    for step in steps:
        level += step
        assert counter.watts() == pytest.approx(step, abs=1e-6)


def test_no_right_to_read_is_an_obstacle_with_a_way_out(root: Path, as_user) -> None:
    for path in machines.rapl(root).glob("*/energy_uj"):
        path.chmod(0o400)
    with as_user():
        found = find_rapl(root)
    assert isinstance(found, Obstacle)
    assert "root" in found.what
    assert "sudo chmod a+r" in found.fix


def test_a_machine_without_counters(root: Path) -> None:
    assert find_rapl(root) is None
    machines.write(root, "sys/class/powercap/intel-rapl", {"enabled": 0})
    assert find_rapl(root) is None
