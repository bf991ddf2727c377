# SPDX-License-Identifier: Apache-2.0
"""The page of one profile: a function of the records beside it, so that it can be made again at any time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from evit_deploy.agreement import worst
from evit_deploy.errors import ArtifactError, EvitError, UsageError, first_line
from evit_deploy.manifest import replace_file
from evit_deploy.profiles.pages.accuracy import confusion_charts
from evit_deploy.profiles.pages.beside import others
from evit_deploy.profiles.pages.charts.canvas import COLOURS
from evit_deploy.profiles.pages.charts.latency import latency_drift, latency_histogram
from evit_deploy.profiles.pages.charts.tradeoff import tradeoff
from evit_deploy.profiles.pages.graph import graphs_of
from evit_deploy.profiles.pages.int8 import int8_section
from evit_deploy.profiles.pages.pictures import Pictures, read_pictures
from evit_deploy.profiles.pages.provenance import engine_info, made, provenance, tags
from evit_deploy.profiles.pages.tables import agreement_table
from evit_deploy.profiles.pages.template import fill_template
from evit_deploy.profiles.reading import REPORT, Recorded, read_record, recorded_folders
from evit_deploy.profiles.report import ProfileReport, commands
from evit_deploy.profiles.sam.page import parts_values

PAGE = "report.html"
CLASSES = 200  # of a data set


def write_page(folder: Path) -> Path:
    """Make the page of a profile from its records, and from those beside it of the same model.

    Args:
        folder: Folder of the profile, below profiles/.

    Returns:
        Path of the page.

    Raises:
        UsageError: There is no report, or the page cannot be written.
        ArtifactError: A record of this profile is damaged, or says what no page can be made of. Such ones beside it
            are left out.
    """
    recorded = read_record(folder)
    if recorded.report is None:
        raise UsageError(f"{folder} has no {REPORT}", fix="evit-deploy profile ENGINE")
    page = folder / PAGE
    pictures, beside = read_pictures(folder), _beside(folder)
    try:
        text = render_page(recorded, pictures, beside)
    except EvitError:
        raise
    except Exception as error:  # figures that cannot be: where they break a chart or a table, no one can list
        raise ArtifactError(
            f"no page can be made of {folder / REPORT}",
            found=f"{type(error).__name__}: {first_line(error)}",
            fix="evit-deploy profile ENGINE writes it again",
        ) from error
    replace_file(page, text.encode())
    return page


def render_page(recorded: Recorded, pictures: Pictures, beside: Sequence[Recorded] = ()) -> str:
    """Make a page.

    Args:
        recorded: Everything that is recorded of the engine; it has a report.
        pictures: Where it disagrees most.
        beside: Other profiles; those of the same model are compared with it.
    """
    report = recorded.report
    assert report is not None
    one = isinstance(report, ProfileReport)
    values = engine_values(report) if isinstance(report, ProfileReport) else parts_values(report)
    graphs, int8 = graphs_of(report), int8_section(report)
    charts = {
        "histogram": latency_histogram(report.latencies, values["colours"]),
        **({"drift": latency_drift(report.latencies)} if one else {}),
        **({"tradeoff": tradeoff("tradeoff", int8.info)} if int8 else {}),
        **confusion_charts(recorded.evaluations),
    }
    for graph in graphs:
        charts.update(graph.charts())
    return fill_template(
        "engine.html" if one else "parts.html",
        charts,
        report=report,
        graphs=graphs,
        int8=int8,
        pictures=pictures,
        evaluations=recorded.evaluations,
        others=others(report, beside),
        most_classes=CLASSES,
        **values,
    )


def engine_values(report: ProfileReport) -> dict[str, Any]:
    """Values for ``engine.html``."""
    manifest = report.manifest
    engine = engine_info(manifest)
    return {
        "manifest": manifest,
        "title": f"{manifest.model.name} on {engine.target}, {engine.precision.upper()}",
        "subtitle": f"{manifest.graph.resolution[0]} × {manifest.graph.resolution[1]} pixels, {made(manifest)}",
        "tags": tags(report.engine, manifest),
        "warnings": manifest.warnings,
        "colours": COLOURS,
        "agreement": agreement_table(report.agreement),
        "worst": worst(report.agreement.frames),
        "provenance": provenance(manifest),
        "commands": commands(report),
    }


def _beside(folder: Path) -> list[Recorded]:
    """What is recorded in the folders beside one."""
    found = []
    for other in recorded_folders(folder.parent):
        if other.name != folder.name:
            try:
                found.append(read_record(other))
            except (ArtifactError, UsageError):
                continue  # the index names it
    return found
