# SPDX-License-Identifier: Apache-2.0
"""How long every layer of an engine takes, as its own library's profiler tells it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class LayerTime:
    """One layer, kernel or node of a finished engine.

    Attributes:
        name: The library's name for it.
        type: Its kind in the library's words.
        ms: Mean milliseconds per run.
        layers: Names of the ONNX nodes it computes, where the library says so.
    """

    name: str
    type: str
    ms: float
    layers: tuple[str, ...] = ()


@dataclass(frozen=True)
class LayerTimes:
    """All layers of an engine.

    Attributes:
        tool: Whose profiler it was, with its version.
        runs: Runs that the means are of.
        layers: In the order they run in.
        run_ms: Mean milliseconds of a whole run while the profiler was on: it slows a run down.
        note: What the numbers leave out, in words.
    """

    tool: str
    runs: int
    layers: tuple[LayerTime, ...]
    run_ms: float
    note: str = ""

    @property
    def total_ms(self) -> float:
        """Sum of all layers."""
        return sum(layer.ms for layer in self.layers)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {"total_ms": self.total_ms, **asdict(self)}
