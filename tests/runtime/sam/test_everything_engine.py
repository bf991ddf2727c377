# SPDX-License-Identifier: Apache-2.0
"""Segment everything with engines: export, build, load, and the golden runs."""

from __future__ import annotations

import pytest

import evit_deploy
from evit_deploy.engines.bundle import build_bundle
from evit_deploy.export import ExportOptions, export_model
from tests.runtime.sam.golden_everything import compare_with_golden
from tests.sam import save_checkpoint, structured_model


@pytest.fixture(scope="module")
def structured_engine(tmp_path_factory):
    """l0-sam with the weights of the golden runs, built for this CPU."""
    workspace = tmp_path_factory.mktemp("structured")
    weights = save_checkpoint(structured_model(), workspace / "structured.pt")
    export_model("l0-sam", workspace / "export", ExportOptions(weights=str(weights)))
    build_bundle(workspace / "export", workspace / "engine", target="cpu")
    with evit_deploy.load(workspace / "engine") as sam:
        yield sam


@pytest.mark.slow
@pytest.mark.parametrize("setting", ["crops", "crops_regions"])
def test_golden_masks_of_an_engine(structured_engine, setting):
    compare_with_golden(setting, structured_engine)
