# SPDX-License-Identifier: Apache-2.0
"""Preprocessing as the reference evaluates: torchvision's resize and crop, OpenCV's stretch, one normalisation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image

from evit_deploy.export.exporter import preprocess_rules
from evit_deploy.models import find_model
from evit_deploy.runtime.preprocess import EXTREME_ASPECT, fit_frame, normalise


def torchvision_eval(frame, side, crop_ratio):
    """Resize(ceil(side / crop_ratio), bicubic) and CenterCrop(side), by torchvision's documented rounding."""
    short = math.ceil(side / crop_ratio)
    height, width = frame.shape[:2]
    size = (short, int(short * height / width)) if width <= height else (int(short * width / height), short)
    resized = np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.BICUBIC))
    top, left = round((resized.shape[0] - side) / 2.0), round((resized.shape[1] - side) / 2.0)
    return resized[top : top + side, left : left + side]


@settings(max_examples=40, deadline=None)
@given(size=st.tuples(st.integers(20, 300), st.integers(20, 300)), model=st.sampled_from(["b1-cls", "b2-cls"]))
def test_classifier_crop(size, model):
    frame = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    rules = preprocess_rules(find_model(model))
    np.testing.assert_array_equal(fit_frame(frame, rules, 96, 96), torchvision_eval(frame, 96, rules.crop_ratio))


@pytest.mark.parametrize(("model", "ratio"), [("b0-cls", 0.95), ("b1-cls", 0.95), ("b3-cls", 1.0), ("l2-cls", 1.0)])
def test_crop_ratio_of_each_model(model, ratio):
    assert preprocess_rules(find_model(model)).crop_ratio == ratio


@settings(max_examples=30, deadline=None)
@given(size=st.tuples(st.integers(1, 200), st.integers(1, 200)), target=st.sampled_from([(32, 64), (64, 64), (96, 32)]))
def test_any_frame_fits_any_graph(size, target):
    assume(max(size) <= EXTREME_ASPECT * min(size))
    frame = np.zeros((*size, 3), np.uint8)
    for model in ("b1-seg", "b1-cls"):
        assert fit_frame(frame, preprocess_rules(find_model(model)), *target).shape == (*target, 3)


def test_native_cityscapes_frame_is_untouched():
    frame = np.zeros((1024, 2048, 3), np.uint8)
    assert fit_frame(frame, preprocess_rules(find_model("b1-seg")), 1024, 2048) is frame


def test_normalisation():
    rules = preprocess_rules(find_model("b1-seg"))
    image = np.array([[[[0, 128, 255]]]], np.uint8)
    found = normalise(image, rules)
    expected = [(0 - 0.485) / 0.229, (128 / 255 - 0.456) / 0.224, (1 - 0.406) / 0.225]
    np.testing.assert_allclose(found[0, :, 0, 0], expected, rtol=1e-6)
    assert found.flags.c_contiguous
