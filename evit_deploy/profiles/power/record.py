# SPDX-License-Identifier: Apache-2.0
"""What an engine draws while it runs steadily, and what one inference costs."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Rail:
    """One supply that was read.

    Attributes:
        name: As the source calls it, such as "VDD_GPU_SOC".
        watts: Mean power.
        sigma: Standard error of the mean.
    """

    name: str
    watts: float
    sigma: float


@dataclass(frozen=True)
class PowerRecord:
    """Power over a steady loop of inferences.

    Attributes:
        source: "tegrastats", "INA3221", "NVML" or "RAPL", with what tells it from others, such as the GPU's name.
        rails: Everything that was read.
        total_of: Names of the rails that make the total. Totals of different rails must not be compared.
        total_is: What that total is, in words: "module input", "sum of rails, an estimate", "processor package".
        total_w: Mean total power in W.
        total_sigma_w: Standard error of it.
        idle_w: The same total just before, at rest; None if it was not taken.
        seconds: Length of the loop that counts, the time to become steady left out.
        samples: Readings in it.
        interval_ms: Time between readings.
        frames: Frames processed in it.
        energy_mj: Energy per frame in mJ, what the machine draws at rest included.
        energy_sigma_mj: Its standard error, from power and from the edges of the loop.
        temperatures: Hottest reading of each sensor in °C.
        notes: What a reader must know.
    """

    source: str
    rails: tuple[Rail, ...]
    total_of: tuple[str, ...]
    total_is: str
    total_w: float
    total_sigma_w: float
    idle_w: float | None
    seconds: float
    samples: int
    interval_ms: float
    frames: int
    energy_mj: float
    energy_sigma_mj: float
    temperatures: dict[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)
