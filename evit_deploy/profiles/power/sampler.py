# SPDX-License-Identifier: Apache-2.0
"""Reads a source in the background while an engine runs."""

from __future__ import annotations

import threading
import time
from types import TracebackType

from evit_deploy.profiles.power.source import Reading, Source

_SILENCE = 5.0  # seconds without a reading until a source counts as dead


class Sampler:
    """A thread that collects readings, from entering to leaving.

    Args:
        source: What to read.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self._readings: list[Reading] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._collect, daemon=True, name="power")
        self.failure: str | None = None
        """Why there are no more readings; None while there are."""

    def between(self, start: float, end: float) -> list[Reading]:
        """The readings taken after one time of `time.perf_counter`, and until another."""
        return [reading for reading in tuple(self._readings) if start < reading.time <= end]

    def __enter__(self) -> Sampler:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join(_SILENCE)  # a file of the kernel's may hang; the thread goes with the process

    def _collect(self) -> None:
        last = time.perf_counter()
        try:
            with self._source.open() as reader:
                while not self._stop.is_set():
                    reading = reader.read()
                    if reading is not None:
                        self._readings.append(reading)
                        last = reading.time
                    elif time.perf_counter() - last > _SILENCE:
                        raise OSError(f"nothing came for {_SILENCE:.0f} seconds")
        except Exception as error:  # whatever a driver's library raises: it ends the readings, not the measurement
            self.failure = str(error) or type(error).__name__
