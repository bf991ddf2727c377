# SPDX-License-Identifier: Apache-2.0
"""Masks of which only the borders are computed, against those computed whole."""

from __future__ import annotations

import numpy as np
import pytest

from evit_deploy.data.masks import PromptFrame
from evit_deploy.runtime.sam import tiles
from evit_deploy.runtime.sam.tiles import tile_masks

FRAMES = [(1, 1), (1, 9), (3, 2), (31, 32), (33, 64), (240, 333), (501, 300), (1300, 33), (720, 1280)]


def smooth(count, seed=0):
    """Logits of blobs: flat inside and outside, steep between, as a trained decoder's."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:256, :256].astype(np.float32)
    logits = np.empty((count, 256, 256), np.float32)
    for index in range(count):
        centre, radius = random.uniform(20, 230, 2), random.uniform(4, 90)
        logits[index] = 9 * np.tanh((radius - np.hypot(x - centre[0], y - centre[1])) / random.uniform(1, 12))
    return logits


def noise(count, seed=0):
    return np.random.default_rng(seed).normal(size=(count, 256, 256)).astype(np.float32)


def flat(value):
    return np.full((1, 256, 256), value, np.float32)


LOGITS = np.concatenate([smooth(5), noise(2), flat(-3), flat(3), flat(0.5), flat(0)])


def collect(frame, logits, offset):
    groups = list(tile_masks(frame, logits, offset))
    masks = [group.rle(index).decode() for group in groups for index in range(len(group.stability))]
    return np.array(masks), np.concatenate([group.stability for group in groups]), len(groups)


@pytest.mark.parametrize("offset", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("size", FRAMES)
def test_tiles_equal_the_whole(size, offset):
    frame = PromptFrame(*size)
    whole = frame.upscale(LOGITS)
    masks, stability, _ = collect(frame, LOGITS, offset)
    # Both round; a logit within 1e-5 of the threshold may fall on either side.
    wrong = masks != (whole > 0)
    assert (np.abs(whole[wrong]) < 1e-5).all()
    high, low = (whole > offset).sum(axis=(1, 2)), (whole > -offset).sum(axis=(1, 2))
    with np.errstate(invalid="ignore"):
        np.testing.assert_allclose(stability, high / low, rtol=0, atol=1e-5)


def test_only_borders_are_computed():
    logits = smooth(40)
    groups = list(tile_masks(PromptFrame(720, 1280), logits, 1.0))
    computed = sum(group._pixels.size for group in groups)
    assert computed < 0.25 * len(logits) * 720 * 1280


@pytest.mark.parametrize("size", [(240, 333), (720, 1280)])
def test_groups_hold_no_more_than_the_budget(size, monkeypatch):
    monkeypatch.setattr(tiles, "_BUDGET", 300_000)
    frame = PromptFrame(*size)
    logits = np.concatenate([LOGITS, noise(3, seed=1)])
    masks, stability, groups = collect(frame, logits, 0.5)
    assert 1 < groups <= len(logits)
    for group in tile_masks(frame, logits, 0.5):
        assert group._pixels.size <= 300_000 or len(group.stability) == 1
    monkeypatch.undo()
    whole_masks, whole_stability, one = collect(frame, logits, 0.5)
    assert one == 1
    np.testing.assert_array_equal(masks, whole_masks)
    np.testing.assert_array_equal(stability, whole_stability)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e4])
def test_rounding_decides_no_tile(scale):
    """Logits within rounding of the offset: a pixel clearly above it is counted, one clearly below is not."""
    frame = PromptFrame(517, 731)
    logits = (scale * (1 + 1e-5 * noise(3, seed=2))).astype(np.float32)
    whole = frame.upscale(logits)
    _, stability, _ = collect(frame, logits, scale)
    for near, bound in ((1 + 2e-6, np.less_equal), (1 - 2e-6, np.greater_equal)):
        share = (whole > np.float32(scale * near)).mean(axis=(1, 2))
        assert share.min() > 0.01 and share.max() < 0.99
        assert bound(share, stability).all()


def test_broken_logits_do_not_pass():
    """NaN is neither above nor below; such a mask has no stability worth the name."""
    logits = smooth(2)
    logits[1] = np.nan
    masks, stability, _ = collect(PromptFrame(120, 90), logits, 1.0)
    assert stability[0] > 0.1 and not stability[1] >= 0.01
    assert not masks[1].any()
