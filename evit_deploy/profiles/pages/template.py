# SPDX-License-Identifier: Apache-2.0
"""Pages from templates: each is one HTML file that needs nothing else: no network, no script, no second file."""

from __future__ import annotations

import importlib.util
import shlex
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import evit_deploy
from evit_deploy.errors import MissingExtraError
from evit_deploy.profiles.pages.words import (
    energy,
    identifier,
    interval,
    milliseconds,
    points,
    scientific,
    three_figures,
)

if TYPE_CHECKING:
    from jinja2 import Environment

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


def fill_template(name: str, charts: Mapping[str, str], **values: Any) -> str:
    """Fill a template of this folder.

    Args:
        name: Its file.
        charts: SVG by name, put in as it is.
        values: Everything else, which is escaped.
    """
    from markupsafe import Markup

    marked = {name: Markup(svg) for name, svg in charts.items()}
    return str(_environment().get_template(name).render(charts=marked, tool=evit_deploy.__version__, **values))


@lru_cache(maxsize=1)
def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(str(TEMPLATES)),
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters.update(
        ms=milliseconds, sci=scientific, interval=interval, three=three_figures, energy=energy,
        ident=identifier, points=points, quote=shlex.quote,
    )  # fmt: skip
    return environment
