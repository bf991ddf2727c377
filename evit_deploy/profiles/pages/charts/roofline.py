# SPDX-License-Identifier: Apache-2.0
"""The roofline of a machine with every kernel of a plan on it.

Kernels that compute convolutions and products stand by their operations per byte, under the machine's two roofs
(Williams, Waterman and Patterson 2009): bandwidth, then arithmetic. Kernels that only move data have no place there;
they stand beside, under the bandwidth alone. What lies between a kernel and its roof is lost.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from evit_deploy.profiles.pages.charts.breakdown import CAUSES
from evit_deploy.profiles.pages.charts.canvas import INK, draw, label_logarithmic
from evit_deploy.profiles.pages.words import three_figures
from evit_deploy.profiles.predict.prediction import Conditions, KernelTime, Prediction

_MARKS = {"traffic": "o", "arithmetic": "s", "launch": "^"}
_LIMITS = {"traffic": "traffic", "arithmetic": "arithmetic", "launch": "launches"}
_LARGEST = 180.0  # points², of the kernel that takes longest


def roofline(name: str, prediction: Prediction) -> str:
    """Every kernel at its predicted speed; its area is its time, its mark what bounds it.

    Args:
        name: Of the chart.
        prediction: What was predicted.
    """
    computing = [kernel for kernel in prediction.kernels if kernel.flops]
    moving = [kernel for kernel in prediction.kernels if not kernel.flops and kernel.bytes]
    longest = max((kernel.ms for kernel in prediction.kernels), default=1.0)

    def paint(figure: Any) -> None:
        beside, main = figure.subplots(1, 2, width_ratios=(1, 4.2))
        _draw_moving(beside, moving, prediction.conditions, longest)
        _draw_computing(main, computing, prediction.conditions, longest)
        handles, names = main.get_legend_handles_labels()
        figure.legend(handles, names, loc="outside upper left", ncols=3, frameon=False, fontsize=10)

    return draw(name, 4.2, paint)


def roof_names(conditions: Conditions) -> tuple[str, str]:
    """Bandwidth and arithmetic peak in words; a figure that the vendor did not publish says where it comes from."""

    def source(name: str) -> str:
        return "".join(f" ({words.partition('(')[2]}" for words in conditions.uncertain if words.startswith(name))

    return (
        f"{conditions.bandwidth_gbs:g} GB/s{source('bandwidth')}",
        f"{three_figures(conditions.peak_tflops)} TFLOP/s{source('FP16 peak')}",
    )


def _draw_computing(axes: Any, kernels: Sequence[KernelTime], machine: Conditions, longest: float) -> None:
    ridge = 1000 * machine.peak_tflops / machine.bandwidth_gbs  # FLOP per byte
    intensities = [kernel.flops / kernel.bytes for kernel in kernels] or [ridge]
    low, high = min(*intensities, ridge) / 2, max(*intensities, ridge) * 4
    bandwidth, peak = roof_names(machine)
    axes.plot(
        [low, ridge, high], [low / ridge * machine.peak_tflops, *[machine.peak_tflops] * 2], color=INK, linewidth=1.5
    )
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.annotate(peak, (high, machine.peak_tflops), xytext=(0, 4), textcoords="offset points", ha="right", fontsize=10)
    _scatter(axes, kernels, intensities, [kernel.flops / kernel.ms / 1e9 for kernel in kernels], longest)
    for bound, mark in _MARKS.items():
        cause = CAUSES[_LIMITS[bound]]
        axes.scatter([], [], s=40, marker=mark, color=cause.colour, label=cause.words)
    axes.set_xlim(low, high)
    axes.set_ylim(top=2.2 * machine.peak_tflops)
    label_logarithmic(axes.xaxis, *axes.get_xlim())
    label_logarithmic(axes.yaxis, *axes.get_ylim())
    axes.set_xlabel(f"FLOP per byte; the slope is {bandwidth}")
    axes.set_ylabel("TFLOP/s")


def _draw_moving(axes: Any, kernels: Sequence[KernelTime], machine: Conditions, longest: float) -> None:
    axes.axhline(machine.bandwidth_gbs, color=INK, linewidth=1.5)
    places = np.linspace(0.15, 0.85, len(kernels)).tolist()
    _scatter(axes, kernels, places, [kernel.bytes / kernel.ms / 1e6 for kernel in kernels], longest)
    axes.set_yscale("log")
    axes.set_ylim(top=1.6 * machine.bandwidth_gbs)
    label_logarithmic(axes.yaxis, *axes.get_ylim())
    axes.set_xlim(0, 1)
    axes.set_xticks([])
    axes.set_xlabel("moving only")
    axes.set_ylabel("GB/s")


def _scatter(axes: Any, kernels: Sequence[KernelTime], x: Sequence[float], y: Sequence[float], longest: float) -> None:
    for bound, mark in _MARKS.items():
        chosen = [index for index, kernel in enumerate(kernels) if kernel.bound == bound]
        if not chosen:
            continue
        colour = CAUSES[_LIMITS[bound]].colour
        sizes = [max(8.0, _LARGEST * kernels[index].ms / longest) for index in chosen]
        axes.scatter(
            [x[index] for index in chosen], [y[index] for index in chosen], s=sizes, marker=mark, color=colour,
            alpha=0.7, linewidth=0.5, edgecolor=INK,
        )  # fmt: skip
