# SPDX-License-Identifier: Apache-2.0
"""A confusion matrix as a picture: which classes are taken for which."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from evit_deploy.profiles.pages.charts.canvas import draw

MOST_CLASSES = 40
"""With more, names do not fit; the page then lists the worst pairs only."""


def confusion_matrix(name: str, counts: Sequence[Sequence[int]], classes: Sequence[str]) -> str:
    """Rows are true classes, columns predicted ones; each row as parts of its sum.

    Args:
        name: Of the chart.
        counts: One row per true class.
        classes: Their names; `MOST_CLASSES` at most.
    """
    matrix = np.array(counts, float)
    letters = 10 if len(classes) <= 20 else 8  # more would overlap; a phone then shows them small
    shares = 100 * matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)

    def paint(figure: Any) -> None:
        axes = figure.subplots()
        # Dark to light in one direction, so that it reads without colours (cividis: Nuñez, Anderton and Renslow 2018).
        mesh = axes.pcolormesh(shares, cmap="cividis", vmin=0, vmax=100)
        middle = np.arange(len(classes)) + 0.5
        axes.set_xticks(middle, classes, rotation=90, fontsize=letters)
        axes.set_yticks(middle, classes, fontsize=letters)
        axes.invert_yaxis()
        axes.set_aspect("equal")
        axes.set_xlabel("predicted")
        axes.set_ylabel("true")
        bar = figure.colorbar(mesh, ax=axes, shrink=0.6)
        bar.set_label("% of the true class")
        bar.solids.set_rasterized(False)

    return draw(name, 5.6, paint)
