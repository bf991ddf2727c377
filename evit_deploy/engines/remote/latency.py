# SPDX-License-Identifier: Apache-2.0
"""A first measurement of an engine where it was compiled; ``evit-deploy profile`` measures more."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np

from evit_deploy.errors import EvitError
from evit_deploy.manifest import Manifest
from evit_deploy.progress import Progress
from evit_deploy.runtime.backends import obstacle
from evit_deploy.runtime.engine import open_engine
from evit_deploy.runtime.sam.verify import prompt_inputs
from evit_deploy.runtime.verify import PromptReference, load_reference, reference_inputs

_WARM_UP, _CALLS = 20, 100


def profile_engine(folder: Path, manifest: Manifest, progress: Progress) -> dict[str, Any]:
    """Time an engine on its first reference frame or prompt, host memory to host memory.

    Returns:
        JSON values: "measured", and the latency in milliseconds, or the reason why there is none.
    """
    assert manifest.engine is not None
    record: dict[str, Any] = {"engine": manifest.key, "machine": manifest.engine.machine}
    if (reason := obstacle(manifest)) is not None:
        return {**record, "measured": False, "reason": reason}
    try:
        times = _measure(folder, manifest, progress)
    except EvitError as error:  # the engine is built and verified all the same
        return {**record, "measured": False, "reason": str(error)}
    batch = manifest.graph.batch[0]
    calls = {"warm-up calls": _WARM_UP, "calls": _CALLS, "batch": batch}
    return {**record, "measured": True, **calls, "milliseconds": _summary(times)}


def _measure(folder: Path, manifest: Manifest, progress: Progress) -> list[float]:
    """Milliseconds of every call."""
    reference, first = load_reference(folder, manifest), [0] * manifest.graph.batch[0]
    make_inputs: Any = prompt_inputs if isinstance(reference, PromptReference) else reference_inputs
    inputs = make_inputs(reference, manifest, first)
    times = []
    with open_engine(folder, manifest) as engine, progress("measure", _CALLS) as step:
        for _ in range(_WARM_UP):
            engine.infer(inputs)
        for _ in range(_CALLS):
            start = time.perf_counter()
            engine.infer(inputs)
            times.append((time.perf_counter() - start) * 1e3)
            step.advance()
    return times


def _summary(times: list[float]) -> dict[str, float]:
    median, p90, p99 = np.percentile(times, (50, 90, 99))
    return {
        name: round(float(value), 4)
        for name, value in (("smallest", min(times)), ("median", median), ("p90", p90), ("p99", p99))
    }
