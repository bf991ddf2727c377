# SPDX-License-Identifier: Apache-2.0
"""Typed FP16 of every family agrees with PyTorch on real frames, whatever scale its random weights happen to have."""

from __future__ import annotations

import onnx
import pytest

from evit_deploy.export import ExportOptions, export_model
from evit_deploy.manifest import Budget
from evit_deploy.precision.faithful import FaithfulGraph
from evit_deploy.precision.lower import lower
from evit_deploy.runtime.verify import Reference, verify

BUDGET = Budget(relative_l2=1e-2, class_agreement=0.0, conceded_margin=1e9, confidence_error=1.0)
"""The logits alone: random weights decide classes by a hair's breadth."""


@pytest.fixture(scope="module", params=["b0-cls", "b2-cls", "l1-cls", "b2-seg", "l1-seg-ade20k"])
def export(request, tmp_path_factory):
    """A small export; b2-cls and b2-seg reach |q| of thousands with random weights, and are balanced by it."""
    folder = tmp_path_factory.mktemp("family") / "export"
    size = (128, 256) if "seg" in request.param else (128, 128)
    manifest, _ = export_model(request.param, folder, ExportOptions(weights="random", resolution=size, output="logits"))
    return manifest, onnx.load(folder / "model.onnx"), Reference.load(folder)


@pytest.mark.parametrize("form", ["conv", "matmul", "portable"])
def test_logits_agree(form, export):
    manifest, graph, reference = export
    lowered = lower(graph, "fp16", form)
    assert lowered.notes == ()
    agreement = verify(FaithfulGraph(lowered.model).infer, manifest, reference, BUDGET)
    assert agreement.passed, agreement.frames
