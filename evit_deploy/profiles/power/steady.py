# SPDX-License-Identifier: Apache-2.0
"""Statistics of readings that depend on the ones before: where they become steady, and how well their mean is known."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

_BATCH = 5
_ENOUGH = 4  # batches of which to choose

_LITTLE, _SIGMAS = 0.02, 3.0

Values = npt.NDArray[np.float64]


def steady_start(values: Values) -> int | None:
    """Where the warming up ends: the rule of the smallest standard error, MSER-5.

    What is cut off at the beginning makes the rest more even, and shorter; the cut that leaves the smallest standard
    error of the mean is taken. K. Preston White, "An effective truncation heuristic for bias reduction in simulation
    output", Simulation 69(6), 1997.

    A step in the middle can be too large for any cut to pay, so the two halves of the rest must agree as well.

    Args:
        values: Readings, float64 of shape [n], evenly spaced in time.

    Returns:
        Index of the first steady reading; None where cutting off half is best, where the halves of the rest differ by
        more than 2 % and more than chance, or where there are too few readings.
    """
    count = len(values) // _BATCH
    if count < _ENOUGH:
        return None
    means = values[len(values) - count * _BATCH :].reshape(count, _BATCH).mean(axis=1)
    costs = [np.var(means[cut:]) / (count - cut) for cut in range(count // 2 + 1)]
    best = int(np.argmin(costs))
    start = len(values) - (count - best) * _BATCH
    return start if best < count // 2 and _agree(*np.array_split(values[start:], 2)) else None


def _agree(one: Values, other: Values) -> bool:
    """Whether the means of two parts differ by no more than a little, or by no more than chance."""
    chance = _SIGMAS * float(np.hypot(standard_error(one), standard_error(other)))
    return bool(abs(one.mean() - other.mean()) <= max(_LITTLE * abs(other.mean()), chance))


def standard_error(values: Values) -> float:
    """Standard error of the mean of readings that depend on their neighbours.

    The variance of the mean is the sum of all autocovariances. Far ones are noise, so the sum ends where a pair of
    neighbouring ones is no longer positive. C. J. Geyer, "Practical Markov chain Monte Carlo", Statistical Science
    7(4), 1992. Readings of a counter take from one what they give to the next; their sum may come out at nothing, but
    the counter's last step is not known better than one reading's deviation.

    Args:
        values: Readings, float64 of shape [n], evenly spaced in time; two at least.
    """
    count = len(values)
    rest = values - values.mean()
    covariances = np.correlate(rest, rest, "full")[count - 1 :] / count
    pairs = covariances[: count // 2 * 2].reshape(-1, 2).sum(axis=1)
    falling = np.minimum.accumulate(pairs)
    total = 2 * falling[falling > 0].sum() - covariances[0]
    return float(np.sqrt(max(total / count, covariances[0] / count**2)))
