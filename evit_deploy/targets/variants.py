# SPDX-License-Identifier: Apache-2.0
"""The sizes in which NVIDIA's machines are sold, as data with sources.

Published figures: NVIDIA Deep-Learning-Accelerator-SW README and the Jetson module data sheets (multiprocessors,
clocks, memory, bandwidth); NVIDIA A100 data sheet. All others carry a mark.

Power modes: nvpmodel_p3701_0000.conf, p3701_0004.conf and p3767_000{0,1,3,4}_super.conf of Jetson Linux R36, as kept in
LineageOS/android_device_nvidia_concord; a mask of switched-off TPCs there is written here as multiprocessors left on,
two for each TPC of the GPU's eight. For 15W of an AGX Orin the published peak (14 sparse INT8 TOPS) speaks for four
multiprocessors where the mask leaves six.

Orin's peaks are derived: 4 tensor cores per multiprocessor × 512 operations per clock (FP16, dense) × clock; INT8 twice
that. The formula gives the published sparse figures: AGX Orin 170 against 171, Orin Nano 40.9 against 40. What is
derived from a figure that is not checked is not checked either.
"""

from __future__ import annotations

from evit_deploy.targets.spec import Figure, PowerMode, Source, Variant

_FP16_PER_CLOCK = 4 * 512  # of one Ampere multiprocessor of Orin


def _orin(
    memory: Figure, multiprocessors: Figure, clock: Figure, bandwidth: Figure, modes: tuple[PowerMode, ...]
) -> Variant:
    """A Jetson Orin module."""
    source: Source = "derived" if multiprocessors.certain and clock.certain else "unchecked"
    peak = multiprocessors.value * _FP16_PER_CLOCK * clock.value / 1e6
    return Variant(
        name=f"{memory.value:g} GB",
        memory_gb=memory,
        multiprocessors=multiprocessors,
        bandwidth_gbs=bandwidth,
        clock_mhz=clock,
        fp16_tflops=Figure(round(peak, 1), source),
        int8_tops=Figure(round(2 * peak, 1), source),
        modes=modes,
    )


def _mode(name: str, multiprocessors: int, clock: int | None = None, *, default: bool = False) -> PowerMode:
    return PowerMode(name, Figure(multiprocessors), clock, default)


_15W = PowerMode("15W", Figure(6, "unchecked"), 408)
_30W = _mode("30W", 8, 612, default=True)

ORIN = (
    _orin(Figure(64), Figure(16), Figure(1301), Figure(204.8), (_mode("MAXN", 16), _mode("50W", 16, 816), _30W, _15W)),
    _orin(Figure(32), Figure(14), Figure(930), Figure(204.8), (_mode("MAXN", 14), _mode("40W", 14, 816), _30W, _15W)),
)

_NX_LOW = (_mode("15W", 4, 612), _mode("10W", 4, 612))
_NX_HIGH = (_mode("MAXN_SUPER", 8), _mode("40W", 8, 1173, default=True))

ORIN_NX = (
    _orin(Figure(16), Figure(8), Figure(1173), Figure(102.4), (*_NX_HIGH, _mode("25W", 8, 408), *_NX_LOW)),
    _orin(Figure(8), Figure(8), Figure(1173, "unchecked"), Figure(102.4), (*_NX_HIGH, _mode("20W", 8, 408), *_NX_LOW)),
)
"""Clocks in the Super modes of JetPack 6.2 and later; 918 MHz in MAXN before."""

_NANO_8 = (_mode("MAXN_SUPER", 8), _mode("25W", 8, 918, default=True), _mode("15W", 8, 612))
_NANO_4 = (_mode("MAXN_SUPER", 4), _mode("25W", 4, 1020, default=True), _mode("10W", 4, 612))

ORIN_NANO = (
    _orin(Figure(8), Figure(8), Figure(1020), Figure(102.0), _NANO_8),
    _orin(
        Figure(4, "unchecked"), Figure(4, "unchecked"), Figure(1020, "unchecked"), Figure(51.0, "unchecked"), _NANO_4
    ),
)
"""Clocks and bandwidth in the Super modes of JetPack 6.2 and later; 625 MHz and 68 GB/s (4 GB: 34 GB/s) before."""

THOR = (
    Variant(
        "T5000", Figure(128, "unchecked"), Figure(20, "unchecked"), Figure(273.0, "unchecked"),
        fp16_tflops=Figure(258, "unchecked"), modes=(PowerMode("MAXN", Figure(20, "unchecked")),),
    ),
)  # fmt: skip
"""From https://huggingface.co/hardware/jetson-t5000. What the 120W, 90W and 70W modes switch off is not known here."""


def _datacentre(
    name: str, memory: int, multiprocessors: int, bandwidth: float, fp16: float, int8: float, source: Source
) -> Variant:
    return Variant(
        name,
        Figure(memory, source),
        Figure(multiprocessors, source),
        Figure(bandwidth, source),
        fp16_tflops=Figure(fp16, source),
        int8_tops=Figure(int8, source),
    )


A100 = (
    _datacentre("80 GB SXM", 80, 108, 2039, 312, 624, "published"),
    _datacentre("80 GB PCIe", 80, 108, 1935, 312, 624, "published"),
    _datacentre("40 GB", 40, 108, 1555, 312, 624, "published"),
)

H100 = (
    _datacentre("80 GB SXM", 80, 132, 3350, 989, 1979, "unchecked"),
    _datacentre("80 GB PCIe", 80, 114, 2000, 756, 1513, "unchecked"),
    _datacentre("141 GB H200", 141, 132, 4800, 989, 1979, "unchecked"),
)
