# SPDX-License-Identifier: Apache-2.0
"""The report as one HTML file that needs nothing else: no network, no script, no second file."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy.typing as npt

from evit_deploy.agreement import broken_limits, worst
from evit_deploy.errors import MissingExtraError
from evit_deploy.manifest import Agreement, Manifest
from evit_deploy.profiles.chart import COLOURS, latency_histogram
from evit_deploy.profiles.pictures import frame_rows, legend
from evit_deploy.profiles.report import ProfileReport, commands
from evit_deploy.profiles.words import milliseconds, scientific
from evit_deploy.runtime.verify import Reference

TEMPLATE = Path(__file__).with_name("report.html")
_PACKAGES = {"jinja2": "jinja2", "matplotlib": "matplotlib", "PIL": "pillow"}
_QUANTITIES = ("relative_l2", "max_error", "cosine", "class_agreement", "miou", "conceded_margin", "confidence_error")


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
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(ms=milliseconds, sci=scientific)
    rows = frame_rows(report.manifest, reference, outputs)
    page = environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        report=report,
        manifest=report.manifest,
        title=f"{report.manifest.model.name} on {_engine(report.manifest).target}, "
        f"{_engine(report.manifest).precision.upper()}",
        compiler=_compiler(report.manifest),
        colours=COLOURS,
        histogram=Markup(latency_histogram(report.latencies)),
        rows=rows,
        legend=legend(report.manifest, reference, len(rows)),
        agreement=agreement_rows(report.agreement),
        worst=worst(report.agreement.frames),
        shown=_shown(report.agreement),
        provenance=provenance(report.manifest),
        commands=commands(report),
    )
    return str(page)


def agreement_rows(agreement: Agreement) -> list[tuple[Any, list[str]]]:
    """Every frame's comparison with the limits it breaks."""
    return [(frame, broken_limits(frame, agreement.budget)) for frame in agreement.frames]


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


def _shown(agreement: Agreement) -> set[str]:
    """The quantities that at least one frame has; the others need no column."""
    return {name for name in _QUANTITIES if any(getattr(frame, name) is not None for frame in agreement.frames)}


def _engine(manifest: Manifest) -> Any:
    assert manifest.engine is not None
    return manifest.engine


def _compiler(manifest: Manifest) -> str:
    engine = _engine(manifest)
    return f"{engine.compiler} {engine.compiler_version}"
