# SPDX-License-Identifier: Apache-2.0
"""What a prediction says: milliseconds with an interval, where they go, and under which conditions.

A prediction is never a measurement. Whatever prints one says so (`PREDICTED`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal

PREDICTED = "predicted, not measured"

Copies = Literal["pinned", "zero-copy"]
"""How inputs and outputs get to the GPU and back: copied from and to page-locked memory, as `trtexec` does; or read and
written where the CPU has them, as this package's runtime does on a Jetson."""

Bound = Literal["traffic", "arithmetic", "launch"]


@dataclass(frozen=True)
class Terms:
    """Milliseconds by cause.

    Attributes:
        traffic: Moving activations and weights between memory and the GPU's units.
        arithmetic: Computing.
        launches: Starting kernels.
        copies: Moving inputs and outputs between the host and the device.
    """

    traffic: float = 0.0
    arithmetic: float = 0.0
    launches: float = 0.0
    copies: float = 0.0

    @property
    def total(self) -> float:
        """All of it."""
        return self.traffic + self.arithmetic + self.launches + self.copies

    def __add__(self, other: Terms) -> Terms:
        """Both, one after the other."""
        return Terms(
            self.traffic + other.traffic,
            self.arithmetic + other.arithmetic,
            self.launches + other.launches,
            self.copies + other.copies,
        )


@dataclass(frozen=True)
class KernelTime:
    """One kernel of a plan.

    Attributes:
        number: Its place in the plan, from 0.
        name: The compiler's name for it.
        type: Its kind in the compiler's words.
        stage: Part of the network it belongs to: "input", "stem", "stage 1", …, "neck", "head", "output".
        layers: Names of the ONNX nodes it computes.
        bytes: Activations and weights that it moves; of a tensor that it lists twice, once.
        flops: Floating-point operations.
        terms: Its milliseconds. What bounds it has all but the launch: of a kernel bound by traffic, arithmetic is 0.
        bound: What decides how long it takes.
    """

    number: int
    name: str
    type: str
    stage: str
    layers: tuple[str, ...]
    bytes: int
    flops: int
    terms: Terms
    bound: Bound

    @property
    def ms(self) -> float:
        """Milliseconds it takes."""
        return self.terms.total


@dataclass(frozen=True)
class Conditions:
    """The machine and the way of running that a prediction holds for.

    Attributes:
        target: Name of the target, such as "orin".
        variant: Size it is sold in, such as "64 GB".
        mode: Power mode, such as "MAXN"; None where there are none.
        multiprocessors: Streaming multiprocessors that are on.
        clock_mhz: GPU clock; None where it is not known.
        bandwidth_gbs: Memory bandwidth, GB/s.
        peak_tflops: Dense peak in the graph's precision at that clock and those multiprocessors, 10¹² operations per
            second: of tensor cores in FP16 (of an INT8 graph too), without them in FP32.
        uncertain: Names of the figures above that the vendor did not publish.
        cuda_graph: Whether all kernels are launched as one CUDA graph.
        copies: How inputs and outputs move.
        integrated: Whether the GPU shares the CPU's memory, as on a Jetson.
    """

    target: str
    variant: str
    mode: str | None
    multiprocessors: int
    clock_mhz: float | None
    bandwidth_gbs: float
    peak_tflops: float
    uncertain: tuple[str, ...] = ()
    cuda_graph: bool = False
    copies: Copies = "pinned"
    integrated: bool = True


@dataclass(frozen=True)
class Prediction:
    """A predicted latency.

    Attributes:
        subject: What it is of: a model's or an artifact's name.
        model: Name of the model.
        resolution: (height, width) of the graph's input.
        batch: Batch size.
        precision: "fp16", "fp32" or "int8".
        input: What the graph takes: "image" (uint8) or "tensor" (float).
        output: What it gives: "classes", "logits", "embedding", …
        plan: Where the kernels come from: a compiler and its version, or "the graph alone".
        conditions: Machine and way of running.
        low_ms: Lower end of the interval.
        high_ms: Upper end; of the published latencies, as many lie inside as `coverage` says.
        coverage: Share of held-out published latencies inside such an interval; None where none were published for the
            machine, and the interval spans assumptions instead.
        terms: Milliseconds by cause.
        stages: The same by part of the network, in order; copies stand under "input" and "output".
        kernels: The same by kernel, in order; copies are not in it.
        notes: What a reader must know, such as that a figure of the machine is not published.
    """

    subject: str
    model: str
    resolution: tuple[int, int]
    batch: int
    precision: str
    input: str
    output: str
    plan: str
    conditions: Conditions
    low_ms: float
    high_ms: float
    coverage: float | None
    terms: Terms
    stages: dict[str, Terms]
    kernels: tuple[KernelTime, ...]
    notes: tuple[str, ...] = ()

    @property
    def ms(self) -> float:
        """Milliseconds per run."""
        return self.terms.total

    @property
    def fps(self) -> float:
        """Frames per second, one run after the other."""
        return 1000 * self.batch / self.ms

    def to_json(self, *, kernels: bool = True) -> dict[str, Any]:
        """Plain JSON values, with `PREDICTED` under "kind"."""
        data = asdict(self)
        data["kernels"] = [{**asdict(kernel), "ms": kernel.ms} for kernel in self.kernels] if kernels else []
        return {"kind": PREDICTED, "ms": self.ms, "fps": self.fps, **data}


def by_stage(kernels: Iterable[KernelTime]) -> dict[str, Terms]:
    """Sum kernels by stage, in the order in which stages begin."""
    stages: dict[str, Terms] = {}
    for kernel in kernels:
        stages[kernel.stage] = stages.get(kernel.stage, Terms()) + kernel.terms
    return stages
