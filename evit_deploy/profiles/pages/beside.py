# SPDX-License-Identifier: Apache-2.0
"""A profile beside others: what stands for it in a table, and how it compares."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from evit_deploy.profiles.compare.conditions import differences, main_manifest
from evit_deploy.profiles.compare.significance import Ratio, latency_ratio
from evit_deploy.profiles.latency import Latency
from evit_deploy.profiles.reading import Recorded, Report
from evit_deploy.profiles.report import ProfileReport


@dataclass(frozen=True)
class Other:
    """Another profile of the same model.

    Attributes:
        name: Name of its engine.
        what: Target, precision and compiler.
        ms: Median milliseconds per frame.
        ratio: Of `ms` to that of the page's profile.
        passed: Whether it agrees with PyTorch.
        differs: What forbids to lay the difference on the engines, such as another machine.
        date: Day of the measurement.
    """

    name: str
    what: str
    ms: float
    ratio: Ratio
    passed: bool
    differs: tuple[str, ...]
    date: str


def others(report: Report, recorded: Iterable[Recorded]) -> list[Other]:
    """The profiles of the same model among others, fastest first."""
    name = main_manifest(report).model.name
    found = (_compared(report, item.report, name) for item in recorded if item.report is not None)
    return sorted(filter(None, found), key=lambda other: other.ms)


def headline(report: Report) -> Latency:
    """What stands for a whole profile: the raw graph; of several parts, the image encoder."""
    return report.engine_infer if isinstance(report, ProfileReport) else report.works[0].engine


def passed(report: Report) -> bool:
    """Whether an engine agreed with PyTorch."""
    return report.agreement.passed if isinstance(report, ProfileReport) else report.verdict.passed


def words_for(report: Report) -> str:
    """Target, precision and compiler of an engine."""
    engine = main_manifest(report).engine
    assert engine is not None
    return f"{engine.target}, {engine.precision.upper()}, {engine.compiler}"


def _compared(report: Report, other: Report, model: str) -> Other | None:
    """Another profile of a model; None of another model, and of what cannot be compared."""
    try:
        same = other.engine != report.engine and main_manifest(other).model.name == model
        return _other(report, other) if same else None
    except (ArithmeticError, AssertionError, LookupError, TypeError, ValueError):
        return None  # odd figures of another are no reason to have no page; its own page tells them


def _other(report: Report, other: Report) -> Other:
    first, second = headline(report), headline(other)
    return Other(
        name=other.engine,
        what=words_for(other),
        ms=second.p50 / second.frames,
        ratio=latency_ratio(first, second),
        passed=passed(other),
        differs=tuple(item.name for item in differences(report, other) if item.decisive),
        date=other.environment.get("date", "")[:10],
    )
