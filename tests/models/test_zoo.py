# SPDX-License-Identifier: Apache-2.0
"""Names, aliases and the answer to a wrong name."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from evit_deploy.errors import UsageError
from evit_deploy.models import MODELS, create_model, find_model, list_models
from evit_deploy.models.weights import choose_checkpoint


def test_every_alias_finds_its_model():
    for name, spec in MODELS.items():
        assert find_model(name) is spec
        assert find_model(spec.alias) is spec
        assert find_model(f" {name.upper()} ") is spec


@pytest.mark.parametrize(
    ("wrong", "meant"),
    [("b1seg", "b1-seg"), ("b9-seg", "b1-seg"), ("efficientvit-seg-b1", "efficientvit-seg-b1"), ("l0sam", "l0-sam")],
)
def test_unknown_model_names_the_nearest(wrong, meant):
    with pytest.raises(UsageError, match=meant):
        find_model(wrong)


def test_tasks():
    assert len(list_models("cls")) == 7
    assert len(list_models("seg")) == 11
    assert list_models("sam") == ["l0-sam", "l1-sam", "l2-sam", "xl0-sam", "xl1-sam"]
    assert len(list_models()) == 23


def test_segment_anything_differs_from_its_family():
    """One family, two epsilons: the eps goes with the checkpoint."""
    sam, segmenter = find_model("l1-sam"), find_model("l1-seg")
    assert sam.backbone == segmenter.backbone
    assert (sam.norm_eps, segmenter.norm_eps) == (1e-6, 1e-7)
    assert find_model("efficientvit-sam-xl1").resolution == (1024, 1024)
    assert (sam.resolution, sam.metric, sam.has_demo_weights) == ((512, 512), "COCO mAP", False)


@pytest.mark.parametrize(("side", "chosen"), [(224, 224), (240, 224), (250, 256), (512, 288)])
def test_checkpoint_nearest_to_the_resolution(side, chosen):
    assert choose_checkpoint(find_model("b1-cls"), (side, side)).side == chosen


def test_create_model_is_seeded_and_in_eval_mode():
    first, again, other = (create_model("b0-cls", weights="random", seed=seed) for seed in (1, 1, 2))
    x = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        assert torch.equal(first(x), again(x))
        assert not torch.equal(first(x), other(x))
    assert not first.training


def test_listing_models_imports_no_torch():
    code = "import sys, evit_deploy.models as m; m.list_models(); assert 'torch' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
