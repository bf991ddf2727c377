# SPDX-License-Identifier: Apache-2.0
"""Balancing: the same function, exactly, with q, k and v in the middle of FP16 whatever the checkpoint."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from evit_deploy.export.peaks import LARGEST_SEEN, MIDDLE, SMALLEST_SEEN, balance, record_peaks
from evit_deploy.export.rewrite import deployable, fold_norm
from evit_deploy.models import create_model
from evit_deploy.models.attention import MultiScaleLinearAttention


def attention(dim=16):
    torch.manual_seed(0)
    module = MultiScaleLinearAttention(32, dim, 5, 1e-5).eval()
    fold_norm(module.proj)
    return module


def peaks_of(model, x):
    with torch.no_grad(), record_peaks(model) as peaks:
        model(x)
    return peaks


def test_peaks_are_the_largest_of_both_scales():
    module, x = attention(), torch.randn(2, 32, 6, 7)
    (peaks,) = peaks_of(module, x).values()
    with torch.no_grad():
        fine = module.qkv(x)
        both = torch.stack([fine, module.aggreg[0](fine)]).reshape(2, 2, 2, 3, 16, 42)  # scale, batch, head, qkv, d, N
    torch.testing.assert_close(peaks, both.abs().amax(dim=(0, 1, 4, 5)))


def test_peaks_grow_over_calls_and_hooks_go_away():
    module = attention()
    with torch.no_grad(), record_peaks(module) as peaks:
        module(torch.ones(1, 32, 4, 4))
        before = peaks[""].clone()
        module(10 * torch.ones(1, 32, 4, 4))
        module(torch.zeros(1, 32, 4, 4))
    torch.testing.assert_close(peaks[""], 10 * before)
    assert not module.qkv._forward_hooks


@given(logs=st.lists(st.floats(-3, 6), min_size=6, max_size=6))
def test_balanced_attention_is_the_same_function(logs):
    """Down to 1e-3: far below, the reference's epsilon begins to count."""
    module, x = attention(), torch.randn(1, 32, 5, 6, generator=torch.Generator().manual_seed(1))
    factors = 10.0 ** torch.tensor(logs).reshape(2, 3)
    with torch.no_grad():
        weight = module.qkv.conv.weight
        weight.copy_((weight.view(2, 3, 16, -1) * factors[:, :, None, None]).view_as(weight))
        expected = module(x)
        (peaks,) = peaks_of(module, x).values()
        balanced = copy.deepcopy(module)
        balance(balanced, peaks)
        found = balanced(x)
    (after,) = peaks_of(balanced, x).values()
    assert ((after >= min(SMALLEST_SEEN, MIDDLE / 2)) & (after <= LARGEST_SEEN)).all()
    assert (found - expected).norm() <= 1e-5 * expected.norm()


def test_peaks_in_the_middle_change_nothing():
    module = attention()
    before = copy.deepcopy(module.state_dict())
    balance(module, torch.tensor([[1.0, 16.0, 125.0], [0.0, float("inf"), 2.0]]))
    assert all(torch.equal(value, before[key]) for key, value in module.state_dict().items())


@pytest.mark.parametrize("name", ["b0-seg", "l1-cls"])
def test_a_whole_model_balanced_by_what_it_saw(name):
    model, x = create_model(name, weights="random"), torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, MultiScaleLinearAttention):
                module.qkv.conv.weight.mul_(3000)
                module.proj.conv.weight.div_(3000)
        expected = model(x)
        found = deployable(model, peaks_of(model, x))(x)
    assert (found - expected).norm() <= 1e-5 * expected.norm()
