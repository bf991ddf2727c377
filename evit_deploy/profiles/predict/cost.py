# SPDX-License-Identifier: Apache-2.0
"""What a kernel costs: the physical model behind every prediction.

A kernel moves bytes and computes; it takes as long as the slower of the two, and then its launch. How fast it moves
bytes depends on what it is:

* *moving*: no convolution or product in it (casts, sums, reductions, resizing). Limited by memory: it reaches
  `memory_efficiency` of the bandwidth.
* *light*: few operations per byte (depthwise and grouped convolutions, products of narrow matrices). Limited by what a
  multiprocessor issues: `light_bytes` per clock.
* *dense*: all other convolutions and products. Limited by `dense_bytes` per clock and multiprocessor, or by arithmetic:
  `arithmetic_efficiency` of the tensor cores' peak.

No kernel is faster than memory. Inputs and outputs are copied once by a copy engine, which on a Jetson reads and
writes the same memory, and elsewhere crosses PCI Express.

The constants in calibration.json are fitted by tools/fit_prediction.py to latencies that the authors of EfficientViT
published; docs/prediction.md shows how well they predict what they were not fitted to. The model knows nothing of
caches, of kernels that run side by side, or of heat.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from evit_deploy.engines.plan import Kernel
from evit_deploy.profiles.predict.prediction import Conditions

CALIBRATION = Path(__file__).with_name("calibration.json")
DENSE_INTENSITY = 20.0
"""FLOP per byte of activations from which on a kernel counts as dense; every bound of the tests holds from 10 to 60."""

_ORIN_MHZ_PER_GBS = 16 * 1301 / 204.8

MOVING, LIGHT, DENSE = range(3)
KINDS = ("moving", "light", "dense")

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Constants:
    """What is fitted, and what is assumed.

    Attributes:
        memory_efficiency: Share of the memory bandwidth that kernels reach which only move data.
        light_bytes: Bytes per clock and multiprocessor of light kernels.
        dense_bytes: Bytes per clock and multiprocessor of dense kernels.
        arithmetic_efficiency: Share of the tensor cores' dense FP16 peak that kernels reach.
        launch_us: From the end of a kernel to the begin of the next, µs, kernels launched one by one.
        graph_launch_us: The same within a CUDA graph. Assumed: no published latency tells it.
        discrete_launch_us: `launch_us` beside a faster CPU than a Jetson's. Assumed.
        pcie_gbs: GB/s of a copy between host and a discrete GPU.
    """

    memory_efficiency: float
    light_bytes: float
    dense_bytes: float
    arithmetic_efficiency: float
    launch_us: float
    graph_launch_us: float
    discrete_launch_us: float
    pcie_gbs: float

    def launch(self, conditions: Conditions) -> float:
        """Milliseconds per kernel."""
        one_by_one = self.launch_us if conditions.integrated else self.discrete_launch_us
        return (self.graph_launch_us if conditions.cuda_graph else one_by_one) / 1e3

    def copy(self, conditions: Conditions) -> float:
        """Milliseconds per byte of input or output."""
        if conditions.copies != "pinned":
            return 0.0
        if conditions.integrated:  # the copy engine reads and writes the memory that kernels work in
            return 2 / (self.memory_efficiency * conditions.bandwidth_gbs * 1e6)
        return 1 / (self.pcie_gbs * 1e6)


@dataclass(frozen=True)
class Work:
    """Kernels as arrays, one entry each.

    Attributes:
        activations: Bytes of activations read and written; of a tensor that a kernel lists twice, once.
        weights: Bytes of weights read.
        flops: Floating-point operations of convolutions and products.
    """

    activations: Array
    weights: Array
    flops: Array

    @classmethod
    def of(cls, kernels: Iterable[Kernel]) -> Work:
        """What the kernels of a plan do."""
        table = [(kernel.distinct_traffic, kernel.constants, kernel.flops) for kernel in kernels]
        return cls(*np.array(table, float).reshape(-1, 3).T)

    @property
    def kinds(self) -> npt.NDArray[np.intp]:
        """`MOVING`, `LIGHT` or `DENSE`."""
        light = self.flops < DENSE_INTENSITY * self.activations
        return np.where(self.flops == 0, MOVING, np.where(light, LIGHT, DENSE))


@dataclass(frozen=True)
class Cost:
    """Milliseconds of kernels, one entry each; each takes the larger of the two, and its launch."""

    traffic: Array
    arithmetic: Array

    @property
    def times(self) -> Array:
        """Of each kernel, without its launch."""
        found: Array = np.maximum(self.traffic, self.arithmetic)
        return found

    @property
    def total(self) -> float:
        """All kernels, without launches."""
        return float(self.times.sum())


def kernel_rates(conditions: Conditions, constants: Constants) -> tuple[Array, float]:
    """Bytes per millisecond by kind of kernel, and operations per millisecond."""
    memory = constants.memory_efficiency * conditions.bandwidth_gbs * 1e6
    clocks = _clocks(conditions)
    rates = np.array([memory, *(min(memory, each * clocks) for each in (constants.light_bytes, constants.dense_bytes))])
    return rates, constants.arithmetic_efficiency * conditions.peak_tflops * 1e9


def kernel_cost(work: Work, conditions: Conditions, constants: Constants) -> Cost:
    """How long kernels take on a machine.

    Args:
        work: What they do.
        conditions: The machine.
        constants: How well its kind of machine is used.
    """
    rates, peak = kernel_rates(conditions, constants)
    return Cost((work.activations + work.weights) / rates[work.kinds], work.flops / peak)


def run_ms(work: Work, io_bytes: float, conditions: Conditions, constants: Constants) -> float:
    """How long a whole run takes: kernels, launches and copies."""
    launches = len(work.flops) * constants.launch(conditions)
    return kernel_cost(work, conditions, constants).total + launches + io_bytes * constants.copy(conditions)


def _clocks(conditions: Conditions) -> float:
    """Clocks of all multiprocessors per ms; without a clock, as many per byte of bandwidth as an AGX Orin has."""
    if conditions.clock_mhz is None:
        return conditions.bandwidth_gbs * _ORIN_MHZ_PER_GBS * 1e3
    return conditions.multiprocessors * conditions.clock_mhz * 1e3


@dataclass(frozen=True)
class Calibration:
    """The fitted constants and how far they can be trusted.

    Attributes:
        constants: What was fitted.
        fitted: Date.
        margins: By target: the factor within which `coverage` of the published latencies lie that were held out.
        coverage: Share of them.
    """

    constants: Constants
    fitted: str
    margins: dict[str, float]
    coverage: float


@lru_cache(maxsize=1)
def calibration() -> Calibration:
    """What tools/fit_prediction.py found."""
    data: dict[str, Any] = json.loads(CALIBRATION.read_text(encoding="utf-8"))
    return Calibration(Constants(**data["constants"]), data["fitted"], data["margins"], data["coverage"])
