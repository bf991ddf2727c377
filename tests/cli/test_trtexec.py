# SPDX-License-Identifier: Apache-2.0
"""The command for the device says what was verified."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path

from evit_deploy.cli.build import trtexec
from tests.manifest.sample import sample_manifest


def lowered(precision, batch):
    manifest = sample_manifest("engine")
    return replace(manifest, graph=replace(manifest.graph, precision=precision, batch=batch))


def test_fp16_of_one_batch():
    command = trtexec(Path("engines/e"), lowered("fp16", (1, 1)))
    assert command == "trtexec --onnx=engines/e/model.onnx --stronglyTyped --saveEngine=engine.plan"


def test_fp32_is_not_tf32():
    assert "--noTF32" in shlex.split(trtexec(Path("e"), lowered("fp32", (1, 1))))


def test_an_open_batch_gets_its_range():
    parts = shlex.split(trtexec(Path("e"), lowered("fp16", (1, 4))))
    assert {"--minShapes=image:1x64x128x3", "--optShapes=image:4x64x128x3", "--maxShapes=image:4x64x128x3"} < set(parts)


def test_a_path_with_a_space_is_quoted():
    assert shlex.split(trtexec(Path("a b/e"), lowered("fp16", (1, 1))))[1] == "--onnx=a b/e/model.onnx"
