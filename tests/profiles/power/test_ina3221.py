# SPDX-License-Identifier: Apache-2.0
"""A Jetson's own monitors: every form in which releases show them, and what cannot be read."""

from __future__ import annotations

from pathlib import Path

import pytest

from evit_deploy.profiles.power.ina3221 import find_ina3221
from evit_deploy.profiles.power.source import Obstacle, Source
from tests.profiles.power import machines

BOARDS = {
    "agx_orin": (
        {"VDD_GPU_SOC": 28.5, "VDD_CPU_CV": 3.8, "VIN_SYS_5V0": 6.0, "VDDQ_VDD2_1V8AO": 1.5}, 38.3,
        "sum of rails, an estimate",
    ),
    "orin_nano": ({"VDD_IN": 12.0, "VDD_CPU_GPU_CV": 5.5, "VDD_SOC": 2.0}, 12.0, "module input"),
    "thor": (
        {"VDD_GPU": 18.0, "VDD_CPU_SOC_MSS": 8.4, "VIN_SYS_5V0": 7.5, "VIN": 41.5}, 41.5,
        "input of module and carrier board",
    ),
    "xavier_nx": ({"VDD_IN": 4.8, "VDD_CPU_GPU_CV": 1.6}, 4.8, "module input"),
}  # fmt: skip
"""Every rail, the total in W, and what it is."""


@pytest.mark.parametrize("board", BOARDS)
def test_the_rails_of_a_board(board: str, root: Path) -> None:
    rails, total_w, words = BOARDS[board]
    getattr(machines, board)(root)
    machines.heat(root, gpu=54_500, cpu=51_000)
    source = find_ina3221(root)
    assert isinstance(source, Source)
    with source.open() as reader:
        first, second = reader.read(), reader.read()
    assert first.watts == rails
    assert sorted(first.temperatures.values()) == [51.0, 54.5]
    assert second.time - first.time >= source.interval * 0.9
    total = source.total(first.watts)
    assert (sum(rails[name] for name in total.rails), total.words) == (pytest.approx(total_w), words)
    assert source.serves == {"gpu", "cpu"}


def test_what_is_left_out_of_a_sum_is_said(root: Path) -> None:
    machines.agx_orin(root)
    source = find_ina3221(root)
    assert source.total(BOARDS["agx_orin"][0]).notes == (
        "VDDQ_VDD2_1V8AO is left out of the total: VIN_SYS_5V0 feeds it.",
    )


def test_a_machine_without_monitors(root: Path) -> None:
    assert find_ina3221(root) is None
    machines.write(root, "sys/class/hwmon/hwmon0", {"name": "k10temp", "temp1_input": 40000})
    assert find_ina3221(root) is None


def test_a_channel_that_is_switched_off_is_no_rail(root: Path) -> None:
    (machines.orin_nano(root) / "in3_input").unlink()
    with find_ina3221(root).open() as reader:
        assert {*reader.read().watts} == {"VDD_IN", "VDD_CPU_GPU_CV"}


@pytest.mark.parametrize("content", ["", "N/A", "12.5", "\xff"])
def test_a_channel_with_nonsense_is_no_rail(root: Path, content: str) -> None:
    (machines.orin_nano(root) / "in3_input").write_bytes(content.encode("latin-1"))
    with find_ina3221(root).open() as reader:
        assert {*reader.read().watts} == {"VDD_IN", "VDD_CPU_GPU_CV"}


def test_no_right_to_read_is_an_obstacle_with_a_way_out(root: Path, as_user) -> None:
    folder = machines.orin_nano(root)
    for path in folder.glob("*_input"):
        path.chmod(0o400)
    with as_user():
        found = find_ina3221(root)
    assert isinstance(found, Obstacle)
    assert found.what == "this user may not read VDD_IN, VDD_CPU_GPU_CV, VDD_SOC"
    assert "sudo chmod" in found.fix


def test_rails_that_may_be_read_are_a_part_and_said_to_be(root: Path, as_user) -> None:
    (machines.agx_orin(root).parent / "hwmon3/curr1_input").chmod(0o400)
    with as_user():
        source = find_ina3221(root)
    assert isinstance(source, Source)
    with source.open() as reader:
        total = source.total(reader.read().watts)
    assert total.rails == ("VDD_CPU_CV", "VIN_SYS_5V0")
    assert total.words == "sum of the rails that could be read, without VDD_GPU_SOC"
    assert "The total is too low: VDD_GPU_SOC could not be read." in total.notes


def test_an_input_that_may_be_read_needs_no_other_rail(root: Path, as_user) -> None:
    (machines.orin_nano(root) / "curr2_input").chmod(0o400)
    with as_user():
        source = find_ina3221(root)
    assert source.total(["VDD_IN", "VDD_SOC"]).words == "module input"


def test_a_monitor_that_goes_away_ends_the_measurement(root: Path) -> None:
    folder = machines.orin_nano(root)
    with pytest.raises(OSError), find_ina3221(root).open() as reader:
        reader.read()
        (folder / "in1_input").unlink()
        reader.read()
