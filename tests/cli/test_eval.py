# SPDX-License-Identifier: Apache-2.0
"""``evit-deploy eval`` from end to end."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from evit_deploy.data import cityscapes
from tests.cli.conftest import Program

ENGINE = "b0-seg.cpu.fp32.onnxruntime"
IMAGES = 4000


@pytest.fixture
def workspace(small_workspace: Path, tmp_path: Path) -> Path:
    """The test's folder, with an engine and three images in Cityscapes' format."""
    shutil.copytree(small_workspace / "engines" / ENGINE, tmp_path / "engines" / ENGINE)
    cityscapes.write_dataset(tmp_path / "cs", "val", [1, 2, 3], 64, 128, train_ids=False)
    return tmp_path


def test_table_and_record(evit: Program, workspace: Path) -> None:
    answer = evit("eval", ENGINE, "--dataset", "cityscapes:cs")
    assert answer.code == 0, answer.err
    assert "bicycle" in answer.out
    assert "mIoU" in answer.out
    assert "3 of 3 images" in answer.out
    assert "the engine alone" in answer.out
    assert "The weights are random" in answer.err
    record = workspace / "profiles" / ENGINE / "evaluation.cityscapes.json"
    assert f"record: {record.relative_to(workspace)}" in answer.out
    assert json.loads(record.read_text())["images"] == 3


def test_json_is_the_record(evit: Program, workspace: Path) -> None:
    answer = evit("eval", ENGINE, "--dataset", "cityscapes:cs", "--limit", "2", "--json")
    assert answer.code == 0, answer.err
    printed = json.loads(answer.out)
    written = json.loads((workspace / "profiles" / ENGINE / "evaluation.cityscapes-limit-2.json").read_text())
    assert {**printed, "created": None} == {**written, "created": None}
    assert (printed["images"], printed["dataset"]["images"]) == (2, 3)


def test_a_broken_file(evit: Program, workspace: Path) -> None:
    broken = next((workspace / "cs" / "gtFine").rglob("*_labelIds.png"))
    broken.write_bytes(b"nonsense")
    answer = evit("eval", ENGINE, "--dataset", "cityscapes:cs")
    assert answer.code == 2
    assert broken.name in answer.message
    assert "--skip-broken" in answer.message
    answer = evit("eval", ENGINE, "--dataset", "cityscapes:cs", "--skip-broken")
    assert answer.code == 0, answer.err
    assert "1 images were left out" in answer.out
    assert broken.name in answer.out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--dataset", "voc:cs"), "names no data set"),
        (("--dataset", "cityscapes:nowhere"), "there is no folder"),
        (("--dataset", "ade20k:cs"), "cannot be evaluated on ade20k"),
        (("--dataset", "cityscapes:cs", "--split", "test"), "no Cityscapes images"),
        (("--dataset", "cityscapes:cs", "--limit", "0"), "limit"),
        ((), "dataset"),
    ],
)
@pytest.mark.usefixtures("workspace")
def test_wrong_usage(evit: Program, arguments: tuple[str, ...], words: str) -> None:
    answer = evit("eval", ENGINE, *arguments)
    assert answer.code == 2
    assert words in answer.err


def test_ctrl_c_and_again(workspace: Path, program: Program) -> None:
    image = next((workspace / "cs" / "leftImg8bit").rglob("*.png"))
    labels = next((workspace / "cs" / "gtFine").rglob("*.png"))
    for number in range(IMAGES):
        image.with_name(f"copy_{number:06d}_000000_leftImg8bit.png").hardlink_to(image)
        labels.with_name(f"copy_{number:06d}_000000_gtFine_labelIds.png").hardlink_to(labels)
    command = [sys.executable, "-m", "evit_deploy.cli.main", "eval", ENGINE, "--dataset", "cityscapes:cs"]
    process = subprocess.Popen(command, cwd=workspace, env={**os.environ}, stderr=subprocess.PIPE, text=True)
    place = workspace / "profiles" / ENGINE
    while not sum(path.stat().st_size for path in place.glob(".*.journal")) and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "interrupted; what is done is kept" in err
    assert not (place / "evaluation.cityscapes.json").exists()
    answer = program("eval", ENGINE, "--dataset", "cityscapes:cs", "--limit", "100")
    assert answer.code == 0, answer.err
    assert "an interrupted evaluation goes on" in answer.err
    record = json.loads((place / "evaluation.cityscapes-limit-100.json").read_text())
    assert record["images"] == 100
    assert 0 < record["continued"] < 100
    assert list(place.glob(".*.journal"))  # the rest of the whole is yet to come
