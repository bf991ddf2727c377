# SPDX-License-Identifier: Apache-2.0
"""Accuracy over latency, drawn: the frontier, the budget, and how sure each latency is."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

from evit_deploy.errors import extra
from evit_deploy.profiles.advise.advice import Advice
from evit_deploy.profiles.advise.choice import Choice

_BLUE, _GREY, _RED = "#0072b2", "#6b7280", "#d55e00"  # told apart by all common kinds of colour blindness


def draw_frontier(advice: Advice) -> str:
    """Draw one metric's models.

    Filled marks are measured, open ones predicted, with the interval as a bar. Models of unknown accuracy are not in
    the picture.

    Returns:
        An SVG file.

    Raises:
        MissingExtraError: Matplotlib is not installed.
    """
    with extra("report", "Drawing"):
        import matplotlib as mpl
        from matplotlib.figure import Figure

    known = [choice for choice in advice.choices if choice.accuracy is not None]
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "evit-deploy", "font.size": 10}):
        figure = Figure(figsize=(7.2, 4.8), layout="constrained")
        axes = figure.subplots()
        _draw_choices(axes, [choice for choice in known if choice not in advice.frontier], _GREY, "left", (5, -11))
        _draw_choices(axes, advice.frontier, _BLUE, "right", (-5, 4))  # nothing is above and left of these
        times, accuracies = [one.timing.ms for one in advice.frontier], [one.accuracy or 0 for one in advice.frontier]
        axes.step(times, accuracies, where="post", color=_BLUE, linewidth=1)
        axes.axvline(advice.wanted.budget_ms, color=_RED, linestyle="--", linewidth=1)
        _label(axes, advice, predicted=any(choice.timing.is_predicted for choice in known))
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()


def _draw_choices(axes: Any, choices: Sequence[Choice], colour: str, side: str, offset: tuple[int, int]) -> None:
    for choice in choices:
        timing = choice.timing
        axes.errorbar(
            timing.ms, choice.accuracy, xerr=[[timing.ms - timing.low_ms], [timing.high_ms - timing.ms]], fmt="o",
            color=colour, markerfacecolor="white" if timing.is_predicted else colour, elinewidth=0.8, markersize=5,
        )  # fmt: skip
        axes.annotate(
            choice.title, (timing.ms, choice.accuracy), xytext=offset, textcoords="offset points", ha=side,
            fontsize=8, color=colour,
        )  # fmt: skip


def _label(axes: Any, advice: Advice, predicted: bool) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    wanted = advice.wanted
    axes.set_xscale("log")
    axes.margins(x=0.12)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_xlabel("milliseconds per frame, logarithmic")
    axes.set_ylabel(f"{advice.metric}, %")
    mode = f", {wanted.mode}" if wanted.mode else ""
    marks = "open marks: predicted, not measured" if predicted else "all measured"
    axes.set_title(f"{wanted.target}{mode}, budget {wanted.budget_ms:g} ms; {marks}", fontsize=10)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
