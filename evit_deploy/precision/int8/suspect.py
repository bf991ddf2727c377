# SPDX-License-Identifier: Apache-2.0
"""Are the frames a network was calibrated with like those it is verified with?

Ranges may be too narrow for these, which cuts values off, or too wide, which rounds them more than need be. Either way
their error is larger than with ranges of their own, and how much larger is the number to look at. The share of values
cut off is not: for b0-seg's demo weights random noise leaves it at 0.5 %, frames darkened to a quarter at 0.2 %, while
the error doubles.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import onnx

from evit_deploy.precision.int8.clip import choose_clip, relative_error
from evit_deploy.precision.int8.histogram import Histogram
from evit_deploy.precision.int8.observe import Observer, observe
from evit_deploy.precision.int8.weights import LEVELS
from evit_deploy.precision.probe import Feed

SUSPICIOUS = 1.5
"""From which on a warning is due. b0-seg, calibrated with drawn scenes and verified with photos and a scene: 1.06; with
such scenes as BGR 1.14, overexposed 2.8, darkened to a quarter 2.0, to a sixteenth 4.9; with random noise 2.3."""


def excess_error(model: onnx.ModelProto, scales: Mapping[str, float], feeds: Iterable[Feed]) -> float:
    """How many times larger the error of quantising frames is than with scales of their own; median over the tensors.

    Args:
        model: FP32 graph.
        scales: Steps of its tensors.
        feeds: Frames to look at.

    Returns:
        1 or more, up to the coarseness of histograms; 1 where nothing can be compared.
    """
    histograms = {name: Histogram() for name in scales}
    for seen in observe(Observer(model, tuple(scales)), feeds):
        for histogram, one in zip(histograms.values(), seen, strict=True):
            histogram.add(one.values, one.largest)
    own = {name: min(choose_clip(one, "auto")[2].values()) for name, one in histograms.items() if one.limit}
    ratios = [
        relative_error(histograms[name], scales[name] * LEVELS) / least for name, least in own.items() if least > 0
    ]
    return float(np.median(ratios)) if ratios else 1.0


def suspicion(excess: float) -> str | None:
    """A warning, if one is due."""
    if excess <= SUSPICIOUS:
        return None
    return (
        f"the frames look unlike those the engine is verified with: the error of these in INT8 is {excess:.1f} times "
        f"what it would be with ranges of their own (at most {SUSPICIOUS:g} expected)"
    )
