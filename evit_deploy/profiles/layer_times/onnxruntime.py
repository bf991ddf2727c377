# SPDX-License-Identifier: Apache-2.0
"""ONNX Runtime's profiler: a file of events, one per node and run."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from evit_deploy.errors import UnavailableError, extra, first_line
from evit_deploy.profiles.layer_times.measure import repeat
from evit_deploy.profiles.layer_times.record import LayerTime, LayerTimes
from evit_deploy.runtime import Engine
from evit_deploy.runtime.backends.onnxruntime import session_options
from evit_deploy.runtime.engine import available_cores

_SUFFIX = "_kernel_time"
_LAYOUT = "_nchwc"
"""What ONNX Runtime appends to the name of a node whose tensors it lays out for vector instructions."""


def measure(engine: Engine, inputs: Mapping[str, Any]) -> LayerTimes:
    """Time every node, in a session of its own.

    Raises:
        MissingExtraError: ONNX Runtime is not installed.
        UnavailableError: It cannot load the engine with its profiler on.
    """
    with extra("onnxruntime", "Timing layers"):
        import onnxruntime as ort
    assert engine.manifest.engine is not None
    path = engine.folder / engine.manifest.engine.entry
    with tempfile.TemporaryDirectory() as folder:
        options = session_options(available_cores())
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder) / "profile")
        try:
            session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime raises many kinds of its own
            raise UnavailableError(f"ONNX Runtime cannot profile {path}", found=first_line(error)) from error
        times = repeat(lambda: session.run(None, dict(inputs)))
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    return LayerTimes(
        tool=f"ONNX Runtime {ort.__version__}",
        runs=len(times),
        layers=parse_events(events),
        run_ms=float(np.mean(times)),
        note="What ONNX Runtime does between nodes is in no layer.",
    )


def parse_events(events: Sequence[Mapping[str, Any]]) -> tuple[LayerTime, ...]:
    """Mean time of every node, from the events of a profile.

    Args:
        events: Those of one session in the order they were written; the first run is left out.

    Returns:
        The nodes, in the order they ran in.
    """
    seen: dict[tuple[str, str], list[float]] = {}
    types: dict[tuple[str, str], str] = {}
    for event in events:
        name = str(event.get("name", ""))
        if event.get("cat") == "Node" and name.endswith(_SUFFIX):
            details = event.get("args", {})
            key = (name.removesuffix(_SUFFIX), str(details.get("node_index", "")))
            seen.setdefault(key, []).append(float(event["dur"]) / 1e3)
            types[key] = str(details.get("op_name", ""))
    return tuple(
        LayerTime(name, types[name, index], float(np.mean(times[1:] or times)), _nodes(name, types[name, index]))
        for (name, index), times in seen.items()
    )


def _nodes(name: str, kind: str) -> tuple[str, ...]:
    """The ONNX node that a name tells of; ONNX Runtime calls a node without a name after its kind."""
    return () if name in ("", kind) else (name.removesuffix(_LAYOUT),)
