# SPDX-License-Identifier: Apache-2.0
"""A whole EfficientViT through the GPU runtime, against PyTorch's answers that travel with it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from evit_deploy.manifest import read_artifact, write_artifact
from evit_deploy.runtime import Segmenter, open_engine
from evit_deploy.runtime.verify import Reference, verify
from tests.runtime.cuda.conftest import compile_here
from tests.runtime.doubles.trt import plan_of


@pytest.fixture
def compiled(machine, gpu_workspace, tmp_path):
    """The small typed b0-seg that was lowered for an Orin, compiled for this machine."""
    source = gpu_workspace / "engines" / "b0-seg.orin.fp16"
    manifest = read_artifact(source)
    graph = (source / "model.onnx").read_bytes()
    plan = plan_of(graph) if machine.world else compile_here(graph, (1, 1))
    engine = replace(
        manifest.engine, state="compiled", entry="engine.plan", backend=machine.backend, compiler=machine.backend,
        compiler_version=machine.version, machine={},
    )  # fmt: skip
    with write_artifact(tmp_path / "b0-seg") as writer:
        for name in manifest.files:
            (writer.folder / name).write_bytes((source / name).read_bytes())
        (writer.folder / "engine.plan").write_bytes(plan)
        writer.commit(replace(manifest, engine=engine, files={}))
    return tmp_path / "b0-seg"


def test_a_model_agrees_with_pytorch(compiled, frame):
    manifest = read_artifact(compiled)
    with open_engine(compiled, manifest) as engine:
        found = verify(engine.infer, manifest, Reference.load(compiled), manifest.agreement.budget)
        assert found.passed, found
        result = Segmenter(engine)(frame)
        assert result.class_map.shape == frame.shape[:2]
        assert engine.notes == ()
