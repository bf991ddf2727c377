# SPDX-License-Identifier: Apache-2.0
"""Frames unlike those that are verified with are noticed, whichever way ranges are wrong."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from evit_deploy.precision.int8.calibrate import calibrate
from evit_deploy.precision.int8.suspect import SUSPICIOUS, excess_error, suspicion
from tests.precision.int8.graphs import SOURCES, images

TENSORS = tuple(dict.fromkeys(SOURCES.values()))


def scaled(feeds: list[dict], factor: float) -> list[dict]:
    return [{"image": (factor * feed["image"]).astype(np.float32)} for feed in feeds]


def test_frames_of_the_same_kind(toy: onnx.ModelProto) -> None:
    scales = calibrate(toy, TENSORS, images(200), total=200).scales
    assert excess_error(toy, scales, images(200)) == pytest.approx(1, abs=0.01)
    alike = excess_error(toy, scales, images(64, seed=5))
    assert 1 <= alike < 1.2 and suspicion(alike) is None


@pytest.mark.parametrize("factor", [10, 3, 1 / 3, 0.1])
def test_ranges_too_narrow_or_too_wide(toy: onnx.ModelProto, factor: float) -> None:
    """Calibrated with frames much darker, or much brighter."""
    scales = calibrate(toy, TENSORS, scaled(images(64), 1 / factor), total=64).scales
    found = excess_error(toy, scales, images(64, seed=5))
    assert found > SUSPICIOUS
    words = suspicion(found)
    assert words is not None and f"{found:.1f} times" in words


def test_nothing_to_compare(toy: onnx.ModelProto) -> None:
    scales = calibrate(toy, TENSORS, images(2), total=2).scales
    assert excess_error(toy, scales, []) == 1.0


def test_tensors_that_were_zero_decide_nothing(toy: onnx.ModelProto) -> None:
    dark = scaled(images(2), 0)
    assert calibrate(toy, TENSORS, dark, total=2).methods["stem.act"] == "zero"
    assert excess_error(toy, calibrate(toy, TENSORS, images(4), total=4).scales, dark) == 1.0
