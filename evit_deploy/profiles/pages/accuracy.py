# SPDX-License-Identifier: Apache-2.0
"""Charts of what an engine was evaluated on."""

from __future__ import annotations

from collections.abc import Iterable

from evit_deploy.profiles.pages.charts.confusion import MOST_CLASSES, confusion_matrix
from evit_deploy.profiles.reading import Evaluated


def confusion_charts(evaluations: Iterable[Evaluated]) -> dict[str, str]:
    """A confusion matrix for every data set with few enough classes."""
    charts = {}
    for found in evaluations:
        score, name = found.evaluation.score, f"confusion-{found.evaluation.dataset.kind}"
        if score.confusion and len(score.confusion) <= MOST_CLASSES:
            charts[name] = confusion_matrix(name, score.confusion, [item.name for item in score.classes])
    return charts
