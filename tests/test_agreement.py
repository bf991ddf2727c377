# SPDX-License-Identifier: Apache-2.0
"""What counts as agreement: harmless rounding passes, faults do not, whatever they look like."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from evit_deploy.agreement import (
    BUDGETS,
    broken_limits,
    budget_for,
    class_map,
    compare_embedding,
    compare_frame,
    compare_masks,
    judge,
    mean_iou,
    require,
    worst,
)
from evit_deploy.data.masks import LowRes, PromptFrame
from evit_deploy.errors import CheckFailedError

BUDGET = BUDGETS["fp32"]


def logits(seed=0, shape=(19, 8, 16)):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def upsampled(reference):
    full = torch.nn.functional.interpolate(torch.from_numpy(reference)[None], scale_factor=8, mode="bicubic")
    return full[0].numpy()


@pytest.mark.parametrize("shape", [(19, 8, 16), (1000,)])
def test_equal_outputs_agree_perfectly(shape):
    reference = logits(shape=shape)
    row = compare_frame("frame", reference, {"logits": reference.copy()})
    assert (row.relative_l2, row.max_error, row.class_agreement, row.conceded_margin) == (0, 0, 1, 0)
    assert row.cosine == pytest.approx(1)
    assert not broken_limits(row, BUDGET)


@settings(max_examples=40, deadline=None)
@given(noise=st.floats(1e-7, 1.0), seed=st.integers(0, 1000))
def test_relative_l2_measures_the_noise(noise, seed):
    reference = logits(seed)
    found = reference + noise * np.linalg.norm(reference) * _unit(seed, reference.shape)
    row = compare_frame("frame", reference, {"logits": found})
    assert row.relative_l2 == pytest.approx(noise, rel=1e-2, abs=1e-6)
    # A class is only lost where the noise bridges the margin, so the margin given away is bounded by the noise.
    assert row.conceded_margin * reference.std() <= 2 * row.max_error + 1e-6


def _unit(seed, shape):
    direction = np.random.default_rng(seed + 1).normal(size=shape)
    return (direction / np.linalg.norm(direction)).astype(np.float32)


def test_class_map_of_a_tie_passes_and_of_a_fault_fails():
    reference = logits()
    best = upsampled(reference).argmax(axis=0).astype(np.uint8)
    full = upsampled(reference)
    second = np.argsort(full, axis=0)[-2]
    margin = np.sort(full, axis=0)[-1] - np.sort(full, axis=0)[-2]
    tie = np.unravel_index(margin.argmin(), margin.shape)
    harmless, fault = best.copy(), best.copy()
    harmless[tie] = second[tie]
    clear = np.unravel_index(margin.argmax(), margin.shape)
    fault[clear] = second[clear]
    passing = compare_frame("tie", reference, {"classes": harmless})
    failing = compare_frame("fault", reference, {"classes": fault})
    assert passing.class_agreement == failing.class_agreement
    assert not broken_limits(passing, BUDGET)
    assert any("conceded margin" in text for text in broken_limits(failing, BUDGET))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("shape", [(19, 8, 16), (1000,)])
def test_nan_and_infinity_never_pass(value, shape):
    reference = logits(shape=shape)
    found = reference.copy()
    found.flat[7] = value
    row = compare_frame("frame", reference, {"logits": found})
    assert not row.finite
    assert any("NaN" in text for text in broken_limits(row, BUDGET))


def test_all_nan_fails_every_limit():
    row = compare_frame("frame", logits(), {"logits": np.full((19, 8, 16), np.nan, np.float32)})
    assert len(broken_limits(row, BUDGET)) >= 2


def test_class_number_past_the_last_one_never_passes():
    reference = logits()
    found = class_map(reference, 64, 128)
    found[0, 0] = 77
    assert not compare_frame("frame", reference, {"classes": found}).finite


def test_confidence_is_compared():
    reference = logits()
    full = upsampled(reference)
    probability = np.exp(full - full.max(0)) / np.exp(full - full.max(0)).sum(0)
    outputs = {"classes": full.argmax(0).astype(np.uint8), "confidence": probability.max(0)}
    assert compare_frame("frame", reference, outputs).confidence_error < 1e-5
    outputs["confidence"] = outputs["confidence"] + 0.25
    row = compare_frame("frame", reference, outputs)
    assert row.confidence_error == pytest.approx(0.25, abs=1e-4)
    assert any("confidence" in text for text in broken_limits(row, BUDGET))


def test_class_map_and_logits_together():
    reference = logits()
    outputs = {"classes": class_map(reference, 64, 128), "logits": reference + 1e-3}
    row = compare_frame("frame", reference, outputs)
    assert row.class_agreement == 1.0
    assert row.max_error == pytest.approx(1e-3, rel=0.05)
    assert any("relative L2" in text for text in broken_limits(row, BUDGET))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=60))
def test_mean_iou_by_definition(pairs):
    ours, theirs = np.array(pairs, np.uint8).T
    expected = [
        np.sum((ours == c) & (theirs == c)) / np.sum((ours == c) | (theirs == c))
        for c in range(5)
        if np.any((ours == c) | (theirs == c))
    ]
    assert mean_iou(ours, theirs, 5) == pytest.approx(np.mean(expected))


def test_class_map_is_pytorch_s():
    reference = logits()
    assert (class_map(reference, 64, 128) == upsampled(reference).argmax(axis=0)).mean() > 0.999


def test_worst_collects_the_worst_of_each():
    rows = [compare_frame(str(seed), logits(), {"logits": logits() + seed * 1e-3}) for seed in range(3)]
    row = worst(rows)
    assert row.relative_l2 == rows[2].relative_l2
    assert row.class_agreement == min(r.class_agreement for r in rows)


def test_require_names_frame_value_and_limit():
    reference = logits()
    good, bad = reference.copy(), reference * 1.01
    rows = [
        compare_frame("good.png", reference, {"logits": good}),
        compare_frame("bad.png", reference, {"logits": bad}),
    ]
    agreement = judge("PyTorch", BUDGET, rows)
    assert not agreement.passed
    with pytest.raises(CheckFailedError, match=r"bad\.png: relative L2 1\.00e-02, at most 1e-04") as error:
        require(agreement, "the engine", "build it again")
    assert error.value.exit_code == 1
    require(judge("PyTorch", BUDGET, rows[:1]), "the engine", "")


# Promptable segmentation


def masks(seed=0, count=4):
    """Logits of blobs, float32 [count, 256, 256], and predicted IoU."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:256, :256]
    centres, radii = rng.uniform(80, 170, (count, 2)), rng.uniform(20, 60, count)
    distance = np.hypot(rows - centres[:, :1, None], columns - centres[:, 1:, None])
    return LowRes((radii[:, None, None] - distance).astype(np.float32), rng.uniform(0, 1, count).astype(np.float32))


FRAME = PromptFrame(240, 333)


def test_equal_embeddings_agree_perfectly():
    reference = logits(shape=(256, 64, 64))
    row = compare_embedding("photo", reference, reference.copy())
    assert (row.relative_l2, row.max_error, row.class_agreement, row.mask_iou) == (0, 0, None, None)
    assert not broken_limits(row, BUDGET)


@pytest.mark.parametrize(("noise", "passes"), [(1e-5, True), (1e-3, False), (np.nan, False)])
def test_an_embedding_that_is_off(noise, passes):
    reference = logits(shape=(256, 64, 64))
    row = compare_embedding("photo", reference, reference * (1 + noise))
    assert bool(broken_limits(row, BUDGET)) != passes
    assert row.finite == np.isfinite(noise)


def test_equal_masks_agree_perfectly():
    row = compare_masks("a point", FRAME, masks(), masks())
    assert (row.mask_iou, row.score_error, row.max_error, row.finite) == (1, 0, 0, True)
    assert not broken_limits(row, BUDGET)


def test_masks_count_together_and_every_one_by_its_margin():
    found = masks()
    moved = found.masks.copy()
    moved[2] = np.roll(moved[2], 40, axis=0)
    row = compare_masks("a point", FRAME, found, LowRes(moved, found.iou))
    ours, theirs = FRAME.upscale(found.masks) > 0, FRAME.upscale(moved) > 0
    assert row.mask_iou == pytest.approx((ours & theirs).sum() / (ours | theirs).sum())
    assert row.conceded_margin is not None and row.conceded_margin > 0.1
    broken = broken_limits(row, BUDGETS["fp16"])
    assert [words.split(" ")[0] for words in broken] == ["conceded", "mask"]


def test_a_small_mask_may_lose_a_pixel_but_not_be_lost():
    """Less than 1 % of the frame: what is undecided may flip, what is clear may not."""
    found = masks()
    small = found.masks.copy()
    small[3] = small[3] - small[3].max() + np.float32(8.0)
    reference = LowRes(small, found.iou)
    assert 0 < (FRAME.upscale(small)[3] > 0).mean() < 0.01
    shifted, gone = small.copy(), small.copy()
    shifted[3] -= np.float32(0.2)
    gone[3] = -1.0
    near, far = (compare_masks("a point", FRAME, reference, LowRes(other, found.iou)) for other in (shifted, gone))
    assert near.mask_iou < 1 and not broken_limits(near, BUDGETS["fp16"])
    assert far.mask_iou > 0.99
    assert [words.split(" ")[0] for words in broken_limits(far, BUDGETS["fp16"])] == ["conceded"]


def test_logits_far_from_the_threshold_do_not_matter():
    found = masks()
    row = compare_masks("a point", FRAME, found, LowRes(found.masks * 1.5, found.iou))
    assert row.mask_iou == 1
    assert row.max_error > 10
    assert not broken_limits(row, BUDGET)


def test_two_empty_masks_are_equal_and_one_is_not():
    nothing = LowRes(np.full((4, 256, 256), -1, np.float32), np.zeros(4, np.float32))
    assert compare_masks("a point", FRAME, nothing, nothing).mask_iou == 1
    assert compare_masks("a point", FRAME, nothing, masks()).mask_iou == 0


@pytest.mark.parametrize("field", ["masks", "iou"])
def test_masks_that_are_not_finite(field):
    found = masks()
    broken = LowRes(**{"masks": found.masks, "iou": found.iou, field: np.full_like(getattr(found, field), np.nan)})
    row = compare_masks("a point", FRAME, found, broken)
    assert (row.finite, row.mask_iou) == (False, 0)
    with pytest.raises(CheckFailedError, match="PyTorch's own"):
        compare_masks("a point", FRAME, broken, found)


def test_a_score_that_is_off():
    found = masks()
    row = compare_masks("a point", FRAME, found, LowRes(found.masks, found.iou + np.float32(0.5)))
    assert row.score_error == pytest.approx(0.5)
    assert broken_limits(row, BUDGETS["bf16"]) == ["predicted IoU off by 5.00e-01, at most 0.1"]


def test_the_worst_of_different_kinds_of_rows():
    rows = [compare_masks("a point", FRAME, masks(), masks()), compare_embedding("photo", *[logits()] * 2)]
    total = worst(rows)
    assert (total.mask_iou, total.relative_l2, total.class_agreement) == (1, 0, None)
    assert judge("PyTorch", BUDGET, rows).passed


def test_a_class_may_flip_in_int8_where_the_margin_is_small() -> None:
    assert budget_for("int8", "cls").class_agreement == 0.0
    assert budget_for("int8", "cls").conceded_margin == BUDGETS["int8"].conceded_margin
    assert budget_for("int8", "seg") == BUDGETS["int8"] and budget_for("fp16", "cls") == BUDGETS["fp16"]
