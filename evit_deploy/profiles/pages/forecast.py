# SPDX-License-Identifier: Apache-2.0
"""The page of a prediction, for which nothing was measured: where the time of an engine would go."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from evit_deploy.manifest import DECODER, ENCODER, replace_file
from evit_deploy.profiles.pages.graph import Graph
from evit_deploy.profiles.pages.template import fill_template, require_page_packages

if TYPE_CHECKING:
    from evit_deploy.profiles.predict.ask import Whole


def write_prediction_page(whole: Whole, path: Path) -> Path:
    """Make a page of a prediction.

    Args:
        whole: What was predicted.
        path: HTML file to write; it needs nothing else.

    Returns:
        The file.

    Raises:
        UsageError: The file cannot be written.
        MissingExtraError: A package for the page is missing.
    """
    require_page_packages()
    replace_file(path, render_prediction(whole).encode())
    return path


def render_prediction(whole: Whole) -> str:
    """The page of a prediction; see `write_prediction_page`."""
    first, graphs = whole.parts[0], _graphs(whole)
    charts = {name: svg for graph in graphs for name, svg in graph.charts().items()}
    return fill_template(
        "prediction.html",
        charts,
        title=f"{first.subject} on {first.conditions.target}, {first.precision.upper()}",
        subtitle=f"{first.resolution[0]} × {first.resolution[1]} pixels, batch {first.batch}",
        whole=whole,
        graphs=graphs,
        machine=first.conditions,
    )


def _graphs(whole: Whole) -> list[Graph]:
    """The graphs of a prediction; only several have names, which tell what they take."""
    names = [""] if len(whole.parts) == 1 else [DECODER if part.input == "prompts" else ENCODER for part in whole.parts]
    return [Graph(name, part.input, None, None, part) for name, part in zip(names, whole.parts, strict=True)]
