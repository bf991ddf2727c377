# SPDX-License-Identifier: Apache-2.0
"""The report of an engine of several parts as one HTML file that needs nothing else."""

from __future__ import annotations

from collections.abc import Sequence

from evit_deploy.agreement import worst
from evit_deploy.manifest import ENCODER
from evit_deploy.profiles.chart import COLOURS, latency_histogram
from evit_deploy.profiles.page import fill_template, made, provenance, tags
from evit_deploy.profiles.pictures import FrameRow
from evit_deploy.profiles.sam.report import PartsReport, commands
from evit_deploy.profiles.tables import agreement_table


def render_page(report: PartsReport, rows: Sequence[FrameRow]) -> str:
    """Make the page.

    Args:
        report: What was measured.
        rows: Pictures of masks.
    """
    verdict = report.verdict
    encoder = verdict.manifests[ENCODER]
    engine = encoder.engine
    assert engine is not None
    colours = [COLOURS[2 if item is work.pytorch else 0] for work in report.works for item in work.timed]
    return fill_template(
        "parts.html",
        report=report,
        title=f"{verdict.bundle.model.name} on {engine.target}, {engine.precision.upper()}",
        subtitle=f"segment anything, {encoder.graph.resolution[0]} pixels, {made(encoder)}",
        tags=tags(report.engine, encoder),
        warnings=verdict.bundle.warnings,
        colours=colours,
        histogram=latency_histogram(report.latencies, colours),
        headline=report.headline,
        speedups=[work for work in report.works if work.speedup],
        agreements=[
            (name, agreement_table(agreement), verdict.manifests[name].engine.precision)  # type: ignore[union-attr]
            for name, agreement in verdict.parts.items()
        ],
        whole=agreement_table(verdict.whole),
        precision=engine.precision,
        worst=worst(verdict.whole.frames),
        rows=rows,
        provenance={name: provenance(manifest) for name, manifest in verdict.manifests.items()},
        commands=commands(report),
    )
