# SPDX-License-Identifier: Apache-2.0
"""Engines for GPUs on the command line: built and verified without one, never run or timed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from evit_deploy.agreement import BUDGETS
from evit_deploy.data.images import write_image
from evit_deploy.engines.build import lower_engine
from evit_deploy.manifest import read_artifact
from tests.cli.conftest import Program
from tests.conftest import require
from tests.manifest.sample import entries, snapshot
from tests.profiles.conftest import IMPOSSIBLE

EMULATION = "faithful emulation of the typed graph, ONNX Runtime"
ORIN = ("build", "b0-seg", "--target", "orin", "--fp16")


@pytest.fixture
def workspace(small_workspace: Path, tmp_path: Path) -> Path:
    """The test's folder, holding the small export."""
    shutil.copytree(small_workspace / "export", tmp_path / "export")
    return tmp_path


# Build


def test_build_lowers_and_says_what_is_left_to_do(evit: Program, workspace: Path) -> None:
    first = evit(*ORIN)
    assert first.code == 0, first.err
    assert "attention arranged as 'conv', the choice for orin\n" in first.out
    assert f"engines/b0-seg.orin.fp16  lowered, checked by {EMULATION}" in first.out
    assert "  trtexec --onnx=engines/b0-seg.orin.fp16/model.onnx --stronglyTyped --saveEngine=engine.plan" in first.out
    assert "evit-deploy run" not in first.out
    assert "warning: The weights are random" in first.err
    before = snapshot(workspace)
    second = evit(*ORIN)
    assert second.code == 0
    assert "nothing to do: engines/b0-seg.orin.fp16 is exactly this engine" in second.out
    assert "trtexec" in second.out
    assert snapshot(workspace) == before


def test_build_prints_the_manifest(evit: Program, workspace: Path) -> None:
    (data,) = json.loads(evit(*ORIN, "--json").out)
    assert (data["engine"]["state"], data["engine"]["attention"]) == ("lowered", "conv")
    assert data["engine"]["notes"] == ["attention arranged as 'conv', the choice for orin"]
    assert data["agreement"]["method"].startswith(EMULATION)
    assert data["graph"]["precision"] == "fp16"
    assert json.loads((workspace / "engines" / "b0-seg.orin.fp16" / "manifest.json").read_text()) == data


def test_build_takes_an_attention(evit: Program, workspace: Path) -> None:
    answer = evit(*ORIN, "--attention", "matmul")
    assert answer.code == 0
    assert "attention arranged as 'matmul', as asked for" in answer.out
    assert evit(*ORIN).code == 0
    assert entries(workspace / "engines") == ["b0-seg.orin.fp16", "b0-seg.orin.fp16.matmul"]


def test_build_takes_all_exports_and_fp32_by_default(evit: Program, workspace: Path) -> None:
    shutil.copytree(workspace / "export" / "b0-seg", workspace / "export" / "another")
    assert evit("build", "--target", "a100").code == 0
    assert entries(workspace / "engines") == ["another.a100.fp32", "b0-seg.a100.fp32"]
    assert read_artifact(workspace / "engines" / "b0-seg.a100.fp32").graph.precision == "fp32"


@pytest.mark.parametrize("attention", [(), ("--attention", "portable")], ids=["chosen", "portable"])
def test_build_compiles_for_rtx_and_promises_no_run(attention: tuple[str, ...], evit: Program, workspace: Path) -> None:
    require("tensorrt_rtx")
    answer = evit("build", "b0-seg", "--target", "rtx", "--arch", "sm80", "--fp16", *attention)
    assert answer.code == 0, answer.err
    name = ".".join(["b0-seg.rtx-sm80.fp16", *attention[1:]])
    assert entries(workspace / "engines") == [name]
    assert f"engines/{name}  by tensorrt_rtx" in answer.out
    assert f"checked by {EMULATION}" in answer.out
    assert "no GPU has run it" in answer.out
    assert f"next:  evit-deploy inspect engines/{name}" in answer.out
    assert "evit-deploy run" not in answer.out
    assert evit("inspect", name).code == 0


def test_the_next_command_is_the_exact_one(evit: Program, workspace: Path) -> None:
    out = evit(*ORIN).out
    assert "not compiled here: tensorrt compiles on the Jetson AGX Orin itself, and here is no NVIDIA GPU" in out
    assert "next:  evit-deploy build engines/b0-seg.orin.fp16 --remote USER@HOST" in out
    assert "and there:  evit-deploy build b0-seg.orin.fp16\n" in out
    again = evit(*ORIN, "--optimization-level", "5").out
    assert "and there:  evit-deploy build b0-seg.orin.fp16 --optimization-level 5\n" in again


def test_what_must_be_compiled_and_is_not_exits_3(evit: Program, workspace: Path) -> None:
    answer = evit(*ORIN, "--require-compiled")
    assert answer.code == 3
    assert "engines/b0-seg.orin.fp16 is lowered, not compiled" in answer.message
    assert "tensorrt compiles on the Jetson AGX Orin itself" in answer.message
    assert "--remote USER@HOST" in answer.message
    assert read_artifact(workspace / "engines" / "b0-seg.orin.fp16").agreement.passed


@pytest.mark.parametrize("name", ["b0-seg.rtx.fp16", "engines/b0-seg.rtx.fp16", "b0-seg"])
def test_a_lowered_engine_is_compiled_where_it_stands(name: str, evit: Program, workspace: Path) -> None:
    """On the device there is no export, only what was copied there."""
    require("tensorrt_rtx")
    lower_engine(
        workspace / "export" / "b0-seg", workspace / "engines" / "b0-seg.rtx.fp16", target="rtx", precision="fp16"
    )
    shutil.rmtree(workspace / "export")
    choice = ("--target", "rtx", "--fp16") if name == "b0-seg" else ()
    answer = evit("build", name, *choice, "--require-compiled", "--arch", "sm80")
    assert answer.code == 0, answer.err
    assert "engines/b0-seg.rtx.fp16  by tensorrt_rtx" in answer.out
    engine = read_artifact(workspace / "engines" / "b0-seg.rtx.fp16").engine
    assert engine is not None
    assert (engine.state, engine.machine["arch"]) == ("compiled", "sm80")


@pytest.mark.parametrize(
    "other", [("--target", "a100"), ("--fp32",), ("--attention", "matmul")], ids=lambda option: option[0]
)
def test_a_lowered_engine_keeps_what_it_is(other: tuple[str, ...], evit: Program, gpu_engine: Path) -> None:
    before = snapshot(gpu_engine)
    answer = evit("build", gpu_engine, *other)
    assert answer.code == 2, answer.out
    assert "already" in answer.message
    assert "build from the export to change it" in answer.message
    assert snapshot(gpu_engine) == before


# Verify


def test_verify_says_how(gpu_engine: Path, evit: Program) -> None:
    answer = evit("verify", gpu_engine)
    assert answer.code == 0, answer.err
    assert "passed against PyTorch" in answer.out
    assert f"by {EMULATION}" in answer.out
    data = json.loads(evit("verify", gpu_engine, "--json").out)
    assert data["passed"] is True
    assert data["method"].startswith(EMULATION)


def test_verify_of_an_engine_that_ran_says_nothing_of_emulation(engine_folder: Path, evit: Program) -> None:
    assert "emulation" not in evit("verify", engine_folder).out
    assert json.loads(evit("verify", engine_folder, "--json").out)["method"] == "the artifact itself"


def test_verify_takes_the_users_images(gpu_engine: Path, evit: Program, tmp_path: Path, frame: np.ndarray) -> None:
    write_image(tmp_path / "images" / "street.png", frame)
    answer = evit("verify", gpu_engine, "--images", "images", "--json")
    assert answer.code == 0, answer.err
    data = json.loads(answer.out)
    assert [row["frame"] for row in data["frames"]] == ["street.png"]
    assert data["method"].startswith(EMULATION)


def test_verify_exits_1_when_the_emulation_disagrees(
    gpu_engine: Path, evit: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(BUDGETS, "fp16", IMPOSSIBLE)
    answer = evit("verify", gpu_engine)
    assert answer.code == 1
    assert "FAILED against PyTorch" in answer.out
    assert f"by {EMULATION}" in answer.out
    assert "does not agree with PyTorch" in answer.message


# What needs the device


@pytest.mark.parametrize("command", [("profile",), ("profile", "--json"), ("run", "scene:1")], ids=" ".join)
def test_what_needs_the_device_is_refused(
    command: tuple[str, ...], gpu_engine: Path, evit: Program, tmp_path: Path
) -> None:
    words = {
        "b0-seg.orin.fp16": ("lowered but not compiled yet", "evit-deploy build"),
        "b0-seg.rtx-sm80.fp16": ("needs an NVIDIA GPU", "no GPU here, or no driver for it", "evit-deploy doctor"),
    }
    answer = evit(command[0], gpu_engine, *command[1:])
    assert answer.code == 3, answer.err
    assert all(word in answer.message for word in words[gpu_engine.name])
    assert "Traceback" not in answer.err
    assert answer.out == ""
    assert entries(tmp_path) == []
