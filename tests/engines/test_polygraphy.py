# SPDX-License-Identifier: Apache-2.0
"""NVIDIA's Polygraphy reads a lowered engine, and sees the classes that we see."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np

from evit_deploy.engines.lowering import emulated
from evit_deploy.manifest import read_artifact
from evit_deploy.runtime.verify import Reference
from tests.conftest import require


def lowered(gpu_workspace: Path) -> Path:
    require("polygraphy")
    return gpu_workspace / "engines" / "b0-seg.orin.fp16"


def test_it_names_inputs_and_outputs(gpu_workspace: Path) -> None:
    command = [
        str(Path(sys.executable).parent / "polygraphy"),
        "inspect",
        "model",
        str(lowered(gpu_workspace) / "model.onnx"),
    ]
    answer = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert answer.returncode == 0, answer.stderr
    assert "image [dtype=uint8, shape=(1, 64, 128, 3)]" in answer.stdout
    assert "classes [dtype=uint8, shape=(1, 64, 128)]" in answer.stdout


def test_its_runner_agrees_with_the_emulation(gpu_workspace: Path) -> None:
    folder = lowered(gpu_workspace)
    from polygraphy.backend.onnxrt import OnnxrtRunner, SessionFromOnnx

    manifest, image = read_artifact(folder), Reference.load(folder).images[:1]
    with OnnxrtRunner(SessionFromOnnx(str(folder / manifest.graph.file))) as runner:
        found = runner.infer({"image": image})["classes"]
    expected = emulated(folder, manifest)[0]({"image": image})["classes"]
    assert found.dtype == np.uint8
    assert (
        np.mean(np.asarray(found) == expected) > 0.98
    )  # ONNX Runtime keeps FP32 between FP16 nodes; weights are random
