# SPDX-License-Identifier: Apache-2.0
"""The report as one HTML file that needs nothing else: no network, no script, no second file."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy.typing as npt

from evit_deploy.agreement import worst
from evit_deploy.errors import MissingExtraError
from evit_deploy.manifest import Manifest
from evit_deploy.profiles.chart import COLOURS, latency_histogram
from evit_deploy.profiles.pictures import frame_rows, legend
from evit_deploy.profiles.report import ProfileReport, commands
from evit_deploy.profiles.tables import agreement_table
from evit_deploy.profiles.words import milliseconds, scientific
from evit_deploy.runtime.verify import Reference

TEMPLATES = Path(__file__).parent
_PACKAGES = {"jinja2": "jinja2", "matplotlib": "matplotlib", "PIL": "pillow"}


def require_page_packages() -> None:
    """Find out before minutes of measuring whether the page can be made.

    Raises:
        MissingExtraError: A package is not installed.
    """
    for module, package in _PACKAGES.items():
        if importlib.util.find_spec(module) is None:
            raise MissingExtraError(package, "report", "The HTML report")


def render_page(report: ProfileReport, reference: Reference, outputs: Sequence[Mapping[str, npt.NDArray[Any]]]) -> str:
    """Make the page.

    Args:
        report: What was measured.
        reference: The frames and PyTorch's logits.
        outputs: The engine's outputs of the first frames, without batch axis: these frames get pictures.
    """
    manifest, engine = report.manifest, _engine(report.manifest)
    rows = frame_rows(manifest, reference, outputs)
    return fill_template(
        "report.html",
        report=report,
        manifest=manifest,
        title=f"{manifest.model.name} on {engine.target}, {engine.precision.upper()}",
        subtitle=f"{manifest.graph.resolution[0]} × {manifest.graph.resolution[1]} pixels, {made(manifest)}",
        tags=tags(report.engine, manifest),
        warnings=manifest.warnings,
        colours=COLOURS,
        histogram=latency_histogram(report.latencies),
        rows=rows,
        legend=legend(manifest, reference, len(rows)),
        agreement=agreement_table(report.agreement),
        worst=worst(report.agreement.frames),
        provenance=provenance(manifest),
        commands=commands(report),
    )


def fill_template(name: str, histogram: str, **values: Any) -> str:
    """Fill a template of this folder; everything but the histogram, which is SVG already, is escaped."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FileSystemLoader(str(TEMPLATES)),
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters.update(ms=milliseconds, sci=scientific)
    return str(environment.get_template(name).render(histogram=Markup(histogram), **values))


def made(manifest: Manifest) -> str:
    """Who compiled an engine, and on what."""
    processor = _engine(manifest).machine.get("processor") or "an unnamed processor"
    return f"compiled by {_compiler(manifest)} on {processor}"


def tags(engine: str, manifest: Manifest) -> tuple[str, ...]:
    """What tells an engine from others, in a word each."""
    return (
        engine, _engine(manifest).precision.upper(), _compiler(manifest), f"{manifest.weights.source} weights"
    )  # fmt: skip


def provenance(manifest: Manifest) -> dict[str, str]:
    """What the engine was made from, in words."""
    graph, weights, engine = manifest.graph, manifest.weights, _engine(manifest)
    low, high = graph.batch
    made_with = (f"{name} {version}" for name, version in manifest.environment.items())
    return {
        "weights": f"{weights.source}, {weights.location}",
        "weights SHA-256": weights.sha256,
        "graph": f"{graph.file}, opset {graph.opset}, {graph.precision.upper()}",
        "graph SHA-256": manifest.files[graph.file].sha256,
        "resolution": f"{graph.resolution[0]} × {graph.resolution[1]} pixels (height × width)",
        "batch": str(low) if low == high else f"{low} to {high}",
        "input and output": f"{graph.input} in, {graph.output} out",
        "compiled by": f"{_compiler(manifest)}, {engine.precision.upper()}, for {engine.target}",
        "compiled on": ", ".join(value for value in engine.machine.values() if value),
        "exported with": ", ".join(made_with),
        "engine created": f"{manifest.created}, evit-deploy {manifest.tool}",
        "engine key": manifest.key,
    }


def _engine(manifest: Manifest) -> Any:
    assert manifest.engine is not None
    return manifest.engine


def _compiler(manifest: Manifest) -> str:
    engine = _engine(manifest)
    return f"{engine.compiler} {engine.compiler_version}"
