# SPDX-License-Identifier: Apache-2.0
"""Latency histograms as inline SVG that takes the page's text colour and font."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from evit_deploy.profiles.latency import Latency

COLOURS = ("#3b82f6", "#0d9488", "#ea7a1c")
_INK = "#010203"  # stands for the page's own text colour, which changes between light and dark
_BINS = 48
_WIDTH, _ROW = 6.4, 1.05  # inches; 72 points each in the SVG


def latency_histogram(latencies: Sequence[Latency], colours: Sequence[str] = COLOURS) -> str:
    """Draw one histogram per subject, one below the other, on a common axis of milliseconds.

    Args:
        latencies: What was timed.
        colours: One colour for each.

    Returns:
        An ``<svg>`` element without XML header, ids or links; the caption belongs to the page.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    style = {"svg.fonttype": "none", "svg.hashsalt": "evit-deploy", "font.size": 11, "text.color": _INK,
             "axes.edgecolor": _INK, "axes.labelcolor": _INK, "xtick.color": _INK}  # fmt: skip
    with mpl.rc_context(style):
        height = _ROW * len(latencies) + 0.5
        figure = Figure(figsize=(_WIDTH, height))
        rows = figure.subplots(len(latencies), 1, sharex=True, squeeze=False)[:, 0]
        bins = _common_bins(latencies)
        for axes, latency, colour in zip(rows, latencies, colours, strict=False):
            _draw_row(axes, latency, bins, colour)
        _label_axis(rows[-1], bins)
        figure.subplots_adjust(left=0.02, right=0.98, top=1 - 0.28 / height, bottom=0.5 / height, hspace=0.5)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    return _inline(buffer.getvalue())


def _common_bins(latencies: Sequence[Latency]) -> Any:
    """Bin edges of equal width on a logarithmic axis that shows everything."""
    samples = np.concatenate([item.samples_ms for item in latencies])
    low, high = samples.min() / 1.08, samples.max() * 1.08
    return np.geomspace(low, high, _BINS + 1)


def _draw_row(axes: Any, latency: Latency, bins: Any, colour: str) -> None:
    axes.hist(latency.samples_ms, bins=bins, color=colour, linewidth=0)
    axes.margins(y=0.12)
    axes.axvline(latency.p50, color=_INK, linewidth=1, linestyle=(0, (3, 2)))
    axes.set_title(f"{latency.name}: median {latency.p50:.3g} ms, {latency.runs} runs", loc="left", fontsize=11, pad=4)
    axes.set_yticks([])
    axes.tick_params(axis="x", which="both", labelbottom=False, length=0)
    for side in ("top", "left", "right"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_alpha(0.4)


def _label_axis(axes: Any, bins: Any) -> None:
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    axes.set_xscale("log")
    axes.set_xlim(bins[0], bins[-1])
    axes.xaxis.set_major_locator(FixedLocator(_ticks(bins[0], bins[-1])))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.tick_params(axis="x", which="major", labelbottom=True, length=3)
    axes.set_xlabel("milliseconds per call, logarithmic")


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers within a range: 1-2-5 steps, or closer ones where the range is narrow."""
    decades = [10.0**power for power in range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)]
    for digits in ((1, 2, 5), (1, 1.5, 2, 3, 4, 5, 6, 8), tuple(np.arange(1, 10, 0.25)), tuple(np.arange(1, 10, 0.05))):
        ticks = [float(round(decade * digit, 6)) for decade in decades for digit in digits]
        inside = [tick for tick in ticks if low <= tick <= high]
        if len(inside) >= 3:
            return inside[:: max(1, len(inside) // 9)]
    return [low, high]


def _inline(text: str) -> str:
    """Make Matplotlib's SVG file part of an HTML page."""
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r' xmlns(:\w+)?="[^"]*"', "", text)
    text = re.sub(r' (width|height)="[\d.]+pt"', "", text, count=2)
    text = text.replace("xlink:href", "href").replace(_INK, "currentColor")
    return text.replace("<svg", '<svg role="img" aria-labelledby="histogram-caption"', 1)
