# SPDX-License-Identifier: Apache-2.0
"""Prompts through decoders of fixed sizes: the same answers as one by one, in the fewest runs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evit_deploy.errors import ArtifactError, UsageError
from evit_deploy.runtime.sam.decoder import CHUNK, Decoder, plan_sizes
from tests.runtime.sam.doubles import calls, encoder_graph, make_engine, toy_embedding, toy_sam

FRAME = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
FIXED = ((1, 1), (8, 8), (64, 64))


def some_points(count, seed=0):
    return np.random.default_rng(seed).uniform((0, 0), (64, 48), (count, 1, 2))


@given(count=st.integers(0, 300), sizes=st.sets(st.sampled_from([1, 2, 4, 8, 16, 64]), min_size=1))
def test_plans_hold_all_prompts_and_waste_little(count, sizes):
    chosen = sorted(sizes)
    plan = plan_sizes(count, tuple((size, size) for size in chosen))
    given = [size for _, size in plan]
    assert all(chosen[index] == size for index, size in plan)
    assert given == sorted(given, reverse=True)
    assert sum(given) >= count
    assert sum(given) - count < chosen[-1]
    assert not count or sum(given[:-1]) < count


@pytest.mark.parametrize(
    ("count", "expected"),
    [(1, [1]), (2, [1, 1]), (3, [8]), (8, [8]), (9, [8, 1]), (40, [8] * 5), (60, [64]), (130, [64, 64, 1, 1])],
)  # fmt: skip
def test_plan_of_a_usual_engine(count, expected):
    assert [size for _, size in plan_sizes(count, FIXED)] == expected


def test_plans_of_unusual_engines():
    """The largest decoder first is not always cheapest; and a plan may have thousands of runs."""
    assert [size for _, size in plan_sizes(96, ((48, 48), (64, 64)))] == [48, 48]
    assert len(plan_sizes(2000, ((1, 1), (4000, 4000)))) in range(1, 2001)
    assert [size for _, size in plan_sizes(1_000_000, FIXED)].count(64) >= 15_624


def test_plan_of_a_cpu():
    assert [size for _, size in plan_sizes(2 * CHUNK + 1, ((1, 64),))] == [CHUNK, CHUNK, 1]
    assert plan_sizes(0, ((1, 64),)) == []


@pytest.mark.parametrize("count", [1, 3, 9, 70])
@pytest.mark.parametrize("sizes", [None, (1, 8, 64), (4,)])
def test_batches_equal_prompts_asked_one_by_one(count, sizes):
    points = some_points(count)
    with toy_sam(sizes) as sam, toy_sam() as plain:
        sam.set_image(FRAME)
        found = sam.predict(points)
        embedding = plain.embed(FRAME)
        assert found.iou.shape == (count, 3)
        for index in range(0, count, 7):
            one = plain.predict(points[index], embedding=embedding)
            np.testing.assert_array_equal(found.low_res[index], one.low_res)
            np.testing.assert_array_equal(found.iou[index], one.iou)


def test_unused_places_and_slots_are_empty():
    with toy_sam((8,), slots=5) as sam:
        sam.set_image(FRAME)
        sam.predict(some_points(3), box=np.tile([1, 1, 9, 9], (3, 1)))
        (asked,) = calls(sam.decoders[0])
    assert asked["labels"].tolist() == [[1, 2, 3, -2, -2]] * 3 + [[-2] * 5] * 5
    assert asked["has_mask"].tolist() == [0]
    assert asked["mask"].shape == (1, 1, 256, 256)


def test_prompts_with_masks_go_one_by_one_where_a_run_has_one_mask():
    masks = np.stack([np.full((1, 256, 256), value, np.float32) for value in (5, -5, 0)])
    points = some_points(3)
    with toy_sam((2, 8)) as fixed, toy_sam() as open_:
        fixed.set_image(FRAME), open_.set_image(FRAME)
        found, expected = fixed.predict(points, mask=masks), open_.predict(points, mask=masks)
        assert len(calls(fixed.decoders[0])) == 3
        assert calls(fixed.decoders[1]) == []
        assert len(calls(open_.decoders[0])) == 1
        assert calls(open_.decoders[0])[0]["has_mask"].tolist() == [1, 1, 1]
    np.testing.assert_array_equal(found.low_res, expected.low_res)
    assert (found.low_res[0] - found.low_res[1] != 0).all()


def test_more_points_than_slots_are_refused_with_numbers():
    with toy_sam((1, 8), slots=6) as sam:
        sam.set_image(FRAME)
        sam.predict(np.ones((4, 2)), box=[1, 1, 9, 9])
        sam.predict(np.ones((6, 2)))  # the box's slots are free
        with pytest.raises(
            UsageError, match=r"more points than.*\n.*5 points and a box\n.*at most 4 points.*\n.*--points"
        ):
            sam.predict(np.ones((5, 2)), box=[1, 1, 9, 9])
    with toy_sam() as sam:
        sam.set_image(FRAME)
        sam.predict(np.ones((40, 2)))


@pytest.mark.parametrize("sizes", [None, (1, 8, 64)])
def test_half_precision_engines(sizes):
    with toy_sam(sizes, dtype="float16") as sam:
        embedding = sam.set_image(FRAME)
        found = sam.predict(some_points(2))
        assert embedding.array.dtype == np.float16
        assert calls(sam.decoders[0])[0]["mask"].dtype == np.float16
        assert calls(sam.decoders[0])[0]["coords"].dtype == np.float32
    assert found.low_res.dtype == np.float32
    assert found.iou.dtype == np.float32


def test_streams_full_batches_in_order():
    points = some_points(78)
    with toy_sam((1, 8, 64)) as sam:
        embedding = sam.embed(FRAME)
        whole = sam.predict(points, embedding=embedding)
        parts = [(part.masks.copy(), part.iou) for part in sam.decode(embedding, points, np.ones((78, 1), int))]
        buffers = {
            part.masks.__array_interface__["data"][0] for part in sam.decode(embedding, points, np.ones((78, 1)))
        }
    assert [len(iou) for _, iou in parts] == [64, 8, 6]
    np.testing.assert_array_equal(np.concatenate([masks for masks, _ in parts]), whole.low_res)
    np.testing.assert_array_equal(np.concatenate([iou for _, iou in parts]), whole.iou)
    assert len(buffers) == 1  # nothing large is allocated along the way


def test_pixels_of_the_camera_come_from_the_engine():
    points = some_points(2)
    with toy_sam(camera=(48, 64)) as sam:
        sam.set_image(FRAME)
        found, single = sam.predict(points), sam.predict(points[0], multimask=False)
        assert found.given.shape == (2, 3, 48, 64)
        assert found.masks is found.given
        assert found.best().masks.shape == (2, 1, 48, 64)
        assert single.masks.shape == (1, 48, 64)
        sam.set_image(FRAME[:40])  # another size: computed here
        assert sam.predict(points[:, :, :1].repeat(2, 2) / 2).given is None


def test_a_decoder_is_needed():
    with pytest.raises(ArtifactError, match="no mask decoder"):
        Decoder([make_engine(encoder_graph(), toy_embedding)])
    with pytest.raises(ArtifactError, match="no mask decoder"):
        Decoder([])
