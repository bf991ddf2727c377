# SPDX-License-Identifier: Apache-2.0
"""One page over all profiles: what there is, how fast, how accurate, and which does not agree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from evit_deploy.errors import EvitError, first_line
from evit_deploy.manifest import replace_file, utc_now
from evit_deploy.profiles.compare.conditions import main_manifest
from evit_deploy.profiles.pages.beside import headline, passed, words_for
from evit_deploy.profiles.pages.charts.bars import bars
from evit_deploy.profiles.pages.graph import graphs_of
from evit_deploy.profiles.pages.page import PAGE
from evit_deploy.profiles.pages.template import fill_template
from evit_deploy.profiles.reading import Evaluated, Recorded, Report, read_record, recorded_folders
from evit_deploy.profiles.report import ProfileReport

INDEX = "index.html"


@dataclass(frozen=True)
class Line:
    """One engine in the index; what was not measured is None.

    Attributes:
        name: Name of the engine.
        link: Its page; None where there is none.
        model: Name of the model.
        what: Target, precision and compiler.
        resolution: "height × width".
        ms: Median milliseconds per frame of the raw graph, or of the image encoder.
        speedup: How many times as fast as PyTorch.
        predicted_ms: What was predicted for it.
        memory_mb: Peak memory.
        energy_mj: Millijoules per frame.
        passed: Whether it agrees with PyTorch.
        accuracy: First metric of every data set, in words.
        date: Day of the last measurement.
    """

    name: str
    link: str | None
    model: str | None = None
    what: str | None = None
    resolution: str | None = None
    ms: float | None = None
    speedup: float | None = None
    predicted_ms: float | None = None
    memory_mb: float | None = None
    energy_mj: float | None = None
    passed: bool | None = None
    accuracy: tuple[str, ...] = ()
    date: str = ""


@dataclass(frozen=True)
class Unreadable:
    """A folder whose records cannot be read, and why."""

    name: str
    why: str


def write_index(profiles: Path) -> tuple[Path, tuple[Unreadable, ...]]:
    """Make the index of all profiles.

    Args:
        profiles: Folder of all profiles; ``index.html`` is written there.

    Returns:
        Path of the index, and what could not be read: the index names it, too.

    Raises:
        UsageError: The index cannot be written.
    """
    lines: list[Line] = []
    broken: list[Unreadable] = []
    for folder in recorded_folders(profiles):
        try:
            lines.append(line_of(read_record(folder)))
        except EvitError as error:
            broken.append(Unreadable(folder.name, reason(error)))
        except Exception as error:  # figures that cannot be are no reason to have no index
            broken.append(Unreadable(folder.name, f"{type(error).__name__}: {first_line(error)}"))
    path = profiles / INDEX
    replace_file(path, render_index(lines, broken).encode())
    return path, tuple(broken)


def reason(error: EvitError) -> str:
    """Why records cannot be read, in a line."""
    return f"{error.what}; found {error.found}" if error.found else error.what


def render_index(lines: Sequence[Line], broken: Sequence[Unreadable] = ()) -> str:
    """Make the index."""
    ordered = sorted(lines, key=lambda line: (line.model or "", line.ms is None, line.ms or 0.0, line.name))
    timed = [(line.name, line.ms) for line in ordered if line.ms is not None]
    charts = (
        {"latency": bars("latency", timed, "milliseconds per frame, logarithmic", logarithmic=True)} if timed else {}
    )
    return fill_template("index.html", charts, lines=ordered, broken=broken, title="Profiles", date=utc_now())


def line_of(recorded: Recorded) -> Line:
    """What the index says about an engine."""
    report, name = recorded.report, recorded.folder.name
    accuracy = tuple(_accuracy(found) for found in recorded.evaluations)
    if report is not None:
        return _measured(report, name, accuracy)
    dates = [found.created[:10] for found in recorded.evaluations]
    if recorded.verified is not None:
        dates.append(recorded.verified.created[:10])
    verdict = recorded.verified.passed if recorded.verified is not None else None
    return Line(name, None, passed=verdict, accuracy=accuracy, date=max(dates))


def _measured(report: Report, name: str, accuracy: tuple[str, ...]) -> Line:
    manifest, latency = main_manifest(report), headline(report)
    graph = next(iter(graphs_of(report)), None)
    predicted = None if graph is None else graph.prediction
    return Line(
        name=name,
        link=f"{name}/{PAGE}",
        model=manifest.model.name,
        what=words_for(report),
        resolution="{} × {}".format(*manifest.graph.resolution),
        ms=latency.p50 / latency.frames,
        speedup=report.speedup if isinstance(report, ProfileReport) else report.works[0].speedup,
        predicted_ms=None if predicted is None else predicted.ms / predicted.batch,
        memory_mb=report.peak_memory_mb,
        energy_mj=None if report.power is None else report.power.energy_mj,
        passed=passed(report),
        accuracy=accuracy,
        date=report.environment.get("date", "")[:10],
    )


def _accuracy(found: Evaluated) -> str:
    evaluation = found.evaluation
    metric, value = next(iter(evaluation.score.metrics.items()))
    return f"{evaluation.dataset.kind}: {metric} {100 * value:.2f} %"
