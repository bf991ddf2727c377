# SPDX-License-Identifier: Apache-2.0
"""Masks at a frame's own pixels, against PyTorch's two interpolations and a crop."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from evit_deploy.data.masks import PromptFrame, longest_side

SIZES = st.tuples(st.integers(1, 1500), st.integers(1, 1500))


def logits(count, seed=0):
    """Smooth logits, as a decoder's are."""
    coarse = np.random.default_rng(seed).normal(size=(count, 1, 24, 24)).astype(np.float32) * 8
    return F.interpolate(torch.from_numpy(coarse), (256, 256), mode="bicubic")[:, 0].numpy()


def by_pytorch(frame, low_res):
    height, width = frame.fitted
    full = F.interpolate(torch.from_numpy(low_res)[None], (1024, 1024), mode="bilinear", align_corners=False)
    size = (frame.height, frame.width)
    return F.interpolate(full[..., :height, :width], size, mode="bilinear", align_corners=False)[0].numpy()


@settings(max_examples=40, deadline=None)
@given(size=SIZES, count=st.integers(1, 3))
def test_upscaling_equals_pytorch(size, count):
    frame, low_res = PromptFrame(*size), logits(count, size[0])
    expected = by_pytorch(frame, low_res)
    np.testing.assert_allclose(frame.upscale(low_res), expected, atol=2e-4)
    assert ((frame.pixels(low_res) != (expected > 0)) & (np.abs(expected) > 2e-4)).sum() == 0


@pytest.mark.parametrize("size", [(1, 1), (1, 20_000), (20_000, 1), (3, 5000), (1024, 1024), (721, 1281)])
def test_extreme_frames(size):
    frame, low_res = PromptFrame(*size), logits(2)
    np.testing.assert_allclose(frame.upscale(low_res), by_pytorch(frame, low_res), atol=4e-4)


def test_strips_cover_the_frame_once_and_in_order():
    frame, low_res = PromptFrame(2160, 3840), logits(1)
    rows, parts = zip(*((rows, strip.copy()) for rows, strip in frame.strips(low_res)), strict=True)
    assert len(rows) > 4
    assert [row.start for row in rows] == [0, *(row.stop for row in rows[:-1])]
    assert rows[-1].stop == 2160
    np.testing.assert_array_equal(np.concatenate(parts, axis=1), frame.upscale(low_res))


def test_threshold_and_half_precision():
    frame, low_res = PromptFrame(60, 80), logits(3)
    np.testing.assert_array_equal(frame.pixels(low_res, 1.5), frame.upscale(low_res) > 1.5)
    half = low_res.astype(np.float16)
    np.testing.assert_array_equal(frame.upscale(half), frame.upscale(half.astype(np.float32)))
    assert frame.pixels(low_res[:0]).shape == (0, 60, 80)


@settings(max_examples=200, deadline=None)
@given(size=st.tuples(st.integers(1, 20_000), st.integers(1, 20_000)), longest=st.sampled_from([512, 1024]))
def test_sides_are_rounded_as_the_reference_rounds(size, longest):
    height, width = longest_side(*size, longest)
    scale = longest * 1.0 / max(size)
    assert max(height, width) == longest
    assert (height, width) == tuple(max(int(side * scale + 0.5), 1) for side in size)


def test_points_move_by_axis():
    frame = PromptFrame(501, 300)
    assert frame.fitted == (1024, 613)
    found = frame.to_frame([[0, 0], [300, 501], [150, 250.5]])
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, [[0, 0], [613, 1024], [306.5, 512]])
