# SPDX-License-Identifier: Apache-2.0
"""``evit-deploy compare`` as a person and as a CI job call it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Program
from tests.profiles.records import make_parts, make_power, make_report, write_report


@pytest.fixture
def profiles(tmp_path: Path) -> Path:
    """Profiles in the workspace that the program runs in."""
    folder = tmp_path / "profiles"
    write_report(folder / "before", make_report(10, power=make_power(10)))
    write_report(folder / "after", make_report(12, environment={"onnxruntime": "1.3.0"}, power=make_power(12)))
    write_report(folder / "elsewhere", make_report(5, environment={"processor": "another CPU"}))
    write_report(folder / "parts", make_parts())
    return folder


def test_the_table(evit: Program, profiles: Path) -> None:
    answer = evit("compare", "before", "after", "parts")
    assert answer.code == 0
    assert answer.out.startswith("A  b0-seg.cpu.fp32, a CPU, 2026-01-02")
    infer = next(line for line in answer.out.splitlines() if line.startswith("engine infer ms"))
    assert "slower" in infer
    energy = next(line for line in answer.out.splitlines() if line.startswith("energy mJ"))
    assert "more" in energy
    assert "onnxruntime: 1.2.3, then 1.3.0" in answer.out
    assert "from A to C:" in answer.out


def test_json(evit: Program, profiles: Path) -> None:
    answer = evit("compare", "before", "after", "--json")
    assert answer.code == 0
    assert json.loads(answer.out)["latencies"][0]["ratios"][1]["value"] > 1.1


def test_slower_fails_a_job(evit: Program, profiles: Path) -> None:
    assert evit("compare", "before", "before", "--fail-if-slower", "5%").code == 0
    answer = evit("compare", "before", "after", "--fail-if-slower", "5%")
    assert answer.code == 1
    assert "engine infer of B takes 1.2" in answer.message
    assert evit("compare", "before", "after", "--fail-if-slower", "50%").code == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["before"], "nothing to compare with"),
        (["before", "never"], "there is no profile 'never'"),
        (["before", "after", "--fail-if-slower", "much"], "'much' is no share"),
        (["before", "elsewhere", "--fail-if-slower", "5%"], "measured under different conditions"),
    ],
)
def test_bad_input(evit: Program, profiles: Path, arguments: list[str], words: str) -> None:
    answer = evit("compare", *arguments)
    assert answer.code == 2
    assert words in answer.message


def test_an_older_profile_is_compared_and_a_newer_one_is_not(evit: Program, profiles: Path) -> None:
    path = profiles / "before" / "report.json"
    data = json.loads(path.read_text())
    path.write_text(json.dumps({**{name: value for name, value in data.items() if name != "power"}, "report": 1}))
    answer = evit("compare", "before", "after")
    assert answer.code == 0
    assert next(line for line in answer.out.splitlines() if line.startswith("energy mJ")).split()[2] == "-"
    path.write_text(json.dumps({**data, "report": 99}))
    answer = evit("compare", "before", "after")
    assert answer.code == 2
    assert "newer evit-deploy" in answer.message
