# SPDX-License-Identifier: Apache-2.0
"""``evit-deploy build`` on a model of several parts: an export in miniature."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from evit_deploy.cli.app import app
from evit_deploy.errors import UnavailableError, UsageError
from tests.engines.toy_sam import write_toy


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("workspace")
    write_toy(folder / "export" / "toy-sam")
    return folder


def build(workspace: Path, *options: str):
    return CliRunner().invoke(app, ["build", "toy-sam", "--workspace", str(workspace), *options])


def test_a_cpu_engine_of_two_parts(workspace):
    result = build(workspace, "--target", "cpu", "--compiler", "onnxruntime")
    assert result.exit_code == 0, result.output
    assert "from picture to masks:" in result.output and "mask IoU" in result.output
    assert f"evit-deploy run {workspace / 'engines' / 'toy-sam.cpu.fp32.onnxruntime'} IMAGE" in result.output
    again = build(workspace, "--target", "cpu", "--compiler", "onnxruntime")
    assert "nothing to do" in again.output
    data = json.loads(build(workspace, "--target", "cpu", "--compiler", "onnxruntime", "--json").stdout)
    assert list(data[0]["parts"]) == ["encoder", "decoder"]


def test_an_orin_gets_the_decoders_that_were_asked_for(workspace):
    options = ("--target", "orin", "--fp16", "--attention", "portable", "--prompts", "1,2", "--points", "3")
    result = build(workspace, *options)
    assert result.exit_code == 0, result.output
    folder = workspace / "engines" / "toy-sam.orin.fp16.portable"
    assert sorted(path.name for path in folder.iterdir() if path.is_dir()) == ["decoder-1", "decoder-2", "encoder"]
    assert "decoder-2: 2 prompts of 5 slots per run" in result.output
    assert result.output.count("trtexec --onnx=") == 3
    assert f"evit-deploy build {folder} --remote" in result.output
    refused = build(workspace, *options, "--require-compiled").exception
    assert isinstance(refused, UnavailableError) and refused.exit_code == 3


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--target", "cpu", "--prompts", "1,8"), "any number of prompts"),
        (("--target", "cpu", "--points", "4"), "any number of prompts"),
        (("--target", "orin", "--fp16", "--prompts", "one"), "no numbers of prompts"),
        (("--target", "orin", "--fp16", "--prompts", "1,,8"), "no numbers of prompts"),
        (("--target", "orin", "--fp16", "--prompts", "65"), "out of range"),
        (("--target", "orin", "--fp16", "--points", "0"), "out of range"),
    ],
)
def test_sizes_that_cannot_be(workspace, options, words):
    result = build(workspace, *options)
    assert isinstance(result.exception, UsageError) and words in str(result.exception)
