# SPDX-License-Identifier: Apache-2.0
"""What a reader must know before believing a ratio, and what profiles are called in a comparison."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from evit_deploy.profiles.compare.conditions import disturbances, main_manifest, one_sided
from evit_deploy.profiles.compare.rows import Row, same_images, same_total
from evit_deploy.profiles.reading import Evaluated, Report

_NOTEWORTHY = 0.02


def letter(index: int) -> str:
    """What a profile is called in a comparison: A for the first, B for the second."""
    return chr(ord("A") + index) if index < 26 else f"#{index + 1}"


def title(report: Report) -> str:
    """A profile in a line: engine, machine, date."""
    environment = report.environment
    machine = environment.get("board") or environment.get("gpu") or environment.get("processor", "unknown machine")
    mode = f", {environment['power mode']}" if "power mode" in environment else ""
    model = main_manifest(report).model.name
    words = report.engine if model in report.engine else f"{report.engine} ({model})"
    return f"{words}, {machine}{mode}, {environment.get('date', 'date unknown')}"


def disturbed(reports: Sequence[Report]) -> Iterable[str]:
    """Other programs and clocks that fell, in every run."""
    for index, report in enumerate(reports):
        yield from (f"while {letter(index)} was measured, {words}" for words in disturbances(report))


def untold(reports: Sequence[Report]) -> Iterable[str]:
    """Conditions that one of two profiles does not tell, so that nobody knows whether they differ."""
    for index, report in enumerate(reports[1:], 1):
        for name in one_sided(reports[0], report):
            teller, other = ("A", letter(index)) if name in reports[0].environment else (letter(index), "A")
            yield f"{teller} tells its {name}, and {other} does not: it may differ"


def control_words(latencies: Iterable[Row]) -> Iterable[str]:
    """PyTorch was timed beside the engine: where it changed as well, something else than the engine did."""
    for row in (row for row in latencies if row.control):
        for index, ratio in enumerate(row.ratios):
            if ratio and ratio.differs and abs(ratio.value - 1) > _NOTEWORTHY:
                yield (
                    f"{row.name}, which is no part of the engine, took {ratio.value:.2f} times as long in the run of "
                    f"{letter(index)}: the machine, its load or PyTorch changed"
                )


def energy_words(reports: Sequence[Report]) -> Iterable[str]:
    """Energies of different rails: their totals say nothing about one another."""
    first = reports[0].power
    for index, report in enumerate(reports[1:], 1):
        power = report.power
        if first and power and not same_total(first, power):
            yield (
                f"energy of {letter(index)} is of {power.total_is} by {power.source}, that of A of {first.total_is} by "
                f"{first.source}: they do not compare"
            )


def image_words(evaluations: Sequence[Sequence[Evaluated]]) -> Iterable[str]:
    """Scores of different images."""
    first = {item.evaluation.dataset.kind: item.evaluation for item in evaluations[0]} if evaluations else {}
    for index, items in enumerate(evaluations[1:], 1):
        for other in (item.evaluation for item in items):
            before = first.get(other.dataset.kind)
            if before and not same_images(before, other):
                images = f"images of {other.dataset.kind}"
                yield f"{letter(index)} was evaluated on other {images} than A: scores do not compare"
