# SPDX-License-Identifier: Apache-2.0
"""What `Engine.infer` itself adds to every run: the check of the inputs, the lock, and the call.

It is microseconds where a graph takes milliseconds, so the difference of two latencies would not show it. The engine
is therefore called over a backend that does nothing. What a backend does around its library's run is not in it: for a
GPU that is most of this package's work, such as copying inputs into page-locked memory.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from evit_deploy.runtime import Engine

CALLS = 1000


class _Nothing:
    """A backend that answers at once."""

    version = ""
    takes_device_arrays = False

    def run(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        del inputs
        return {}

    def close(self) -> None:
        """There is nothing to free."""


def wrapper_ms(engine: Engine, inputs: Mapping[str, Any]) -> float:
    """Milliseconds that `Engine.infer` adds to its backend's run: the median of `CALLS` calls.

    Args:
        engine: An engine; it is not run.
        inputs: What it takes.
    """
    shell = Engine(engine.folder, engine.manifest, _Nothing())
    times = []
    for _ in range(CALLS):
        start = time.perf_counter_ns()
        shell.infer(inputs)
        times.append(time.perf_counter_ns() - start)
    return float(np.median(times)) / 1e6
