# SPDX-License-Identifier: Apache-2.0
"""What the page of an engine of several parts shows."""

from __future__ import annotations

from typing import Any

from evit_deploy.agreement import worst
from evit_deploy.manifest import ENCODER
from evit_deploy.profiles.pages.charts.canvas import COLOURS
from evit_deploy.profiles.pages.provenance import engine_info, made, provenance, tags
from evit_deploy.profiles.pages.tables import agreement_table
from evit_deploy.profiles.sam.report import PartsReport, commands


def parts_values(report: PartsReport) -> dict[str, Any]:
    """Values for ``parts.html``."""
    verdict = report.verdict
    encoder = verdict.manifests[ENCODER]
    engine = engine_info(encoder)
    colours = [COLOURS[2 if item is work.pytorch else 0] for work in report.works for item in work.timed]
    return {
        "title": f"{verdict.bundle.model.name} on {engine.target}, {engine.precision.upper()}",
        "subtitle": f"segment anything, {encoder.graph.resolution[0]} pixels, {made(encoder)}",
        "tags": tags(report.engine, encoder),
        "warnings": verdict.bundle.warnings,
        "colours": colours,
        "headline": report.headline,
        "speedups": [work for work in report.works if work.speedup],
        "agreements": [
            (name, agreement_table(agreement), engine_info(verdict.manifests[name]).precision)
            for name, agreement in verdict.parts.items()
        ],
        "whole": agreement_table(verdict.whole),
        "precision": engine.precision,
        "worst": worst(verdict.whole.frames),
        "provenance": {name: provenance(manifest) for name, manifest in verdict.manifests.items()},
        "commands": commands(report),
    }
