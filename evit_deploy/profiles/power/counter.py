# SPDX-License-Identifier: Apache-2.0
"""Power from counters of energy: exact over any time, however seldom it is read."""

from __future__ import annotations

import time
from collections.abc import Callable


class Counter:
    """A counter of energy, which may begin again at zero.

    Args:
        read: Reads it, in J.
        largest: Where it begins again, in J; None for a counter that does not.
        now: Reads the clock, in seconds.
    """

    def __init__(
        self, read: Callable[[], float], largest: float | None = None, now: Callable[[], float] = time.perf_counter
    ) -> None:
        self._read, self._largest, self._now = read, largest, now
        self._joules, self._seconds = read(), now()

    def watts(self) -> float:
        """Mean power since the last time this was asked, or since the beginning."""
        joules, seconds = self._read(), self._now()
        spent, elapsed = joules - self._joules, seconds - self._seconds
        if spent < 0 and self._largest is not None:
            spent += self._largest
        self._joules, self._seconds = joules, seconds
        return spent / elapsed
