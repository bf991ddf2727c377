# SPDX-License-Identifier: Apache-2.0
"""Prompts as users give them: what is understood, and what is refused in which words."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evit_deploy.data.masks import PromptFrame
from evit_deploy.errors import UsageError
from evit_deploy.runtime.sam.prompts import check_slots, pack_prompts

FRAME = PromptFrame(480, 640)
MASK = np.zeros((256, 256), np.float32)
NAN, INF = float("nan"), float("inf")


@settings(max_examples=60, deadline=None)
@given(data=st.data(), prompts=st.integers(1, 4), points=st.integers(1, 5), boxed=st.booleans())
def test_points_and_boxes_are_packed(data, prompts, points, boxed):
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    places = rng.uniform((0, 0), (640, 480), (prompts, points, 2))
    labels = rng.integers(0, 2, (prompts, points))
    corner = rng.uniform((0, 0), (600, 400), (prompts, 2))
    box = np.concatenate([corner, corner + rng.uniform(1, 40, (prompts, 2))], axis=1) if boxed else None
    found = pack_prompts(FRAME, places, labels, box)
    assert found.batched
    assert len(found) == prompts
    assert found.mask is None
    np.testing.assert_array_equal(found.labels[:, :points], labels)
    np.testing.assert_allclose(found.coords[:, :points], places * 1.6, rtol=1e-6)
    if boxed:
        assert (found.labels[:, points:] == (2, 3)).all()
        np.testing.assert_allclose(found.coords[:, points:].reshape(-1, 4), box * 1.6, rtol=1e-6)
    for index in range(prompts):
        one = pack_prompts(FRAME, places[index], labels[index], None if box is None else box[index])
        assert not one.batched
        np.testing.assert_array_equal(one.coords[0], found.coords[index])
        np.testing.assert_array_equal(one.labels[0], found.labels[index])


def test_labels_are_ones_if_not_given():
    assert pack_prompts(FRAME, [[1, 2], [3, 4]]).labels.tolist() == [[1, 1]]
    assert pack_prompts(FRAME, [[1, 2], [3, 4]], [True, False]).labels.tolist() == [[1, 0]]
    assert pack_prompts(FRAME, [[1, 2], [3, 4]], [1.0, 0.0]).labels.tolist() == [[1, 0]]


def test_prompts_of_unequal_length_share_a_batch():
    found = pack_prompts(FRAME, [[[1, 2]], [[3, 4], [5, 6]], [[7, 8]]], [[1], [1, 0], [0]])
    assert found.labels.tolist() == [[1, -2], [1, 0], [0, -2]]
    np.testing.assert_allclose(found.coords[1], np.array([[3, 4], [5, 6]]) * 1.6, rtol=1e-6)
    boxed = pack_prompts(FRAME, [[[1, 2]], []], box=[[0, 0, 5, 5], [1, 1, 9, 9]])
    assert boxed.labels.tolist() == [[1, 2, 3], [-2, 2, 3]]


def test_a_mask_alone_is_a_prompt_of_an_empty_slot():
    found = pack_prompts(FRAME, mask=MASK)
    assert found.labels.tolist() == [[-2]]
    assert found.mask.shape == (1, 1, 256, 256)
    assert not found.batched
    assert pack_prompts(FRAME, mask=np.zeros((3, 1, 256, 256), np.float16)).mask.dtype == np.float32


def test_no_boxes_are_a_batch_of_none():
    found = pack_prompts(FRAME, box=np.zeros((0, 4)))
    assert found.batched
    assert found.coords.shape == (0, 2, 2)


def test_no_points_beside_a_box_are_none():
    assert pack_prompts(FRAME, points=[], labels=[], box=[1, 2, 3, 4]).labels.tolist() == [[2, 3]]


def test_edges_and_boxes_that_stick_out_are_taken_as_they_are():
    pack_prompts(FRAME, [[0, 0], [640, 480]])
    found = pack_prompts(FRAME, box=[-10, -20, 700, 30])
    np.testing.assert_allclose(found.coords[0], [[-16, -32], [1120, 48]])


REFUSED = [
    ({}, "the prompt is empty"),
    ({"points": []}, "the prompt is empty"),
    ({"points": np.zeros((0, 2))}, "the prompt is empty"),
    ({"points": [[[1, 2]], []]}, "prompt 1 is empty"),
    ({"labels": [1]}, "labels without points"),
    ({"points": [[640.5, 3]]}, r"point 0 is outside of the frame\.\n.*\(640.5, 3\)"),
    ({"points": [[1, 2], [-1, 3]]}, "point 1 is outside"),
    ({"points": [[[1, 2]], [[3, 481]]]}, "point 0 of prompt 1 is outside"),
    ({"points": [[470, 600]]}, "not \\(row, column\\)"),
    ({"points": [[NAN, 3]]}, "points holds a number that is none"),
    ({"points": [[3, INF]]}, "points holds a number that is none"),
    ({"points": [1, 2]}, r"one point is \[\[x, y\]\]"),
    ({"points": [[1, 2, 3]]}, "another shape"),
    ({"points": [["a", "b"]]}, "holds no numbers"),
    ({"box": [-1e300, -1e300, 1e300, 1e300]}, "box holds a number that is none, or too large"),
    ({"mask": [[1, 2], [3]]}, "the mask is no array"),
    ({"mask": np.full((256, 256), 1e300)}, "what FP32 cannot hold"),
    ({"points": [[1, 2], [3]]}, "no array"),
    ({"points": [[1, 2]], "labels": [1, 0]}, r"labels and points differ in number\.\n.*\[2\]"),
    ({"points": [[[1, 2]], [[3, 4]]], "labels": [1, 0]}, "labels and points differ in number"),
    ({"points": [[[1, 2]], [[3, 4], [5, 6]]], "labels": [[1, 1], [1, 0]]}, "labels and points differ in number"),
    ({"points": [[[1, 2]], [[3, 4], [5, 6]]], "labels": [[1]]}, "labels and points differ in number"),
    ({"points": [[1, 2]], "labels": [2]}, r"a label is none\.\n.*2"),
    ({"points": [[1, 2]], "labels": [0.5]}, "a label is none"),
    ({"points": [[1, 2]], "labels": [-1]}, "a label is none"),
    ({"points": [[1, 2]], "labels": [NAN]}, "labels holds a number that is none"),
    ({"box": [10, 10, 10, 20]}, "the box has no area"),
    ({"box": [10, 20, 30, 20]}, "the box has no area"),
    ({"box": [30, 10, 10, 20]}, "the box has no area"),
    ({"box": [[0, 0, 5, 5], [4, 9, 5, 3]]}, "the box of prompt 1 has no area"),
    ({"box": [700, 10, 800, 20]}, "lies outside of the frame"),
    ({"box": [-20, -20, 0, 40]}, "lies outside of the frame"),
    ({"box": [1, 2, 3]}, "a box has another shape"),
    ({"box": [NAN, 0, 1, 1]}, "box holds a number that is none"),
    ({"points": [[1, 2]], "box": [[1, 2, 3, 4]]}, "do not belong together"),
    ({"points": [[[1, 2]]], "box": [[1, 2, 3, 4], [1, 2, 3, 4]]}, "do not belong together"),
    ({"points": [[1, 2]], "mask": np.zeros((2, 1, 256, 256), np.float32)}, "do not belong together"),
    ({"mask": np.zeros((480, 640), np.float32)}, r"not pixels"),
    ({"mask": np.zeros((3, 256, 256), np.float32)}, "no low-resolution answer"),
    ({"mask": np.zeros((1, 3, 256, 256), np.float32)}, "no low-resolution answer"),
    ({"mask": np.zeros((256, 256), bool)}, r"no low-resolution answer\.\n.*bool"),
    ({"mask": np.full((256, 256), np.nan, np.float32)}, "NaN"),
]  # fmt: skip


@pytest.mark.parametrize(("prompt", "words"), REFUSED)
def test_what_cannot_be_meant_is_refused(prompt, words):
    with pytest.raises(UsageError, match=words):
        pack_prompts(FRAME, **prompt)


@settings(max_examples=150, deadline=None)
@given(
    points=st.lists(st.lists(st.floats(width=32), min_size=0, max_size=3), max_size=3),
    labels=st.none() | st.lists(st.integers(-3, 4), max_size=3),
    box=st.none() | st.lists(st.floats(width=32), max_size=5),
)
def test_anything_is_packed_or_refused_in_words(points, labels, box):
    try:
        found = pack_prompts(FRAME, points, labels, box)
    except UsageError as error:
        assert str(error)
        return
    assert np.isfinite(found.coords).all()
    assert found.labels.shape == found.coords.shape[:2]


@pytest.mark.parametrize(
    ("coords", "labels", "words"),
    [
        (np.zeros((3, 2)), np.ones(3), "do not fit"),
        (np.zeros((3, 1, 2)), np.ones((3, 2)), "do not fit"),
        (np.zeros((3, 0, 2)), np.ones((3, 0)), "do not fit"),
        (np.zeros((1, 1, 2)), np.full((1, 1), 7), "a label is none"),
        (np.full((1, 1, 2), np.nan), np.ones((1, 1)), "a number that is none"),
    ],
)
def test_slots_are_checked(coords, labels, words):
    with pytest.raises(UsageError, match=words):
        check_slots(coords, labels)
