# SPDX-License-Identifier: Apache-2.0
"""What INT8 gains against what it loses: every assignment of layers that was judged, and the one that was taken."""

from __future__ import annotations

from typing import Any

from evit_deploy.manifest import Int8Info
from evit_deploy.profiles.pages.charts.canvas import BLUE, GREEN, INK, VERMILION, draw

_WIDE = 10.0  # times the budget: from there on what is within it would be a line
_SMALLEST = 0.1  # points


def tradeoff(name: str, info: Int8Info) -> str:
    """Points lost over the time taken, as a part of FP16's.

    Args:
        name: Of the chart.
        info: What is known of an INT8 engine.
    """

    def paint(figure: Any) -> None:
        axes = figure.subplots()
        axes.axhline(info.max_drop, color=INK, linewidth=0.8, linestyle=(0, (3, 2)), label="most that may be lost")
        if info.curve:
            ratios, drops = zip(*((point.ratio, point.drop) for point in info.curve), strict=True)
            axes.scatter(ratios, drops, s=22, color=BLUE, alpha=0.7, linewidth=0, label="judged")
        axes.scatter([1.0], [0.0], s=55, marker="s", color=INK, label="FP16")
        axes.scatter([info.full.ratio], [info.full.drop], s=60, marker="^", color=VERMILION, label="all in INT8")
        below, above = max(info.ratio - info.ratio_low, 0.0), max(info.ratio_high - info.ratio, 0.0)
        axes.errorbar(
            [info.ratio], [info.drop], xerr=[[below], [above]], color=GREEN, marker="D", markersize=8, capsize=4,
            linewidth=1.4, label="this engine, and its interval",
        )  # fmt: skip
        _scale(axes, info)
        axes.set_xlabel("time, as a part of FP16's")
        axes.set_ylabel("points lost")
        figure.legend(loc="outside upper left", ncols=2, frameon=False, fontsize=10)

    return draw(name, 3.6, paint)


def _scale(axes: Any, info: Int8Info) -> None:
    """Logarithmic beyond the budget, where losses reach far beyond it."""
    from matplotlib.ticker import FuncFormatter

    linear = max(info.max_drop, _SMALLEST)
    if max(point.drop for point in (*info.curve, info.full)) > _WIDE * linear:
        axes.set_yscale("symlog", linthresh=linear)
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
