# SPDX-License-Identifier: Apache-2.0
"""Huge activations: the same function, bit by bit, and FP16 graphs that live where the usual ones die."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from evit_deploy.export.rewrite import BoundedGelu, deployable
from evit_deploy.export.sam.encoder import DeployedEncoder, EncoderPeaks, trace_encoder
from evit_deploy.export.streams import LARGEST, balance_streams, record_streams
from evit_deploy.export.trace import trace
from evit_deploy.precision.faithful import FaithfulGraph
from evit_deploy.precision.fp16 import lower_fp16
from evit_deploy.precision.lower import lower
from tests.export.small_sam import RULES, inflate_hidden, inflate_output, inflate_streams, picture, small_model

ATTACKS = {
    "streams": [(inflate_streams, 3e4)],
    "hidden": [(inflate_hidden, 3e4)],
    "output": [(inflate_output, 3e4)],
    "all": [(inflate_streams, 2e4), (inflate_hidden, 3e4), (inflate_output, 1e2)],
}


def attacked(family, attack):
    model = small_model(family)
    with torch.no_grad():
        for inflate, factor in ATTACKS[attack]:
            inflate(model.image_encoder, factor)
    return model


def run(model, x):
    """PyTorch's embedding, and what was seen on the way."""
    with torch.inference_mode(), EncoderPeaks(model) as peaks:
        return model(x), peaks


def relative_l2(found, expected):
    found, expected = np.asarray(found, np.float64), np.asarray(expected, np.float64)
    return np.linalg.norm(found - expected) / np.linalg.norm(expected)


@pytest.mark.parametrize("attack", list(ATTACKS))
@pytest.mark.parametrize("family", ["l", "xl"])
def test_the_usual_fp16_graph_dies_and_ours_agrees(family, attack):
    model, x = attacked(family, attack), picture()
    expected, peaks = run(model, x)
    half = {"image": x.numpy().astype(np.float16)}

    usual = trace(copy.deepcopy(model.image_encoder), x, ("embedding",), 17, False)
    broken = FaithfulGraph(lower_fp16(usual)[0]).infer(half)["embedding"]
    assert not relative_l2(broken, expected) < 0.5  # NaN, or zeros where squares overflow

    ours = lower(trace_encoder(model, RULES, "tensor", peaks=peaks), "fp16", "conv").model
    found = FaithfulGraph(ours).infer(half)["embedding"]
    assert np.isfinite(found).all()
    assert relative_l2(found, expected) < 5e-3


@pytest.mark.parametrize("family", ["l", "xl"])
def test_balancing_does_not_change_a_bit(family):
    model, x = attacked(family, "all"), picture(1)
    _, peaks = run(model, x)
    plain = deployable(model.image_encoder, peaks.attention)
    moved = DeployedEncoder(model, RULES, "tensor", peaks)
    assert moved.moved
    with torch.inference_mode():
        assert torch.equal(moved(x), plain(x))


@pytest.mark.parametrize("powers", [(0, 0, 0), (3, 0, 0), (6.3, 0, 0), (0, 6.3, 0), (4.1, 5.2, 4), (6, 6, 6)])
def test_everything_that_was_seen_fits_with_room(powers):
    """Whatever the sizes: every convolution and every sum of the balanced encoder is at most LARGEST."""
    model, x = small_model(), picture(2)
    with torch.no_grad():
        for inflate, power in zip((inflate_streams, inflate_hidden, inflate_output), powers, strict=True):
            inflate(model.image_encoder, 10.0**power)
    expected, peaks = run(model, x)
    balanced = DeployedEncoder(model, RULES, "tensor", peaks)
    with torch.inference_mode(), record_streams(balanced.network) as after:
        found = balanced(x)
    assert relative_l2(found, expected) < 1e-4
    # One rounding apart: PyTorch's peaks are those of convolution and BatchNorm one after the other.
    assert max(after.values()) <= LARGEST * (1 + 1e-3)


def test_what_fits_stays_as_it_is():
    model, x = small_model(), picture()
    _, peaks = run(model, x)
    encoder = deployable(model.image_encoder)
    before = copy.deepcopy(encoder.state_dict())
    assert balance_streams(encoder, peaks.streams) == {}
    assert all(torch.equal(value, before[key]) for key, value in encoder.state_dict().items())
    assert all(module.unit == 1 for module in encoder.modules() if isinstance(module, BoundedGelu))


def test_peaks_that_are_not_finite_move_nothing():
    """There is nothing to balance by; PyTorch's own output is refused later."""
    model = small_model()
    with torch.inference_mode(), record_streams(model.image_encoder) as peaks:
        model(picture())
    assert balance_streams(deployable(model.image_encoder), dict.fromkeys(peaks, float("inf"))) == {}


def test_peaks_grow_over_calls_and_hooks_go_away():
    encoder, x = small_model().image_encoder, picture()
    with torch.inference_mode(), record_streams(encoder) as peaks:
        encoder(x)
        first = dict(peaks)
        encoder(30 * x)
        encoder(torch.zeros_like(x))
    name = "backbone.stages.0.op_list.0.conv"
    assert peaks[name] == pytest.approx(30 * first[name])
    assert not any(module._forward_hooks for module in encoder.modules())


@given(power=st.integers(0, 14), scale=st.floats(1e-6, 1e7))
def test_gelu_in_another_unit_is_the_same_gelu(power, scale):
    x = scale * torch.randn(64, generator=torch.Generator().manual_seed(power))
    unit = 2.0**power
    found, expected = BoundedGelu(unit)(x / unit) * unit, BoundedGelu()(x)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-33)  # FP32's subnormal numbers aside
