# SPDX-License-Identifier: Apache-2.0
"""Each rewrite is exact algebra: same numbers as the module it replaces, on any input."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from evit_deploy.export.rewrite import PhaseUpsample, StaticAttention, deployable, fold_input_scale, fold_norm
from evit_deploy.models import create_model
from evit_deploy.models.attention import MultiScaleLinearAttention
from evit_deploy.models.blocks import ConvLayer, Upsample


def relative(found, expected):
    return float((found - expected).norm() / expected.norm())


@settings(max_examples=30, deadline=None)
@given(factor=st.sampled_from([2, 3, 4, 8]), size=st.tuples(st.integers(1, 12), st.integers(1, 12)))
def test_upsampling_is_bicubic_interpolation(factor, size):
    x = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(factor))
    expected = F.interpolate(x.double(), scale_factor=float(factor), mode="bicubic", align_corners=False)
    torch.testing.assert_close(PhaseUpsample(factor)(x).double(), expected, atol=3e-6, rtol=1e-5)
    torch.testing.assert_close(Upsample(factor)(x).double(), expected, atol=3e-6, rtol=1e-5)


@pytest.mark.parametrize("scale", [1.0, 1e-3, 1e3])
@pytest.mark.parametrize("head_dim", [16, 32])
def test_attention_block(scale, head_dim):
    torch.manual_seed(0)
    module = MultiScaleLinearAttention(64, head_dim, 5, 1e-5).eval()
    x = scale * torch.randn(2, 64, 9, 13)
    with torch.no_grad():
        assert relative(StaticAttention(module)(x), module(x)) < 1e-5


def test_folding_a_norm():
    torch.manual_seed(0)
    layer = ConvLayer(8, 16, 3, norm_eps=1e-7).eval()
    nn.init.uniform_(layer.norm.running_var, 1e-4, 2.0)
    nn.init.normal_(layer.norm.running_mean)
    nn.init.normal_(layer.norm.bias)
    x = torch.randn(1, 8, 6, 6)
    with torch.no_grad():
        expected = layer(x)
        fold_norm(layer)
        assert layer.norm is None
        assert relative(layer(x), expected) < 1e-6


def test_folding_the_input_scale():
    model = deployable(create_model("b0-cls", weights="random"))
    scale = torch.tensor([0.1, 2.0, 30.0])
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        expected = model(x * scale.view(1, 3, 1, 1))
        fold_input_scale(model, scale)
        assert relative(model(x), expected) < 1e-5


@pytest.mark.parametrize("name", ["b0-seg", "l1-cls"])
def test_whole_model_and_the_original_untouched(name):
    model = create_model(name, weights="random")
    before = {key: value.clone() for key, value in model.state_dict().items()}
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert relative(deployable(model)(x), model(x)) < 1e-5
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
