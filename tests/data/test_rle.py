# SPDX-License-Identifier: Apache-2.0
"""Run lengths against pycocotools, and against the mask they came from."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco

from evit_deploy.data.rle import encode, from_dict
from evit_deploy.errors import UsageError

SIDES = st.integers(1, 70)


def draw(height, width, density, seed):
    return np.random.default_rng(seed).random((height, width)) < density


def blob(height=300, width=400):
    rows, columns = np.mgrid[:height, :width]
    return (rows - 140) ** 2 + (columns - 200) ** 2 < 120**2


def checks(mask):
    """What holds for every mask."""
    rle = encode(mask)
    expected = coco.encode(np.asfortranarray(mask, dtype=np.uint8))
    assert rle.to_coco() == {"size": list(mask.shape), "counts": expected["counts"].decode()}
    np.testing.assert_array_equal(rle.decode(), mask)
    assert rle.area == int(mask.sum()) == int(coco.area(expected))
    assert from_dict(rle.to_coco()) == from_dict(rle.to_dict()) == from_dict(expected) == rle
    rows, columns = np.nonzero(mask)
    box = (columns.min(), rows.min(), columns.max(), rows.max()) if len(rows) else (0, 0, 0, 0)
    assert rle.box() == box


@settings(max_examples=150, deadline=None)
@given(height=SIDES, width=SIDES, density=st.sampled_from([0.0, 0.01, 0.3, 0.5, 0.99, 1.0]), seed=st.integers(0, 99))
def test_noise(height, width, density, seed):
    checks(draw(height, width, density, seed))


@pytest.mark.parametrize(
    "mask", [blob(), ~blob(), blob()[:, :201], blob(720, 1280)], ids=["blob", "hole", "cut", "720p"]
)
def test_shapes(mask):
    checks(mask)


@pytest.mark.parametrize("start", range(9))
def test_a_change_at_any_place_of_a_word(start):
    """Changes are looked for eight pixels at a time."""
    mask = np.zeros((40, 8), np.bool_)
    mask.T.reshape(-1)[start : start + 1] = True
    mask[-1, -1] = True
    checks(mask)


@pytest.mark.parametrize("order", ["C", "F"])
def test_any_strides(order):
    mask = np.array(blob(), order=order)
    assert encode(mask[::2, ::-1]) == encode(mask[::2, ::-1].copy())


def test_long_runs_have_long_numbers():
    mask = np.zeros((20000, 3000), np.bool_)
    mask[:, 2999] = True
    checks_numbers = encode(mask)
    assert checks_numbers.counts.tolist() == [20000 * 2999, 20000]
    assert from_dict(checks_numbers.to_coco()) == checks_numbers
    assert checks_numbers.box() == (2999, 0, 2999, 19999)


def test_a_mask_without_pixels():
    rle = encode(np.zeros((0, 5), np.bool_))
    assert rle.area == 0 and rle.box() == (0, 0, 0, 0) and rle.decode().shape == (0, 5)


def test_both_forms_are_json():
    rle = encode(blob())
    assert from_dict(json.loads(json.dumps(rle.to_coco()))) == from_dict(json.loads(json.dumps(rle.to_dict()))) == rle


def test_equal_masks_have_equal_hashes():
    assert len({encode(blob()), encode(blob()), encode(~blob())}) == 2
    assert encode(blob()) != "a mask"


@pytest.mark.parametrize("mask", [np.zeros((2, 3), np.uint8), np.zeros((1, 2, 3), np.bool_), np.zeros(3, np.bool_)])
def test_only_masks_are_encoded(mask):
    with pytest.raises(UsageError, match=r"not a mask.*\n.*found: "):
        encode(mask)


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"size": [2, 3]},
        {"size": [2], "counts": [6]},
        {"size": [2, 3], "counts": [5]},
        {"size": [2, 3], "counts": [-1, 7]},
        {"size": [2, 3], "counts": ["many"]},
        {"size": [-2, -3], "counts": [6]},
        {"size": [1 << 16, 1 << 16], "counts": [1 << 32]},
        {"size": [2, 3], "counts": ""},
        {"size": [2, 3], "counts": "6~~"},
        {"size": [2, 3], "counts": "Ö"},
        {"size": [2, 3], "counts": "P"},
        {"size": [2, 3], "counts": "o" * 20 + "0"},
    ],
)
def test_what_is_no_rle_is_refused(value):
    with pytest.raises(UsageError):
        from_dict(value)
