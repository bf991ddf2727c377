# SPDX-License-Identifier: Apache-2.0
"""A prediction beside a measurement: for the machine at hand, as it is, or none at all."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from evit_deploy.manifest import read_manifest
from evit_deploy.profiles import expected as expected_module
from evit_deploy.profiles.expected import expected, question
from evit_deploy.profiles.remarks import Notes
from evit_deploy.targets.device import Device
from tests.conftest import require

ORIN = Device("Orin", "8.7", 8, 64.0, True, "12.6", board="NVIDIA Jetson AGX Orin Developer Kit", l4t="36.4.3",
              power_mode="30W")  # fmt: skip
A100 = Device("NVIDIA A100-SXM4-80GB", "8.0", 108, 85.1, False, "12.6")
RTX = Device("NVIDIA GeForce RTX 4090", "8.9", 128, 25.4, False, "12.6")


def test_the_question_is_the_machine_at_hand() -> None:
    asked = question(ORIN)
    assert (asked.target, asked.mode, asked.variant) == ("orin", "30W", "64 GB")
    assert (asked.cuda_graph, asked.copies) == (True, "zero-copy")  # as the runtime runs it
    asked = question(A100)
    assert (asked.target, asked.mode, asked.copies) == ("a100", None, "pinned")
    assert "80 GB" in asked.variant


@pytest.mark.parametrize("device", [RTX, replace(ORIN, power_mode=None), replace(ORIN, memory_gb=20.0)])
def test_of_an_unknown_machine_or_mode_nothing_is_predicted(device: Device) -> None:
    assert question(device) is None


@pytest.fixture
def rtx_engine(gpu_workspace: Path) -> Path:
    require("tensorrt_rtx")
    return gpu_workspace / "engines" / "b0-seg.rtx-sm80.fp16"


def test_an_engine_for_a_gpu(rtx_engine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(expected_module, "this_device", lambda: A100)
    notes = Notes()
    (found,) = expected(rtx_engine, read_manifest(rtx_engine), notes=notes)
    assert notes.texts == []
    assert found.low_ms < found.ms < found.high_ms
    assert found.conditions.target == "a100"
    monkeypatch.setattr(expected_module, "this_device", lambda: None)
    assert expected(rtx_engine, read_manifest(rtx_engine), notes=notes) == ()


def test_a_mode_that_is_not_in_the_tables_is_a_note(rtx_engine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(expected_module, "this_device", lambda: replace(ORIN, power_mode="45W"))
    notes = Notes()
    assert expected(rtx_engine, read_manifest(rtx_engine), notes=notes) == ()
    (text,) = notes.texts
    assert text.startswith("Nothing was predicted: ")
    assert "45W" in text


def test_an_engine_for_the_cpu(engine_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(expected_module, "this_device", lambda: A100)
    assert expected(engine_folder, read_manifest(engine_folder), notes=Notes()) == ()
