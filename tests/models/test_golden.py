# SPDX-License-Identifier: Apache-2.0
"""Every model accepts the official checkpoints' keys and computes the reference implementation's numbers.

The golden files were made with mit-han-lab/efficientvit at commit de7d773 (PyTorch 2.13.0, CPU, FP32) from the
synthetic weights and inputs of tests/synthetic.py. Each tolerance is four times the largest deviation seen over thread
counts, memory layouts and FP64. Segment Anything has a file of its own, test_sam.py.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from evit_deploy.export.reference import settle_vector_library
from evit_deploy.models import find_model, list_models
from evit_deploy.models.build import build_model
from tests.synthetic import make_input, make_weights

FOLDER = Path(__file__).parents[1] / "golden"
SPECS = json.loads((FOLDER / "models.json").read_text())


def test_the_zoo_is_the_reference_zoo():
    assert list_models() == list(SPECS)
    for name, spec in SPECS.items():
        assert [checkpoint.file for checkpoint in find_model(name).checkpoints] == spec["checkpoints"]


@pytest.mark.parametrize("name", list(SPECS))
def test_keys_and_shapes_are_those_of_the_checkpoints(name):
    spec, model = SPECS[name], build_model(find_model(name))
    assert {key: list(value.shape) for key, value in model.state_dict().items()} == spec["state_dict"]
    assert list(model.state_dict()) == list(spec["state_dict"])
    parameters = sum(parameter.numel() for parameter in model.parameters())
    assert parameters == spec["parameters"]
    assert abs(find_model(name).parameters - parameters / 1e6) < max(0.1, 0.005 * parameters / 1e6)


@pytest.mark.parametrize("name", [*list_models("cls"), *list_models("seg")])
def test_equals_the_reference(name):
    spec = SPECS[name]
    golden, tolerance = np.load(FOLDER / f"{name}.npz"), spec["golden"]
    model = build_model(find_model(name)).eval()
    weights = make_weights(spec["state_dict"], tolerance["weight_seed"])
    model.load_state_dict({key: torch.from_numpy(value) for key, value in weights.items()}, strict=True)

    settle_vector_library()
    with torch.inference_mode():
        x = torch.from_numpy(make_input(tolerance["input_shape"], tolerance["input_seed"]))
        stages = model.backbone(x)
        logits = model(x).numpy()

    for stage, features in stages.items():
        flat = features.numpy().ravel()
        assert list(features.shape) == golden[f"{stage}.shape"].tolist()
        sample = flat[:: max(1, flat.size // 256)][:256]
        np.testing.assert_allclose(
            sample, golden[f"{stage}.sample"], rtol=tolerance["rtol"], atol=tolerance["atol"]["stage"], err_msg=stage
        )
        stats = [flat.astype(np.float64).mean(), flat.astype(np.float64).std()]
        np.testing.assert_allclose(
            stats, golden[f"{stage}.stats"], rtol=tolerance["rtol"], atol=tolerance["atol"]["stats"], err_msg=stage
        )
    np.testing.assert_allclose(
        logits, golden["logits"], rtol=tolerance["rtol"], atol=tolerance["atol"]["output"], err_msg="logits"
    )
