# SPDX-License-Identifier: Apache-2.0
"""What all charts share: Matplotlib's SVG made part of a page, with the page's own text colour and font.

Colours tell things apart for everyone: they are of Okabe and Ito's palette for colour vision deficiencies, and have a
contrast of 3 to 1 with the page in light and in dark (WCAG 2.2, 1.4.11). What a colour says, words or a mark say too.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from typing import Any

import numpy as np

from evit_deploy.profiles.pages.words import identifier

BLUE, GREEN, VERMILION, PURPLE = "#0072b2", "#009e73", "#d55e00", "#b7668f"
COLOURS = (BLUE, GREEN, VERMILION)
"""Of the subjects of a measurement: the raw graph, the way from frame to result, PyTorch."""

INK = "#010203"
"""Stands for the page's own text colour, which changes between light and dark."""

WIDTH = 5.0  # inches, 72 points each in the SVG: letters are still read where a phone shrinks it


def draw(name: str, height: float, paint: Callable[[Any], None]) -> str:
    """Draw one chart.

    Args:
        name: Unique on its page; the element with the id ``<its identifier>-caption`` describes the chart.
        height: In inches, at a width of `WIDTH`.
        paint: Fills a Matplotlib figure.

    Returns:
        An ``<svg>`` element without XML header or links.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    style = {"svg.fonttype": "none", "svg.hashsalt": name, "font.size": 11, "text.color": INK, "axes.edgecolor": INK,
             "axes.labelcolor": INK, "xtick.color": INK, "ytick.color": INK, "axes.spines.top": False,
             "axes.spines.right": False, "hatch.linewidth": 0.6,
             "text.parse_math": False}  # a dollar sign in a name begins no formula  # fmt: skip
    with mpl.rc_context(style):
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        paint(figure)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    return _inline(buffer.getvalue(), identifier(name))


def label_logarithmic(axis: Any, low: float, high: float) -> None:
    """Put round numbers on a logarithmic axis, however narrow its range is."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    axis.set_major_locator(FixedLocator(ticks(low, high)))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))


def ticks(low: float, high: float) -> list[float]:
    """Round numbers within a range: powers of ten, 1-2-5 steps, or closer ones where the range is narrow."""
    decades = [10.0**power for power in range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)]
    for digits in (
        (1,),
        (1, 2, 5),
        (1, 1.5, 2, 3, 4, 5, 6, 8),
        tuple(np.arange(1, 10, 0.25)),
        tuple(np.arange(1, 10, 0.05)),
    ):
        steps = [float(round(decade * digit, 6)) for decade in decades for digit in digits]
        inside = [step for step in steps if low <= step <= high]
        if len(inside) >= 3:
            return inside[:: max(1, len(inside) // 9)]
    return [low, high]


def _inline(text: str, own: str) -> str:
    """Make Matplotlib's SVG file part of an HTML page: ids that nothing refers to go, the others become its `own`."""
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r' xmlns(:\w+)?="[^"]*"', "", text)
    text = re.sub(r' (width|height)="[\d.]+pt"', "", text, count=2)
    text = text.replace("xlink:href", "href").replace(INK, "currentColor")
    used = set(re.findall(r'(?:href="|url\()#([^")]+)', text))
    text = re.sub(r' id="([^"]*)"', lambda found: f' id="{own}-{found[1]}"' if found[1] in used else "", text)
    text = re.sub(r'(href="|url\()#', rf"\g<1>#{own}-", text)
    return text.replace("<svg", f'<svg role="img" aria-labelledby="{own}-caption"', 1)
