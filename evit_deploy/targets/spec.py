# SPDX-License-Identifier: Apache-2.0
"""The form in which machines are written down: figures with their source, variants, power modes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

PRECISIONS = ("fp32", "bf16", "fp16", "int8")
"""All precisions the command line knows; each target lists its own."""

Source = Literal["published", "derived", "unchecked"]


@dataclass(frozen=True)
class Figure:
    """A number and where it comes from.

    Attributes:
        value: The number; its unit is in the name of the field that holds it.
        source: "published" by the vendor; "derived" by the formula next to the row; "unchecked" general knowledge.
    """

    value: float
    source: Source = "published"

    @property
    def certain(self) -> bool:
        """Whether the vendor published it."""
        return self.source == "published"

    def __str__(self) -> str:
        """The number; one that is not certain has its mark before it."""
        return f"{'' if self.certain else '~' if self.source == 'derived' else '?'}{self.value:g}"


@dataclass(frozen=True)
class PowerMode:
    """A power mode of a Jetson. Modes are known by their names: numbers differ from board to board.

    Attributes:
        name: Name in nvpmodel.conf, without "MODE_" before it.
        multiprocessors: Streaming multiprocessors that it leaves on.
        clock_mhz: Highest GPU clock in MHz; None where it sets no limit.
        default: Whether the board starts in it.
    """

    name: str
    multiprocessors: Figure
    clock_mhz: int | None = None
    default: bool = False


@dataclass(frozen=True)
class Variant:
    """One size in which a machine is sold.

    Attributes:
        name: What tells it from the others, such as "64 GB".
        memory_gb: Memory, in GB.
        multiprocessors: Streaming multiprocessors, all switched on.
        bandwidth_gbs: Memory bandwidth, in GB/s.
        clock_mhz: Highest GPU clock, in MHz.
        fp16_tflops: Dense FP16 peak of the tensor cores, in 10¹² operations per second.
        int8_tops: Dense INT8 peak of the tensor cores, in 10¹² operations per second.
        modes: Power modes, the unlimited one first; none where there are none.
    """

    name: str
    memory_gb: Figure
    multiprocessors: Figure
    bandwidth_gbs: Figure
    clock_mhz: Figure | None = None
    fp16_tflops: Figure | None = None
    int8_tops: Figure | None = None
    modes: tuple[PowerMode, ...] = ()


@dataclass(frozen=True)
class TargetSpec:
    """One machine.

    Attributes:
        name: Name on the command line.
        title: Name in full.
        compute_capability: CUDA compute capability, or None for a CPU or where there are several.
        compilers: Compilers that serve it, best first; the first one that can build here is used.
        precisions: Precisions it can be built in.
        note: What else to know.
        attention: Arrangement of the attention that its compiler likes best; None where graphs run as exported.
        opset: Largest ONNX opset that every TensorRT for it reads, or None.
        variants: The sizes it is sold in, largest first.
        capabilities: All CUDA compute capabilities that it stands for.
        jetson: Whether it is a Jetson: memory shared with the CPU, JetPack, power modes.
    """

    name: str
    title: str
    compute_capability: str | None
    compilers: tuple[str, ...]
    precisions: tuple[str, ...]
    note: str = ""
    attention: str | None = None
    opset: int | None = None
    variants: tuple[Variant, ...] = ()
    capabilities: tuple[str, ...] = ()
    jetson: bool = False
