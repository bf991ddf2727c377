# SPDX-License-Identifier: Apache-2.0
"""Each rewrite is exact algebra: same numbers as the module it replaces, on any input."""

from __future__ import annotations

import io

import numpy as np
import onnx
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from evit_deploy.export.rewrite import (
    BoundedGelu,
    PhaseUpsample,
    ScaleFreeLayerNorm,
    StaticAttention,
    deployable,
    fold_input_scale,
    fold_norm,
)
from evit_deploy.export.trace import lift_constants
from evit_deploy.models import create_model
from evit_deploy.models.attention import MultiScaleLinearAttention
from evit_deploy.models.blocks import ConvLayer, Upsample
from evit_deploy.precision.faithful import FaithfulGraph
from evit_deploy.precision.fp16 import lower_fp16


def relative(found, expected):
    return float((found - expected).norm() / expected.norm())


@settings(max_examples=30, deadline=None)
@given(factor=st.sampled_from([2, 3, 4, 8]), size=st.tuples(st.integers(1, 12), st.integers(1, 12)))
def test_upsampling_is_bicubic_interpolation(factor, size):
    x = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(factor))
    expected = F.interpolate(x.double(), scale_factor=float(factor), mode="bicubic", align_corners=False)
    torch.testing.assert_close(PhaseUpsample(factor)(x).double(), expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(Upsample(factor)(x).double(), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("scale", [1.0, 1e-3, 1e3])
@pytest.mark.parametrize("head_dim", [16, 32])
def test_attention_block(scale, head_dim):
    torch.manual_seed(0)
    module = MultiScaleLinearAttention(64, head_dim, 5, 1e-5).eval()
    x = scale * torch.randn(2, 64, 9, 13)
    with torch.no_grad():
        assert relative(StaticAttention(module)(x), module(x)) < 1e-5


def half(model, *arrays):
    """A module traced, typed in FP16 and run by the faithful emulation."""
    buffer = io.BytesIO()
    inputs = tuple(torch.from_numpy(array).float() for array in arrays)
    torch.onnx.export(model, inputs, buffer, dynamo=False, opset_version=17, input_names=["x"], output_names=["y"])
    graph = onnx.load_from_string(buffer.getvalue())
    lift_constants(graph)
    return FaithfulGraph(lower_fp16(graph)[0]).infer({"x": arrays[0].astype(np.float16)})["y"].astype(np.float64)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-1e4, 1e4, width=32), min_size=1, max_size=50))
def test_bounded_gelu_is_gelu(values):
    x = torch.tensor([*values, 0.0, 1e-3, -1e-3, 9.99, -10.01])
    torch.testing.assert_close(BoundedGelu()(x), F.gelu(x, approximate="tanh"), atol=2e-6, rtol=2e-6)


def test_bounded_gelu_is_safe_in_fp16():
    """Where the usual decomposition cubes x, past FP16's range from 40 on."""
    x = np.concatenate([np.linspace(-8, 8, 500), [-60000, -300, -41, 41, 300, 60000]]).astype(np.float16)
    expected = F.gelu(torch.from_numpy(x).double(), approximate="tanh").numpy()
    found = half(BoundedGelu(), x)
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found, expected, atol=2e-3, rtol=2e-3)


@pytest.mark.parametrize("eps", [1e-5, 1e-7])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 300.0, 3e4])
@pytest.mark.parametrize("shift", [0.0, 0.9])
def test_layer_norm_does_not_care_for_scale(eps, scale, shift):
    torch.manual_seed(0)
    norm = nn.LayerNorm(64, eps=eps)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    x = (torch.rand(8, 64) * 2 - 1) * scale
    x = x * (1 - shift) + shift * scale
    x[0] = shift * scale  # a row without any deviation
    with torch.no_grad():
        expected = norm.double()(x.double())
        ours = ScaleFreeLayerNorm(norm.float())
        torch.testing.assert_close(ours(x).double(), expected, atol=2e-5 if shift == 0 else 2e-3, rtol=1e-4)
        rounded = norm.double()(x.half().double()).numpy()
        found = half(ScaleFreeLayerNorm(norm.float()), x.numpy())
    assert np.isfinite(found).all()
    # Rows that lie far from zero lose bits when their mean is taken off, in any form.
    np.testing.assert_allclose(found, rounded, atol=6e-3 if shift == 0 else 6e-2)


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
