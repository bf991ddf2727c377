# SPDX-License-Identifier: Apache-2.0
"""tegrastats: every form of its lines, and a tool that hangs, dies, prints nonsense or will not go."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evit_deploy.profiles.power import tegrastats
from evit_deploy.profiles.power.rails import jetson_total
from evit_deploy.profiles.power.source import Obstacle, Source
from evit_deploy.profiles.power.tegrastats import find_tegrastats, parse_line
from tests.targets.boards import write_tool

RECORDED = Path(__file__).with_name("recorded")

SUM = "sum of rails, an estimate"
BOARDS = {
    "r32.4_nano": ({"POM_5V_IN": 6.75, "POM_5V_GPU": 2.44, "POM_5V_CPU": 1.366}, 6.75, "board input, 5 V", ("GPU", 38)),
    "r32.7_agx_xavier": (
        {"GPU": 9.467, "CPU": 1.467, "SOC": 2.245, "CV": 0.0, "VDDRQ": 1.311, "SYS5V": 3.268}, 17.758, SUM, ("GPU", 40),
    ),
    "r35.4_agx_orin": (
        {"VDD_GPU_SOC": 15.937, "VDD_CPU_CV": 2.788, "VIN_SYS_5V0": 5.449, "VDDQ_VDD2_1V8AO": 1.715}, 24.174, SUM,
        ("tj", 51.125),
    ),
    "r36.4_agx_orin": (
        {"VDD_GPU_SOC": 33.15, "VDD_CPU_CV": 4.312, "VIN_SYS_5V0": 6.968, "VDDQ_VDD2_1V8AO": 2.091}, 44.43, SUM,
        ("tj", 57.281),
    ),
    "r36.4_orin_nx": (
        {"VDD_IN": 17.673, "VDD_CPU_GPU_CV": 9.05, "VDD_SOC": 3.121}, 17.673, "module input", ("tj", 56.812),
    ),
    "r36.4_orin_nano": (
        {"VDD_IN": 13.541, "VDD_CPU_GPU_CV": 6.521, "VDD_SOC": 2.446}, 13.541, "module input", ("tj", 54),
    ),
    "r36.4_carrier_without_monitor": ({}, 0, SUM, ("gpu", 57.375)),
    "r38.2_thor": (
        {"VDD_GPU": 18.392, "VDD_CPU_SOC_MSS": 7.924, "VIN_SYS_5V0": 7.486, "VIN": 41.486}, 41.486,
        "input of module and carrier board", ("tj", 45.218),
    ),
    "r39.2_thor": (
        {"VDD_GPU": 41.173, "VDD_CPU_SOC_MSS": 21.214, "VIN_SYS_5V0": 13.107, "VIN": 102.914}, 102.914,
        "input of module and carrier board", ("tj", 63.375),
    ),
}  # fmt: skip
"""Of each first line: every rail, the total in W and what it is, one of the temperatures."""


def lines(board: str) -> list[str]:
    return (RECORDED / f"{board}.txt").read_text(encoding="ascii").splitlines()


def test_every_recorded_board_is_tested() -> None:
    assert {path.stem for path in RECORDED.glob("*.txt")} == {*BOARDS}


@pytest.mark.parametrize("board", BOARDS)
def test_the_rails_and_temperatures_of_a_line(board: str) -> None:
    rails, total_w, words, (sensor, celsius) = BOARDS[board]
    found, temperatures = parse_line(lines(board)[0])
    assert found == rails
    assert temperatures[sensor] == celsius
    assert min(temperatures.values()) > 0  # none of the sensors that are switched off
    total = jetson_total(found)
    assert total.words == words
    assert sum(found[name] for name in total.rails) == pytest.approx(total_w)


def test_a_rail_may_be_below_zero() -> None:
    """Thor's GPU at rest: the monitor's offset is larger than what flows."""
    assert parse_line(lines("r38.2_thor")[2])[0]["VDD_GPU"] == -0.392


@pytest.mark.parametrize(
    ("text", "rails"),
    [
        ("VDD_IN 5012mW", {"VDD_IN": 5.012}),
        ("VDD_IN\t5012mW/4000mW", {"VDD_IN": 5.012}),
        ("VDD_IN 5012mW/4000mW/9000mW/1mW", {"VDD_IN": 5.012}),
        ("RAM 1/2MB IRAM 0/252kB(lfb 252kB) APE 174 VIC_FREQ 115 EMC_FREQ 0% NC 0mW/0mW", {}),
        ("VDD_IN 5012mWh VDD_SOC 12mW/", {}),
        ("VDD_IN mW/mW VDD_SOC /", {}),
        ("", {}),
    ],
)
def test_odd_tokens(text: str, rails: dict[str, float]) -> None:
    assert parse_line(text)[0] == rails


@given(st.text())
def test_no_text_makes_the_parser_fail(text: str) -> None:
    parse_line(text)


@given(st.sampled_from([line for board in BOARDS for line in lines(board)]), st.integers(0, 1000))
def test_what_is_left_of_a_line_cut_short_is_right(line: str, length: int) -> None:
    rails, temperatures = parse_line(line)
    some_rails, some_temperatures = parse_line(line[:length])
    assert some_rails.items() <= rails.items()
    assert some_temperatures.items() <= temperatures.items()


@given(st.sampled_from([lines(board)[0] for board in BOARDS]), st.randoms(use_true_random=False))
def test_the_order_of_tokens_does_not_matter(line: str, random) -> None:
    tokens = tegrastats._RAIL.sub(lambda match: match[0].replace(" ", "\0"), line).split(" ")
    random.shuffle(tokens)
    assert parse_line(" ".join(tokens).replace("\0", " "))[0] == parse_line(line)[0]


@pytest.fixture
def tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Puts a tegrastats of the shell on PATH."""

    def install(script: str) -> None:
        write_tool(tmp_path / "tegrastats", script)
        monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)

    return install


def cat(board: str, end: str = "sleep 60") -> str:
    """A tool that prints a recorded board's lines as its arguments say, and then does something."""
    return (
        f'[ "$1" = --interval ] && [ "$2" = 100 ] || exit 9\ncat "{RECORDED}/{board}.txt" | '
        f'while read -r line; do echo "$line"; sleep 0.02; done\n{end}\n'
    )


@pytest.mark.parametrize("board", [name for name, row in BOARDS.items() if row[0]])
def test_the_tool_is_read_line_by_line(board: str, tool) -> None:
    tool(cat(board))
    source = find_tegrastats()
    assert source is not None
    with source.open() as reader:
        readings = [reader.read() for _ in range(3)]
    assert [reading.watts for reading in readings] == [parse_line(line)[0] for line in lines(board)]
    assert readings[0].temperatures
    assert readings[0].time < readings[2].time


def test_lines_that_come_in_heaps_are_as_old_as_they_are(tool) -> None:
    """A tool that does not flush: what was printed in 0.3 s comes at once."""
    tool(f'while :; do sleep 0.3; cat "{RECORDED}/r36.4_orin_nx.txt"; done')
    with find_tegrastats().open() as reader:
        times = [reader.read().time for _ in range(6)]
    assert np.diff(times) == pytest.approx(0.1, abs=0.06)


def test_no_tool_is_no_source(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_tegrastats() is None


def test_a_tool_that_ends_is_an_error(tool) -> None:
    tool(cat("r36.4_orin_nx", end="exit 3"))
    source = find_tegrastats()
    assert isinstance(source, Source)
    with pytest.raises(OSError, match="ended with status 3"), source.open() as reader:
        for _ in range(4):
            reader.read()


@pytest.mark.parametrize(
    "script", ["sleep 60", "printf 'RAM 1/2MB half a li'; sleep 60", cat("r36.4_carrier_without_monitor")]
)
def test_a_tool_without_lines_does_not_hang(script: str, tool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tegrastats, "_PATIENCE", 3)
    tool(script)
    start = time.perf_counter()
    found = find_tegrastats()
    assert isinstance(found, Obstacle)
    assert "prints no power" in found.what
    assert time.perf_counter() - start < 3


@pytest.mark.parametrize(
    ("script", "words"), [("exit 4", "ended with status 4"), ("exec 1>&-; sleep 30", "closed its output")]
)
def test_a_tool_that_does_not_work_is_an_obstacle(script: str, words: str, tool) -> None:
    tool(script)
    found = find_tegrastats()
    assert isinstance(found, Obstacle)
    assert words in found.what


def test_a_tool_that_prints_without_end_and_without_rails_does_not_hang(tool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tegrastats, "_PATIENCE", 3)
    tool("while :; do echo nothing of interest; done")
    start = time.perf_counter()
    assert isinstance(find_tegrastats(), Obstacle)
    assert time.perf_counter() - start < 3


def test_a_tool_that_will_not_go_is_ended_with_its_children(tool, tmp_path: Path) -> None:
    tool(f"trap '' TERM\necho $$ > {tmp_path}/group\n(trap '' TERM; sleep 60) &\n{cat('r36.4_orin_nx', 'wait')}")
    with find_tegrastats().open() as reader:
        reader.read()
        group = int((tmp_path / "group").read_text())
        assert len(running(group)) > 1
    deadline = time.perf_counter() + 5
    while running(group) and time.perf_counter() < deadline:
        time.sleep(0.01)
    assert not running(group)


def running(group: int) -> list[str]:
    """Names of the processes of a group, without those that are dead and wait for their parent to look."""
    stats = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            name, _, rest = path.read_text().rpartition(")")
            stats.append((name, *rest.split()[:3]))
    return [name for name, state, _, number in stats if int(number) == group and state != "Z"]
