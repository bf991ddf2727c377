# SPDX-License-Identifier: Apache-2.0
"""``evit-deploy build --int8``: what is handed on, what is refused, and what is said of the engine."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from evit_deploy.cli.int8_report import int8_lines
from evit_deploy.engines import request as request_module
from evit_deploy.engines.int8_options import JUDGED, Int8Options
from evit_deploy.engines.request import Built, Request
from evit_deploy.errors import CheckFailedError
from evit_deploy.manifest import DECODER, ENCODER, EngineInfo, Int8Info, read_artifact, write_artifact, write_bundle
from tests.cli.conftest import Program
from tests.manifest.sample import (
    entries,
    sample_bundle,
    sample_engine,
    sample_int8,
    sample_manifest,
    write_sample,
)

OPTIONS = ("--target", "orin", "--int8", "--calibrate", "scenes")


@pytest.fixture
def exports(small_workspace: Path, tmp_path: Path) -> Path:
    """The test's own workspace with one small export."""
    shutil.copytree(small_workspace / "export", tmp_path / "export")
    return tmp_path


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Request]:
    """What was asked for, in place of a build."""
    seen: list[Request] = []

    def build(self: Request, source: Path, engines: Path, progress: Any) -> Built:
        seen.append(self)
        raise CheckFailedError("nothing is built here")

    monkeypatch.setattr(request_module.Request, "build", build)
    return seen


def lowered_engine(int8: Int8Info | None = None) -> EngineInfo:
    return replace(
        sample_engine(), target="orin", precision="int8", state="lowered", lowered=None, int8=int8 or sample_int8()
    )


def write_int8(folder: Path, int8: Int8Info | None = None) -> Path:
    """A lowered engine in INT8, of files that nothing reads."""
    with write_artifact(folder) as writer:
        (writer.folder / "model.onnx").write_bytes(b"a graph")
        writer.commit(replace(sample_manifest("engine"), engine=lowered_engine(int8)))
    return folder


def test_the_options_reach_the_build(exports: Path, evit: Program, asked: list[Request]) -> None:
    answer = evit(
        "build", "b0-seg", *OPTIONS, "--calibration-images", 64, "--calibration", "entropy", "--max-drop", 0,
        "--max-error", 0.05, "--judge-images", 16, "--allow-slower", "--search-minutes", 1.5,
    )  # fmt: skip
    assert answer.code == 1, answer.err
    (request,) = asked
    assert (request.target, request.precision) == ("orin", "int8")
    assert request.int8 == Int8Options(
        source="scenes", oracle=request.int8.oracle, oracle_key=request.int8.oracle_key, images=64, method="entropy",
        max_drop=0.0, max_error=0.05, judge_images=16, allow_slower=True, minutes=1.5,
    )  # fmt: skip
    assert re.fullmatch("[0-9a-f]{64}", request.int8.oracle_key)


def test_what_is_not_given_is_left_to_the_defaults(exports: Path, evit: Program, asked: list[Request]) -> None:
    evit("build", "b0-seg", *OPTIONS)
    (options,) = (request.int8 for request in asked)
    assert options == Int8Options("scenes", options.oracle, options.oracle_key)


def test_the_help_tells_the_defaults(evit: Program) -> None:
    text = re.sub(r"\s+", " ", evit("build", "--help").out)
    for option, words in (
        ("--calibration-images", f"Default: {Int8Options.images}."),
        ("--calibration", f"Default: {Int8Options.method}."),
        ("--max-drop", f"Default: {Int8Options.max_drop:g}."),
        (
            "--judge-images",
            f"Default: {JUDGED['seg']}, for classifiers {JUDGED['cls']}, for image encoders {JUDGED['sam']}.",
        ),
        ("--search-minutes", f"Default: {Int8Options.minutes:g}."),
    ):
        assert words in re.split(r" --[a-z]", text.partition(f" {option} ")[2])[0], option


def test_every_export_is_calibrated(exports: Path, evit: Program, asked: list[Request]) -> None:
    shutil.copytree(exports / "export" / "b0-seg", exports / "export" / "another")
    assert evit("build", *OPTIONS).code == 1
    assert [request.int8.source for request in asked] == ["scenes", "scenes"]


def test_an_engine_that_is_calibrated_needs_no_frames(exports: Path, evit: Program, asked: list[Request]) -> None:
    folder = write_int8(exports / "engines" / "b0-seg.orin.int8")
    for name in (folder, folder.name):
        assert "nothing is built here" in evit("build", name).err
    assert [(request.precision, request.int8) for request in asked] == [("int8", None)] * 2
    answer = evit("build", folder.name, *OPTIONS)
    assert answer.code == 2
    assert "calibrated already" in answer.message
    assert "build from the export" in answer.message


def test_the_report(exports: Path, evit: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_int8(exports / "engines" / "b0-seg.orin.int8")
    built = Built(folder, read_artifact(folder), True)
    monkeypatch.setattr(request_module.Request, "build", lambda *arguments, **options: built)
    answer = evit("build", "b0-seg", *OPTIONS)
    assert answer.code == 0, answer.err
    for words in (
        "INT8: 0.650 × the time of FP16 (0.55 to 0.77), 6.50 ms in place of 10.0 ms, predicted for Jetson AGX Orin\n",
        "INT8: 0.25 ± 0.04 points lost, of mIoU, where 0.5 may be lost; 99.22% of classes equal, relative L2 3.1e-02\n",
        "judged on 32 frames (other frames of the demo scenes), calibrated with 128 others",
        "ranges by entropy (3), min-max (1)\n",
        "in INT8: 3 of the 4 convolutions that may be, 75% of all multiply-adds; all 4 would take 0.600 ×",
        "3 assignments were judged: engine.int8.curve in its manifest.json",
    ):
        assert words in answer.out, words
    assert "warning: only 128 of 500 images were there" in answer.err
    assert "not certain" not in answer.out
    assert "--search-minutes" not in answer.out


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"complete": False}, "--search-minutes gives it more"),
        ({"ratio_high": 1.1}, "0.55 to 1.10; whether it is faster is not certain"),
        ({"drop": -0.125}, "0.12 ± 0.04 points gained, of mIoU"),
        ({"metric": "mask IoU"}, "99.22% overlap of masks"),
    ],
)
def test_what_else_can_be_said(changes: dict[str, Any], words: str) -> None:
    assert words in "\n".join(int8_lines(replace(sample_int8(), **changes)))


def test_inspect_shows_a_lowered_engine(exports: Path, evit: Program) -> None:
    folder = write_int8(exports / "engines" / "b0-seg.orin.int8")
    answer = evit("inspect", folder.name)
    assert answer.code == 0, answer.err
    assert "no plan of its kernels yet: it is a lowered engine" in answer.out
    assert all(line in answer.out for line in int8_lines(sample_int8()))
    found = json.loads(evit("inspect", folder.name, "--json").out)
    assert found["int8"]["ratio"] == sample_int8().ratio
    assert len(found["int8"]["curve"]) == 3
    assert "kernels" not in found


def test_inspect_shows_the_part_in_int8(exports: Path, evit: Program) -> None:
    with write_bundle(exports / "engines" / "l0-sam.orin.int8") as writer:
        write_int8(writer.part(ENCODER))
        write_sample(writer.part(DECODER), "engine")
        writer.commit(sample_bundle("engine"), (ENCODER, DECODER))
    answer = evit("inspect", "l0-sam.orin.int8")
    assert answer.out.count("× the time of FP16 (") == 1
    parts = json.loads(evit("inspect", "l0-sam.orin.int8", "--json").out)["parts"]
    assert [("int8" in part) for part in parts.values()] == [True, False]


@pytest.mark.slow
def test_the_whole_way(evit: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it does not pay nothing is written, and the numbers are told; it is written where that was asked for."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert evit("export", "b0-seg", "--weights", "demo", "--resolution", "64x128").code == 0
    asked = (*OPTIONS, "--calibration-images", 4, "--judge-images", 2, "--search-minutes", 1)
    refused = evit("build", "b0-seg", *asked, "--max-drop", 0, "--max-error", 1e-9)
    assert refused.code == 1, refused.err
    for words in ("INT8 is not worth having", "nothing was written", "× the time of FP16", "--allow-slower"):
        assert words in refused.message
    assert entries(tmp_path / "engines") == []
    answer = evit("build", "b0-seg", *asked, "--max-drop", 100, "--allow-slower")
    assert answer.code == 0, answer.err
    engine = read_artifact(tmp_path / "engines" / "b0-seg.orin.int8").engine
    assert engine is not None
    assert engine.int8 is not None
    assert all(line in answer.out for line in int8_lines(engine.int8))
    assert (engine.precision, engine.int8.images, engine.int8.judged_frames) == ("int8", 4, 2)
    assert "nothing to do" in evit("build", "b0-seg", *asked, "--max-drop", 100, "--allow-slower").out
