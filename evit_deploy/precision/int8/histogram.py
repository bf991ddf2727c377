# SPDX-License-Identifier: Apache-2.0
"""Magnitudes of a tensor, counted as frames come: memory is the same for ten frames and for ten thousand.

The range is a power of two and doubles when a larger value comes; two bins then become one, exactly. So the counts do
not depend on what range a calibration began with, and one that was interrupted ends with the same counts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

BINS = 2048

NOTHING = 2.0**-100
"""Magnitudes below this are zero: FP16 ends at 2^-24."""


@dataclass
class Histogram:
    """Counts of magnitudes.

    Attributes:
        largest: Largest magnitude of all values, also of those that were not counted.
        limit: Upper end of the last bin: a power of two; 0 while all was zero.
        counts: int64 [BINS], of equal width from 0 to `limit`; the first one holds zeros too.
    """

    largest: float = 0.0
    limit: float = 0.0
    counts: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(BINS, np.int64))

    def add(self, values: npt.NDArray[np.float32], largest: float) -> None:
        """Count values.

        Args:
            values: A sample, of any shape and sign.
            largest: Largest magnitude of all that it is a sample of.
        """
        self.largest = max(self.largest, largest)
        self._reach(self.largest)
        sizes = np.abs(values, dtype=np.float32).ravel()
        if self.limit:
            places = np.minimum((sizes * np.float32(BINS / self.limit)).astype(np.int64), BINS - 1)
            self.counts += np.bincount(places, minlength=BINS)
        else:
            self.counts[0] += sizes.size

    def copy(self) -> Histogram:
        """The same counts, apart."""
        return Histogram(self.largest, self.limit, self.counts.copy())

    @property
    def centres(self) -> npt.NDArray[np.float64]:
        """Middle of each bin; nearly all of the first one are zeros where there are many."""
        return np.asarray((np.arange(BINS) + 0.5) * (self.limit / BINS), np.float64)

    def _reach(self, largest: float) -> None:
        """Widen the range until it holds a magnitude."""
        if largest < NOTHING:
            return
        needed = math.ldexp(1.0, math.frexp(largest)[1])  # the next power of two above
        if self.limit == 0:
            self.limit = needed
        while self.limit < needed:
            self.counts = np.concatenate([self.counts.reshape(-1, 2).sum(axis=1), np.zeros(BINS // 2, np.int64)])
            self.limit *= 2
