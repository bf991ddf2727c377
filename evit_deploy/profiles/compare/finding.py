# SPDX-License-Identifier: Apache-2.0
"""Profiles by what a person calls them: the name of an engine, a folder, or a file that was kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from evit_deploy.profiles.reading import (
    EVALUATIONS,
    REPORT,
    Evaluated,
    Report,
    no_profile,
    read_evaluation,
    read_report,
)


@dataclass(frozen=True)
class Found:
    """A profile, and the evaluations beside it."""

    report: Report
    evaluations: tuple[Evaluated, ...]


def find_profiles(names: Sequence[str], profiles: Path) -> tuple[Found, ...]:
    """Read profiles by the names of engines in profiles/, by folders, or by report files.

    Evaluations belong to a folder: a report that was kept under another name has none.

    Raises:
        UsageError: There is no such profile; the message lists the nearest.
        ArtifactError: A record is damaged, or of a newer version.
    """
    return tuple(_read(_report_path(name, profiles)) for name in names)


def _read(path: Path) -> Found:
    files = sorted(path.parent.glob(EVALUATIONS)) if path.name == REPORT else []
    return Found(read_report(path), tuple(map(read_evaluation, files)))


def _report_path(name: str, profiles: Path) -> Path:
    for path in (Path(name), profiles / name):
        if name and path.is_file():
            return path
        if name and (path / REPORT).is_file():
            return path / REPORT
    raise no_profile(name, profiles, f"a folder with {REPORT}, or such a file")
