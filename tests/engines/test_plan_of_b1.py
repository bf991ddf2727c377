# SPDX-License-Identifier: Apache-2.0
"""What NVIDIA's compiler makes of b1-seg at 1024×2048: fewer kernels and less traffic than of the usual graph."""

from __future__ import annotations

import copy
import sys
from pathlib import Path

import onnx
import pytest

from evit_deploy.engines.compiler import Job
from evit_deploy.engines.plan import read_plan
from evit_deploy.engines.tensorrt_rtx import COMPILER
from evit_deploy.export.exporter import preprocess_rules
from evit_deploy.export.graph import trace_deployed
from evit_deploy.export.trace import hide_output
from evit_deploy.models import create_model, find_model
from evit_deploy.precision.arrange import arrange
from evit_deploy.precision.fp16 import lower_fp16
from evit_deploy.precision.lower import lower
from evit_deploy.progress import silent
from tests.conftest import require

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))
from lowerings import plain_graph

require("tensorrt_rtx")
SIZE = (1024, 2048)
SPEC = find_model("b1-seg")


@pytest.fixture(scope="module")
def model():
    return create_model("b1-seg", weights="random")


def plan(graph, folder):
    onnx.save(graph, folder / "model.onnx")
    COMPILER.compile(Job(folder / "model.onnx", folder, "fp16", "sm80"), silent)
    return read_plan(folder)


@pytest.fixture(scope="module")
def usual(model, tmp_path_factory):
    """The plan of the reference's attention typed in FP16: not safe, and float at both ends."""
    graph, _ = lower_fp16(plain_graph(copy.deepcopy(model), SPEC, SIZE), "fp32")
    return plan(graph, tmp_path_factory.mktemp("usual"))


@pytest.mark.slow
def test_safe_and_yet_fewer_kernels_and_bytes(model, usual, tmp_path):
    graph = trace_deployed(model, preprocess_rules(SPEC), SIZE, "tensor", "logits")
    ours = plan(lower(graph, "fp16", "conv").model, tmp_path)
    assert len(ours.working) < 118 <= len(usual.working)
    assert ours.traffic < 1.73e9
    assert usual.traffic > 1.86e9
    (tmp_path / "float").mkdir()
    same_ends = plan(
        lower_fp16(arrange(graph, "conv"), "fp32")[0], tmp_path / "float"
    )  # FP32 at both ends, as the usual one
    assert len(same_ends.working) < 118
    assert same_ends.traffic < 1.73e9


@pytest.mark.slow
def test_image_to_classes_in_fewer_bytes_than_the_usual_network_alone(model, usual, tmp_path):
    graph = trace_deployed(model, preprocess_rules(SPEC), SIZE, "image", "classes")
    hide_output(graph, "logits")
    ours = plan(lower(graph, "fp16", "conv").model, tmp_path)
    assert len(ours.working) < 118
    assert ours.traffic < 1.73e9 < usual.traffic
