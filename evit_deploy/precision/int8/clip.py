# SPDX-License-Identifier: Apache-2.0
"""Which magnitude becomes ±127: everything larger is cut off, everything else is rounded to steps of its 127th.

Three rules, and the error that each makes on the values that were seen. None is best for all tensors: a few outliers
ruin min-max, entropy cuts off too much where the tail matters, so "auto" takes for each tensor the rule of the least
error. Entropy is the rule of TensorRT's former calibrator (Migacz, "8-bit inference with TensorRT", GTC 2017).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from evit_deploy.precision.int8.histogram import BINS, Histogram
from evit_deploy.precision.int8.weights import LEVELS

QUANTILE = 0.9999
"""Share of values that the percentile keeps."""

_QUANTA = 128
_STRIDE = 16

Float = npt.NDArray[np.float64]


def min_max(histogram: Histogram) -> float:
    """The largest magnitude that was seen."""
    return histogram.largest


def percentile(histogram: Histogram) -> float:
    """The magnitude that `QUANTILE` of the values do not exceed."""
    share = np.cumsum(histogram.counts) / max(histogram.counts.sum(), 1)
    edge = int(np.searchsorted(share, QUANTILE)) + 1
    return min(edge * histogram.limit / BINS, histogram.largest)


def entropy(histogram: Histogram) -> float:
    """The magnitude at which the distribution, cut and in 128 steps, is least surprising (Kullback and Leibler)."""
    counts = histogram.counts.astype(float)
    last = int(np.flatnonzero(counts)[-1]) + 1 if counts.any() else 1
    candidates = range(min(_QUANTA, last), last + 1, _STRIDE)
    best = min(candidates, key=lambda bins: (_divergence(counts, bins), bins))
    return min(best * histogram.limit / BINS, histogram.largest)


RULES: dict[str, Callable[[Histogram], float]] = {"min-max": min_max, "percentile": percentile, "entropy": entropy}
METHODS = ("auto", *RULES)


def relative_error(histogram: Histogram, clip: float) -> float:
    """Root mean square error of quantising what was seen, over the root mean square of what was seen."""
    sizes, counts = histogram.centres, histogram.counts
    step = clip / LEVELS
    rounded = np.minimum(np.rint(sizes / step), LEVELS) * step
    energy = float((counts * sizes**2).sum())
    return float(np.sqrt((counts * (sizes - rounded) ** 2).sum() / energy)) if energy else 0.0


def choose_clip(histogram: Histogram, method: str) -> tuple[str, float, dict[str, float]]:
    """The clip of a tensor.

    Args:
        histogram: What was seen; not only zeros.
        method: One of `METHODS`.

    Returns:
        The rule that was taken, its clip, and the relative error of every rule.
    """
    clips = {name: rule(histogram) for name, rule in RULES.items()}
    errors = {name: relative_error(histogram, clip) for name, clip in clips.items()}
    chosen = min(errors, key=lambda name: errors[name]) if method == "auto" else method
    return chosen, clips[chosen], errors


def _divergence(counts: Float, bins: int) -> float:
    """Kullback-Leibler divergence of the first bins, what is beyond put into the last one, from its 128 steps."""
    kept = counts[:bins].copy()
    reference = kept.copy()
    reference[-1] += counts[bins:].sum()
    edges = np.linspace(0, bins, min(_QUANTA, bins) + 1).astype(int)
    sums = np.add.reduceat(kept, edges[:-1])
    filled = np.add.reduceat((kept > 0).astype(float), edges[:-1])
    spread = np.repeat(np.divide(sums, filled, out=np.zeros_like(sums), where=filled > 0), np.diff(edges))
    model = np.where(kept > 0, spread, 0.0)
    if not model.sum():
        return float("inf")
    p, q = reference / reference.sum(), model / model.sum()
    there = p > 0
    return float((p[there] * np.log(p[there] / np.maximum(q[there], 1e-12))).sum())
