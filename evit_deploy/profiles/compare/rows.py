# SPDX-License-Identifier: Apache-2.0
"""Figures of several profiles, one row each, held against the first profile where they compare."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from evit_deploy.agreement import worst
from evit_deploy.profiles.compare.significance import Ratio, energy_ratio, latency_ratio
from evit_deploy.profiles.evaluate.record import Evaluation
from evit_deploy.profiles.insight import Insight
from evit_deploy.profiles.latency import Latency
from evit_deploy.profiles.power.record import PowerRecord
from evit_deploy.profiles.reading import Evaluated, Report
from evit_deploy.profiles.report import ProfileReport

Subject = TypeVar("Subject")
Scored = tuple[Evaluation, float]


@dataclass(frozen=True)
class Row:
    """One figure of all profiles.

    Attributes:
        name: What it is of, such as "engine infer".
        unit: Such as "ms".
        values: One per profile; None where it was not measured.
        ratios: The same over the first profile's; None for the first, and where one of the two is missing or they do
            not compare.
        control: Whether it is of PyTorch, which should not change with the engine.
    """

    name: str
    unit: str
    values: tuple[float | None, ...]
    ratios: tuple[Ratio | None, ...]
    control: bool = False


def latency_rows(reports: Sequence[Report]) -> Iterable[Row]:
    """Everything that was timed in one of them at least, in the order of the first."""
    timed = [{item.name: item for item in report.latencies} | _modes(report) for report in reports]
    for name in dict.fromkeys(name for items in timed for name in items):
        yield _row(name, "ms", [items.get(name) for items in timed], _per_frame, latency_ratio, "PyTorch" in name)


def figure_rows(reports: Sequence[Report]) -> Iterable[Row]:
    """What else was measured in one of them at least: once per run, so that chance is not known, but for energy."""
    readers: dict[tuple[str, str], Callable[[Report], float | None]] = {
        **{_throughput_of(graph): partial(_frames_per_second, graph=graph) for graph in _graphs(reports)},
        ("first call", "ms"): lambda report: report.first_call_ms,
        ("load", "s"): lambda report: report.load_seconds,
        ("peak memory", "MB"): lambda report: report.peak_memory_mb,
        ("engine", "MB"): lambda report: report.engine_mb,
        ("worst relative L2", ""): _relative_l2,
    }
    for (name, unit), read in readers.items():
        values = [read(report) for report in reports]
        if any(value is not None for value in values):
            yield _row(name, unit, values, float, lambda first, other: Ratio(other / first) if first else None)
    powers = [report.power for report in reports]
    if any(powers):
        yield _row("energy", "mJ", powers, lambda power: power.energy_mj, _comparable_energy)


def accuracy_rows(evaluations: Sequence[Sequence[Evaluated]]) -> Iterable[Row]:
    """Every metric of every data set that one of them was evaluated on."""
    found = [{item.evaluation.dataset.kind: item.evaluation for item in items} for items in evaluations]
    scores = [
        {
            f"{metric} on {kind}": (item, value)
            for kind, item in items.items()
            for metric, value in item.score.metrics.items()
        }
        for items in found
    ]
    for name in dict.fromkeys(name for items in scores for name in items):
        yield _row(name, "", [items.get(name) for items in scores], lambda score: score[1], _comparable_score)


def _comparable_score(first: Scored, other: Scored) -> Ratio | None:
    return Ratio(other[1] / first[1]) if first[1] and same_images(first[0], other[0]) else None


def same_images(first: Evaluation, other: Evaluation) -> bool:
    """Whether two scores are of the same images."""
    return (first.dataset.sha256, first.images) == (other.dataset.sha256, other.images)


def _row(
    name: str,
    unit: str,
    found: Sequence[Subject | None],
    value: Callable[[Subject], float],
    ratio: Callable[[Subject, Subject], Ratio | None],
    control: bool = False,
) -> Row:
    first = found[0]
    ratios = (None if first is None or item is None else ratio(first, item) for item in found[1:])
    values = (None if item is None else value(item) for item in found)
    return Row(name, unit, tuple(values), (None, *ratios), control)


def _per_frame(latency: Latency) -> float:
    return latency.p50 / latency.frames


def _insights(report: Report) -> Mapping[str, ProfileReport | Insight]:
    """What was found of each graph, by its name; that of the only one is empty."""
    return {"": report} if isinstance(report, ProfileReport) else report.insights


def _modes(report: Report) -> dict[str, Latency]:
    """Times as `trtexec` takes them, by the names of graph and mode."""
    return {_of_graph(mode.name, graph): mode for graph, insight in _insights(report).items() for mode in insight.modes}


def _graphs(reports: Iterable[Report]) -> Iterable[str]:
    return dict.fromkeys(graph for report in reports for graph in _insights(report))


def _throughput_of(graph: str) -> tuple[str, str]:
    return _of_graph("throughput", graph), "frames/s"


def _frames_per_second(report: Report, graph: str) -> float | None:
    insight = _insights(report).get(graph)
    return None if insight is None else insight.frames_per_second


def _of_graph(name: str, graph: str) -> str:
    return f"{graph}, {name}" if graph else name


def _relative_l2(report: Report) -> float | None:
    agreement = report.agreement if isinstance(report, ProfileReport) else report.verdict.whole
    return worst(agreement.frames).relative_l2


def same_total(first: PowerRecord, other: PowerRecord) -> bool:
    """Totals of different rails say nothing about one another."""
    return (first.source, first.total_of) == (other.source, other.total_of)


def _comparable_energy(first: PowerRecord, other: PowerRecord) -> Ratio | None:
    told = all(0 < power.energy_mj < math.inf for power in (first, other))  # a counter of a virtual machine may stand
    return energy_ratio(first, other) if told and same_total(first, other) else None
