# SPDX-License-Identifier: Apache-2.0
"""Profiles of engines, machines or dates in one table, each held against the first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from evit_deploy.errors import UsageError
from evit_deploy.profiles.compare.conditions import Difference, differences
from evit_deploy.profiles.compare.remarks import control_words, disturbed, energy_words, image_words, untold
from evit_deploy.profiles.compare.rows import Row, accuracy_rows, figure_rows, latency_rows
from evit_deploy.profiles.files import plain
from evit_deploy.profiles.reading import Evaluated, Report


@dataclass(frozen=True)
class Comparison:
    """Profiles side by side.

    Attributes:
        reports: The profiles; the others are held against the first.
        latencies: Median milliseconds per frame.
        figures: What else is measured, each once per run, and so without a word on chance.
        differences: For each profile, how its conditions differ from the first's; none for the first.
        warnings: What a reader must know before believing a ratio.
    """

    reports: tuple[Report, ...]
    latencies: tuple[Row, ...]
    figures: tuple[Row, ...]
    differences: tuple[tuple[Difference, ...], ...]
    warnings: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        data = {
            "profiles": [
                {"engine": report.engine, "date": report.environment.get("date"), "environment": report.environment}
                for report in self.reports
            ],
            "latencies": [asdict(row) for row in self.latencies],
            "figures": [asdict(row) for row in self.figures],
            "differences": [
                [{**asdict(item), "decisive": item.decisive} for item in items] for items in self.differences
            ],
            "warnings": list(self.warnings),
        }
        return plain(data)  # type: ignore[no-any-return]


def compare(reports: Sequence[Report], evaluations: Sequence[Sequence[Evaluated]] = ()) -> Comparison:
    """Hold profiles against the first of them.

    Args:
        reports: What was measured.
        evaluations: For each report, what was found on data sets; empty where nothing was.

    Raises:
        UsageError: Fewer than two.
    """
    if len(reports) < 2:
        raise UsageError("there is nothing to compare with", found=f"{len(reports)} profile", expected="two or more")
    latencies = tuple(latency_rows(reports))
    found = tuple(() if index == 0 else differences(reports[0], other) for index, other in enumerate(reports))
    figures = (*figure_rows(reports), *accuracy_rows(evaluations))
    doubts = (*disturbed(reports), *untold(reports), *control_words(latencies))
    warnings = (*doubts, *energy_words(reports), *image_words(evaluations))
    return Comparison(tuple(reports), latencies, figures, found, warnings)
