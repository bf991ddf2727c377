# SPDX-License-Identifier: Apache-2.0
"""Weights that kill the usual FP16 export, at full size: the usual graph is NaN, ours agrees with PyTorch.

The FP32 function of every case but the zero heads is that of the demo weights (docs/numerics.md has the numbers).
"""

from __future__ import annotations

import copy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from evit_deploy.agreement import compare_frame
from evit_deploy.data.images import scene_frame
from evit_deploy.export.exporter import preprocess_rules
from evit_deploy.export.graph import trace_deployed
from evit_deploy.export.peaks import record_peaks
from evit_deploy.models import create_model, find_model
from evit_deploy.models.attention import MultiScaleLinearAttention
from evit_deploy.precision.faithful import FaithfulGraph
from evit_deploy.precision.fp16 import lower_fp16
from evit_deploy.precision.lower import lower
from evit_deploy.runtime.preprocess import normalise

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))
from lowerings import plain_graph

SIZE = (1024, 2048)
SPEC = find_model("b1-seg")
RULES = preprocess_rules(SPEC)


def scale(attention, head, part, factor):
    """Scale q (0), k (1) or v (2) of a head; the projection takes v's factor back."""
    dim = attention.head_dim
    heads = attention.qkv.conv.out_channels // (3 * dim)
    attention.qkv.conv.weight.view(heads, 3, dim, -1)[head, part] *= factor
    if part == 2:
        attention.proj.conv.weight.view(-1, 2, heads, dim)[:, :, head] /= factor


def large(attention, index):
    for part in range(3):
        scale(attention, slice(None), part, 200)


def small(attention, index):
    for part in range(2):
        scale(attention, slice(None), part, 3e-3)


def mixture(attention, index):
    """Large, small, silent heads and wild scales, by turns."""
    if index % 4 == 0:
        large(attention, index)
    elif index % 4 == 1:
        small(attention, index)
    elif index % 4 == 2:
        scale(attention, slice(None, None, 2), 0, 0)
    else:
        for head, (q, k, v) in enumerate(10 ** np.random.default_rng(index).uniform(-2.5, 2.5, (16, 3))):
            for part, factor in enumerate((q, k, v)):
                scale(attention, head, part, factor)


@pytest.mark.slow
@pytest.mark.parametrize("attack", [None, large, small, mixture])
def test_ours_agrees_where_the_usual_graph_is_nan(attack):
    model = create_model("b1-seg", weights="demo")
    with torch.no_grad():
        for index, module in enumerate(m for m in model.modules() if isinstance(m, MultiScaleLinearAttention)):
            if attack is not None:
                attack(module, index)
    image = scene_frame(2_000_000, SIZE).image[None]
    floats = normalise(image, RULES)
    with torch.inference_mode(), record_peaks(model) as peaks:
        (expected,) = model(torch.from_numpy(floats)).numpy()

    ours = lower(trace_deployed(model, RULES, SIZE, "tensor", "logits", peaks=peaks), "fp16", "conv").model
    (found,) = FaithfulGraph(ours).infer({"image": floats.astype(np.float16)})["logits"]
    row = compare_frame("scene", expected, {"logits": found})
    print(f"relative L2 {row.relative_l2:.2e}, classes equal {row.class_agreement:.4%}, mIoU {row.miou:.5f}")
    assert row.relative_l2 < 1e-2
    assert row.class_agreement > 0.995

    plain, _ = lower_fp16(plain_graph(copy.deepcopy(model), SPEC, SIZE))
    (broken,) = FaithfulGraph(plain).infer({"image": floats.astype(np.float16)})["logits"]
    print(f"usual graph: {np.isnan(broken).mean():.0%} NaN")
    assert np.isnan(broken).all()
