# SPDX-License-Identifier: Apache-2.0
"""Convolutions by Winograd's algorithm: the same numbers, and left alone where it does not apply."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from evit_deploy.engines import winograd
from evit_deploy.runtime.backends.openvino import core
from evit_deploy.runtime.backends.openvino import settings as exactly
from tests.conftest import require

require("openvino")
import openvino as ov  # noqa: E402
from openvino import opset13 as ops  # noqa: E402


def graph(weight, size, batch=1, **options):
    """A graph of one convolution, and nothing else."""
    options = {"strides": [1, 1], "pads": [1, 1], "dilations": [1, 1], **options}
    x = ops.parameter(ov.PartialShape([batch, weight.shape[1], *size]), np.float32, name="x")
    pads = options["pads"]
    y = ops.convolution(x, ops.constant(weight), options["strides"], pads, pads, options["dilations"])
    return ov.Model([y], [x], "convolution")


def run(model, x):
    compiled = core().compile_model(model, "CPU", exactly("fp32", 2))
    return next(iter(compiled(x).values()))


def relative_l2(found, expected):
    return np.linalg.norm(found - expected) / np.linalg.norm(expected)


def draw(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@settings(max_examples=12, deadline=None)
@given(
    channels=st.sampled_from([(1, 1), (3, 5), (16, 8)]),
    rows=st.integers(1, 5),
    columns=st.integers(1, 5),
    batch=st.integers(1, 3),
)
def test_the_same_convolution(channels, rows, columns, batch):
    """Borders, one tile only, more than one picture."""
    inputs, outputs = channels
    x, weight = draw(0, batch, inputs, 4 * rows, 4 * columns), draw(1, outputs, inputs, 3, 3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(winograd, "FEWEST_CHANNELS", 1)
        model = graph(weight, x.shape[2:], batch=-1)
        assert winograd.use_winograd(model) == 1
    expected = torch.nn.functional.conv2d(torch.from_numpy(x).double(), torch.from_numpy(weight).double(), padding=1)
    assert relative_l2(run(model, x), expected.numpy()) < 3e-6


def test_nearly_as_exact_as_a_direct_convolution():
    x, weight = draw(0, 1, 256, 32, 32), draw(1, 256, 256, 3, 3) / 48
    expected = torch.nn.functional.conv2d(torch.from_numpy(x).double(), torch.from_numpy(weight).double(), padding=1)
    model = graph(weight, (32, 32))
    direct = relative_l2(run(model, x), expected.numpy())
    assert winograd.use_winograd(model) == 1
    assert relative_l2(run(model, x), expected.numpy()) < 8 * direct


@pytest.mark.parametrize(
    ("weight", "size", "options"),
    [
        ((128, 64, 3, 3), (16, 16), {}),
        ((64, 128, 3, 3), (16, 16), {}),
        ((128, 128, 3, 3), (16, 18), {}),
        ((128, 128, 3, 3), (-1, 16), {}),
        ((128, 128, 3, 3), (16, 16), {"strides": [2, 2]}),
        ((128, 128, 3, 3), (16, 16), {"pads": [0, 0]}),
        ((128, 128, 3, 3), (16, 16), {"dilations": [2, 2], "pads": [1, 1]}),
        ((128, 128, 1, 1), (16, 16), {"pads": [0, 0]}),
        ((128, 128, 5, 5), (16, 16), {"pads": [2, 2]}),
        ((2048, 256, 3, 3), (16, 16), {}),
    ],
)
def test_others_stay_as_they_are(weight, size, options):
    model = graph(np.zeros(weight, np.float32), size, **options)
    assert winograd.use_winograd(model) == 0
    assert [node.get_type_name() for node in model.get_ordered_ops()].count("Convolution") == 1
