# SPDX-License-Identifier: Apache-2.0
"""Where predicted milliseconds go: a waterfall by cause, and stacked bars by part of the network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from evit_deploy.profiles.pages.charts.canvas import BLUE, GREEN, INK, PURPLE, VERMILION, draw
from evit_deploy.profiles.pages.words import milliseconds
from evit_deploy.profiles.predict.prediction import Prediction, Terms


class Cause(NamedTuple):
    """How a cause is shown; the hatch is for those who see no colours."""

    words: str
    colour: str
    hatch: str


CAUSES = {
    "traffic": Cause("Moving data", BLUE, ""),
    "arithmetic": Cause("Arithmetic", VERMILION, "//"),
    "launches": Cause("Starting kernels", GREEN, ".."),
    "copies": Cause("Copies in and out", PURPLE, "xx"),
}
"""By field of `Terms`."""


def waterfall(name: str, prediction: Prediction, measured_ms: float | None = None) -> str:
    """Each cause begins where the one before it ends; below them the sum with its interval, and what was measured.

    Args:
        name: Of the chart.
        prediction: What was predicted.
        measured_ms: Median of what was measured; None where nothing was.
    """
    whole = prediction.ms
    rows = [*(cause.words for cause in CAUSES.values()), "Predicted", *([] if measured_ms is None else ["Measured"])]

    def paint(figure: Any) -> None:
        axes, start = figure.subplots(), 0.0
        for place, (field, cause) in enumerate(CAUSES.items()):
            value = getattr(prediction.terms, field)
            axes.barh(place, value, left=start, color=cause.colour, hatch=cause.hatch, edgecolor=INK, linewidth=0.5)
            start += value
            _say(axes, start, place, f"{milliseconds(value)} ms, {value / (whole or 1):.0%}")
        place = len(CAUSES)
        spread = [[whole - prediction.low_ms], [prediction.high_ms - whole]]
        axes.barh(place, whole, xerr=spread, color="none", edgecolor=INK, ecolor=INK, capsize=4)
        _say(axes, prediction.high_ms, place, f"{milliseconds(whole)} ms")
        if measured_ms is not None:
            axes.barh(place + 1, measured_ms, color=INK, alpha=0.55)
            _say(axes, measured_ms, place + 1, f"{milliseconds(measured_ms)} ms")
        _name_rows(axes, rows)
        axes.set_xlim(0, 1.5 * max(prediction.high_ms, measured_ms or 0.0) or 1.0)

    return draw(name, 0.5 + 0.4 * len(rows), paint)


def stage_bars(name: str, stages: Mapping[str, Terms], measured: Mapping[str, float]) -> str:
    """One stacked bar per part of the network, and below it what was measured of it.

    Args:
        name: Of the chart.
        stages: Predicted milliseconds by part.
        measured: Measured milliseconds by part; empty where none were.
    """
    names = list(dict.fromkeys((*stages, *measured)))
    thick, away = (0.4, 0.21) if measured else (0.7, 0.0)

    def paint(figure: Any) -> None:
        axes, starts = figure.subplots(), [0.0] * len(names)
        for field, cause in CAUSES.items():
            values = [getattr(stages.get(stage, Terms()), field) for stage in names]
            axes.barh(
                [place - away for place in range(len(names))], values, thick, left=starts, label=cause.words,
                color=cause.colour, hatch=cause.hatch, edgecolor=INK, linewidth=0.4,
            )  # fmt: skip
            starts = [start + value for start, value in zip(starts, values, strict=True)]
        if measured:
            places = [place + away for place in range(len(names))]
            values = [measured.get(stage, 0.0) for stage in names]
            axes.barh(places, values, thick, color=INK, alpha=0.55, label="Measured")
        _name_rows(axes, names)
        figure.legend(loc="outside upper left", ncols=2, frameon=False, fontsize=10)

    return draw(name, 1.5 + 0.34 * len(names), paint)


def _name_rows(axes: Any, names: list[str]) -> None:
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set_xlabel("milliseconds per run")


def _say(axes: Any, at: float, place: int, words: str) -> None:
    axes.annotate(words, (at, place), xytext=(8, 0), textcoords="offset points", va="center", fontsize=10)
