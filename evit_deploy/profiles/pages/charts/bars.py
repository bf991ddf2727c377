# SPDX-License-Identifier: Apache-2.0
"""Plain bars, one below the other, with their names: of layers, and of engines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from evit_deploy.profiles.pages.charts.canvas import BLUE, INK, draw, label_logarithmic
from evit_deploy.profiles.pages.words import milliseconds

_LONGEST_NAME = 52


def bars(name: str, rows: Sequence[tuple[str, float]], unit: str, *, logarithmic: bool = False) -> str:
    """Horizontal bars, each below its name.

    Args:
        name: Of the chart.
        rows: Name and value of each; the longest names lose their middle.
        unit: Of the values, which are milliseconds of something.
        logarithmic: Whether values are of different orders; then dots, since a bar has no beginning.
    """
    values = [row[1] for row in rows]
    low, high = (min(values) / 1.5, 1.8 * max(values)) if logarithmic else (0.0, 1.15 * max(values))

    def paint(figure: Any) -> None:
        axes = figure.subplots()
        if logarithmic:
            axes.set_xscale("log")
            label_logarithmic(axes.xaxis, low, high)
            axes.hlines(range(len(rows)), low, high, color=INK, alpha=0.15, linewidth=0.8)
            axes.scatter(values, range(len(rows)), color=BLUE, s=45, zorder=2)
        else:
            axes.barh(range(len(rows)), values, 0.4, color=BLUE)
        axes.set_xlim(low, high)
        for place, (label, value) in enumerate(rows):
            _say(axes, shortened(label), (low, place - 0.42), (2, 0))
            _say(axes, milliseconds(value), (value, place), (7, 0))
        axes.set_yticks([])
        axes.set_ylim(len(rows) - 0.5, -0.8)
        axes.set_xlabel(unit)

    return draw(name, 0.8 + 0.4 * len(rows), paint)


def shortened(name: str, longest: int = _LONGEST_NAME) -> str:
    """A name that fits into a line; beginning and end tell more than the middle."""
    if len(name) <= longest:
        return name
    half = (longest - 1) // 2
    return f"{name[:half]}…{name[-half:]}"


def _say(axes: Any, words: str, at: tuple[float, float], away: tuple[float, float]) -> None:
    axes.annotate(words, at, xytext=away, textcoords="offset points", va="center", fontsize=10)
