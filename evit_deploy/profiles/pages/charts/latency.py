# SPDX-License-Identifier: Apache-2.0
"""Latency as charts: how the calls are distributed, and whether they changed while they were measured."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from evit_deploy.profiles.latency import ROUNDS, Latency, blocks
from evit_deploy.profiles.pages.charts.bars import shortened
from evit_deploy.profiles.pages.charts.canvas import COLOURS, INK, draw, label_logarithmic
from evit_deploy.profiles.pages.words import milliseconds

_BINS = 48
_ROW = 1.05  # inches
_NAME = 40  # characters; the table has the whole names
_MARKS = "os^Dv"


def latency_histogram(latencies: Sequence[Latency], colours: Sequence[str] = COLOURS) -> str:
    """One histogram per subject, one below the other, on a common axis of milliseconds.

    Args:
        latencies: What was timed.
        colours: One colour for each.

    Returns:
        An ``<svg>`` element; see `evit_deploy.profiles.pages.charts.canvas`.
    """

    def paint(figure: Any) -> None:
        rows = figure.subplots(len(latencies), 1, sharex=True, squeeze=False)[:, 0]
        bins = _common_bins(latencies)
        for axes, latency, colour in zip(rows, latencies, colours, strict=False):
            _draw_row(axes, latency, bins, colour)
        _label_axis(rows[-1], bins)

    return draw("histogram", _ROW * len(latencies) + 0.5, paint)


def latency_drift(latencies: Sequence[Latency], colours: Sequence[str] = COLOURS) -> str:
    """The median of every round over the median of all, one line per subject, with its quartiles.

    Args:
        latencies: What was timed, in rounds.
        colours: One colour for each.
    """

    def paint(figure: Any) -> None:
        axes = figure.subplots()
        for number, (latency, colour) in enumerate(zip(latencies, colours, strict=False)):
            found = {index + 1: block for index, block in enumerate(blocks(latency)) if len(block)}
            quartiles = [100 * np.percentile(block, [25, 50, 75]) / latency.p50 for block in found.values()]
            low, middle, high = np.array(quartiles).T
            rounds = list(found)
            axes.fill_between(rounds, low, high, color=colour, alpha=0.2, linewidth=0)
            mark = _MARKS[number % len(_MARKS)]
            axes.plot(
                rounds,
                middle,
                color=colour,
                marker=mark,
                markersize=4,
                linewidth=1.4,
                label=shortened(latency.name, _NAME),
            )
        axes.axhline(100, color=INK, linewidth=0.8, linestyle=(0, (3, 2)), alpha=0.6)
        axes.set_xlim(0.5, ROUNDS + 0.5)
        axes.set_xticks([1, *range(5, ROUNDS + 1, 5)])
        axes.set_xlabel("round of the run, in the order of time")
        axes.set_ylabel("% of the median")
        figure.legend(loc="outside upper left", ncols=2, frameon=False, fontsize=10)

    return draw("drift", 3.0, paint)


def _common_bins(latencies: Sequence[Latency]) -> Any:
    """Bin edges of equal width on a logarithmic axis that shows everything."""
    samples = np.concatenate([item.samples_ms for item in latencies])
    low, high = samples.min() / 1.08, samples.max() * 1.08
    return np.geomspace(low, high, _BINS + 1)


def _draw_row(axes: Any, latency: Latency, bins: Any, colour: str) -> None:
    axes.hist(latency.samples_ms, bins=bins, color=colour, linewidth=0)
    axes.margins(y=0.12)
    axes.axvline(latency.p50, color=INK, linewidth=1, linestyle=(0, (3, 2)))
    axes.set_title(
        f"{shortened(latency.name, _NAME)}: median {milliseconds(latency.p50)} ms", loc="left", fontsize=10.5, pad=4
    )
    axes.set_yticks([])
    axes.tick_params(axis="x", which="both", labelbottom=False, length=0)
    axes.spines["left"].set_visible(False)
    axes.spines["bottom"].set_alpha(0.4)


def _label_axis(axes: Any, bins: Any) -> None:
    axes.set_xscale("log")
    axes.set_xlim(bins[0], bins[-1])
    label_logarithmic(axes.xaxis, bins[0], bins[-1])
    axes.tick_params(axis="x", which="major", labelbottom=True, length=3)
    axes.set_xlabel("milliseconds per call, logarithmic")
