# SPDX-License-Identifier: Apache-2.0
"""Resizing against the libraries whose numbers it must give: Pillow bit for bit, OpenCV to one level, PyTorch."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from evit_deploy.data.masks import longest_side
from evit_deploy.data.resize import resize_image, resize_nearest, upsample_bicubic

SIDES = st.integers(1, 90)


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize(("kernel", "method"), [("pillow-bicubic", "BICUBIC"), ("pillow-bilinear", "BILINEAR")])
@settings(max_examples=120, deadline=None)
@given(old=st.tuples(SIDES, SIDES), new=st.tuples(SIDES, SIDES), keep_aspect=st.booleans())
def test_pillow_bit_for_bit(kernel, method, old, new, keep_aspect):
    """Tall pictures too, for which Pillow 13 swaps its two passes, and so its rounding."""
    if keep_aspect:
        new = longest_side(*old, new[0])
    image = noise(*old)
    expected = np.asarray(Image.fromarray(image).resize(new[::-1], getattr(Image.Resampling, method)))
    np.testing.assert_array_equal(resize_image(image, *new, kernel, use_libraries=False), expected)


@settings(max_examples=60, deadline=None)
@given(old=st.tuples(SIDES, SIDES), new=st.tuples(SIDES, SIDES))
def test_opencv_to_one_level(old, new):
    image = noise(*old)
    expected = cv2.resize(image, new[::-1], interpolation=cv2.INTER_CUBIC).astype(int)
    found = resize_image(image, *new, "opencv-cubic", use_libraries=False).astype(int)
    assert np.abs(found - expected).max() <= 1


@pytest.mark.parametrize("kernel", ["pillow-bicubic", "pillow-bilinear", "opencv-cubic"])
def test_library_and_numpy_agree_on_a_frame(kernel):
    image = noise(135, 240)
    with_library = resize_image(image, 96, 192, kernel).astype(int)
    without = resize_image(image, 96, 192, kernel, use_libraries=False).astype(int)
    assert np.abs(with_library - without).max() <= 1


@pytest.mark.parametrize("kernel", ["pillow-bicubic", "pillow-bilinear", "opencv-cubic"])
def test_same_size_is_the_image_itself(kernel):
    image = noise(20, 30)
    assert resize_image(image, 20, 30, kernel) is image


@settings(max_examples=30, deadline=None)
@given(size=st.tuples(st.integers(2, 20), st.integers(2, 20)), factor=st.sampled_from([2, 4, 8]), odd=st.integers(0, 9))
def test_upsampling_equals_pytorch(size, factor, odd):
    maps = np.random.default_rng(1).normal(size=(3, *size)).astype(np.float32)
    height, width = size[0] * factor + odd, size[1] * factor + odd
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(maps)[None].double(), (height, width), mode="bicubic", align_corners=False
    )[0].numpy()
    np.testing.assert_allclose(upsample_bicubic(maps, height, width), expected, atol=2e-5)
    middle = slice(height // 3, height // 3 + 2)
    np.testing.assert_allclose(upsample_bicubic(maps, height, width, rows=middle), expected[:, middle], atol=2e-5)


@settings(max_examples=40, deadline=None)
@given(old=st.tuples(SIDES, SIDES), new=st.tuples(SIDES, SIDES))
def test_nearest_takes_the_pixel_under_the_centre(old, new):
    values = np.arange(old[0] * old[1], dtype=np.float32).reshape(old)
    found = resize_nearest(values, *new)
    rows = np.floor((np.arange(new[0]) + 0.5) * old[0] / new[0]).astype(int)
    columns = np.floor((np.arange(new[1]) + 0.5) * old[1] / new[1]).astype(int)
    np.testing.assert_array_equal(found, values[rows][:, columns])


def test_nearest_writes_into_a_buffer():
    values, out = np.array([[1, 2], [3, 4]], np.uint8), np.zeros((4, 4), np.uint8)
    assert resize_nearest(values, 4, 4, out=out) is out
    assert out.tolist() == [[1, 1, 2, 2], [1, 1, 2, 2], [3, 3, 4, 4], [3, 3, 4, 4]]
