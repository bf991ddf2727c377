# SPDX-License-Identifier: Apache-2.0
"""Linear attention against its definition: a weighted average over all pairs of tokens."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from evit_deploy.models.attention import MultiScaleLinearAttention, relu_linear_attention


def quadratic_attention(q, k, v, epsilon=1e-15):
    """relu(q)·relu(k) for every pair of tokens, then the weighted average of v."""
    weight = k.relu().transpose(-1, -2) @ q.relu()  # [..., N keys, N queries]
    return v @ (weight / (weight.sum(dim=-2, keepdim=True) + epsilon))


@settings(max_examples=30, deadline=None)
@given(dim=st.sampled_from([1, 4, 16, 32]), tokens=st.integers(1, 60), seed=st.integers(0, 10**6))
def test_equals_the_quadratic_form(dim, tokens, seed):
    q, k, v = torch.randn(3, 2, dim, tokens, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    torch.testing.assert_close(relu_linear_attention(q, k, v), quadratic_attention(q, k, v))


def test_is_a_convex_combination_of_the_values():
    generator = torch.Generator().manual_seed(0)
    q, k = torch.rand(2, 8, 50, generator=generator) + 0.1
    v = torch.randn(8, 50, generator=generator)
    out = relu_linear_attention(q, k, v)
    assert (out >= v.amin(dim=1, keepdim=True) - 1e-5).all()
    assert (out <= v.amax(dim=1, keepdim=True) + 1e-5).all()


def test_a_token_without_query_attends_to_nothing():
    q, k, v = -torch.ones(4, 9), torch.ones(4, 9), torch.ones(4, 9)
    assert (relu_linear_attention(q, k, v) == 0).all()


@pytest.mark.parametrize(("channels", "head_dim", "kernel"), [(32, 16, 5), (64, 32, 3)])
def test_module_keeps_the_shape(channels, head_dim, kernel):
    module = MultiScaleLinearAttention(channels, head_dim, kernel, norm_eps=1e-5).eval()
    assert module(torch.randn(2, channels, 6, 10)).shape == (2, channels, 6, 10)
