# SPDX-License-Identifier: Apache-2.0
"""Are the frames a network was calibrated with like those it is verified with?

Where they are not, values go beyond the calibrated ranges and are cut off. The share of them is the number to look at.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import onnx

from evit_deploy.precision.int8.observe import Observer, observe
from evit_deploy.precision.int8.weights import LEVELS
from evit_deploy.precision.probe import Feed

SUSPICIOUS = 0.01
"""Share of values cut off, on average over the tensors, from which on a warning is due; calibration aims at 0.0001."""


def cut_off(model: onnx.ModelProto, scales: Mapping[str, float], feeds: Iterable[Feed]) -> float:
    """Share of values beyond the calibrated ranges, mean over the tensors.

    Args:
        model: FP32 graph.
        scales: Steps of its tensors.
        feeds: Frames to look at.
    """
    clips = np.array(list(scales.values())) * LEVELS
    shares = [
        [float((np.abs(one.values) > clip).mean()) for one, clip in zip(seen, clips, strict=True)]
        for seen in observe(Observer(model, tuple(scales)), feeds)
    ]
    return float(np.mean(shares)) if shares else 0.0


def suspicion(found: float) -> str | None:
    """A warning, if one is due."""
    if found <= SUSPICIOUS:
        return None
    return (
        f"the frames look unlike those the engine is verified with: {found:.1%} of the values these make are beyond "
        f"the calibrated ranges (at most {SUSPICIOUS:.0%} expected)"
    )
