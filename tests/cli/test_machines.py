# SPDX-License-Identifier: Apache-2.0
"""``evit-deploy doctor`` and ``evit-deploy targets`` as a person and a program see them."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from evit_deploy.engines import doctor
from evit_deploy.targets import TARGETS
from evit_deploy.targets.device import Device
from tests.cli.conftest import Program

ORIN = Device(
    "Orin", "8.7", 8, 65.8, True, "12.6", "NVIDIA Jetson AGX Orin Developer Kit", "36.3.0", "6.0", "30W", False, 1300,
    ((0, "MAXN"), (2, "30W")),
)  # fmt: skip


def test_doctor_says_what_the_machine_is(evit: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "this_device", lambda: None)
    answer = evit("doctor")
    assert answer.code == 0
    assert "this machine is     cpu\n" in answer.out
    assert "as --target cpu expects" in answer.out


def test_doctor_tells_what_is_optional_from_what_is_needed(evit: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "this_device", lambda: ORIN)
    for name in ("tensorrt", "openvino"):
        monkeypatch.setitem(sys.modules, name, None)
    answer = evit("doctor")
    marks = {line[4:18].strip(): line[:2] for line in answer.out.splitlines()}
    assert (marks["tensorrt fp16"], marks["openvino fp32"]) == ("--", "..")
    data = {row["name"]: row for row in json.loads(evit("doctor", "--json").out)["checks"]}
    assert (data["tensorrt fp16"]["optional"], data["openvino fp32"]["optional"]) == (False, True)


def test_doctor_says_how_the_machine_differs(evit: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "this_device", lambda: ORIN)
    lines = evit("doctor", "--target", "orin").out.splitlines()
    assert "this machine is     orin" in lines
    verdict = lines.index(
        "                    other than --target orin in its best state, so its engines do not run here:"
    )
    assert lines[verdict + 1].startswith(
        "--  JetPack               6.0 (TensorRT 8.6.2); expected 6.2.2 (TensorRT 10.3.0)"
    )
    assert lines[verdict + 2].split("fix: ")[1] == "flash JetPack 7.2, or upgrade to 6.2.2"
    assert "!   power mode            30W; expected MAXN" in lines
    assert lines[lines.index("!   power mode            30W; expected MAXN") + 1].endswith("sudo nvpmodel -m 0  # MAXN")


def test_doctor_asked_for_another_target(evit: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "this_device", lambda: ORIN)
    data = json.loads(evit("doctor", "--target", "a100", "--json").out)
    assert (data["target"], data["compared"]) == ("orin", "a100")
    (row,) = data["differences"]
    assert row["blocks"] is True
    assert data["device"]["power_modes"] == [[0, "MAXN"], [2, "30W"]]


def test_doctor_refuses_an_unknown_target(evit: Program) -> None:
    answer = evit("doctor", "--target", "orinx")
    assert answer.code == 2
    assert "no target 'orinx'" in answer.message


@pytest.mark.parametrize("name", TARGETS)
def test_one_target_is_shown(name: str, evit: Program) -> None:
    answer = evit("targets", name)
    assert answer.code == 0
    assert answer.out.startswith(f"{name}: {TARGETS[name].title}\n")
    data = json.loads(evit("targets", name, "--json").out)
    assert data["name"] == name
    assert [size["name"] for size in data["variants"]] == [size.name for size in TARGETS[name].variants]
    assert bool(data["jetpacks"]) == TARGETS[name].jetson


def test_an_orin_is_shown_with_its_sizes_modes_and_releases(evit: Program) -> None:
    text = evit("targets", "orin").out
    rows = [line.split() for line in text.splitlines()]
    assert ["64", "GB", "16", "1301", "~42.6", "~85.3", "204.8"] in rows
    assert ["64", "GB", "30W", "8", "612", "default"] in rows
    assert ["32", "GB", "40W", "14", "816"] in rows
    assert ["64", "GB", "15W", "?6", "408"] in rows
    assert ["6.2", "to", "6.2.2", "36.4.3", "to", "36.5.0", "12.6", "10.3.0", "3.10", "20"] in rows
    assert ["6.0", "36.3.0", "12.2", "8.6.2", "3.10", "-", "TensorRT", "too", "old"] in rows


def test_figures_that_are_not_certain_are_marked_everywhere(evit: Program) -> None:
    answer = evit("targets")
    (row,) = (line for line in answer.out.splitlines() if line.startswith("h100"))
    assert "?132/?114" in row
    assert "?80/?141" in row
    (nano,) = (line for line in answer.out.splitlines() if line.startswith("orin-nano"))
    assert nano.split()[4:8] == ["8.7", "8/?4", "8/?4", "102/?51"]
    assert "? not checked" in answer.err
    for name in ("h100", "thor"):
        data = json.loads(evit("targets", name, "--json").out)
        assert not {"multiprocessors", "memory_gb", "bandwidth_gbs"} & set(data), "figures stand where their marks are"
        for size in data["variants"]:
            assert size["memory_gb"]["source"] == size["bandwidth_gbs"]["source"] == "unchecked"
    assert "~ derived from published figures, ? not checked" in evit("targets", "orin").out


def test_an_unknown_target_is_refused(evit: Program) -> None:
    answer = evit("targets", "orinx")
    assert answer.code == 2
    assert "no target 'orinx'" in answer.message


def test_doctor_looks_at_the_workspace_given(evit: Program, tmp_path: Path) -> None:
    data = json.loads(evit("doctor", "--workspace", tmp_path / "there", "--json").out)
    assert str(tmp_path / "there") in next(row["found"] for row in data["checks"] if row["name"] == "workspace")
