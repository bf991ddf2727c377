# SPDX-License-Identifier: Apache-2.0
"""docs/on-device.md cannot be run here; what it tells people to type is at least what the program understands."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer

from evit_deploy.cli.app import app
from evit_deploy.targets import TARGETS
from evit_deploy.targets.jetpack import find_jetpack

TEXT = (Path(__file__).parents[1] / "docs" / "on-device.md").read_text(encoding="utf-8")


def _commands() -> list[str]:
    lines = [line.split("  #")[0].strip() for line in TEXT.splitlines() if line.startswith("    ")]
    inline = re.findall(r"`(evit-deploy [^`]*)`", TEXT)
    found = [line for line in (*lines, *inline) if line.startswith("evit-deploy ")]
    return list(dict.fromkeys(line for line in found if not re.search(r"[….]{3}|…", line)))


@pytest.mark.parametrize("line", _commands())
def test_the_program_understands_what_people_are_told_to_type(line: str) -> None:
    name, *rest = shlex.split(line)[1:]
    commands: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    with commands[name].make_context(name, rest) as context:
        target = context.params.get("target")
        assert target is None or target in TARGETS


def test_the_document_has_commands() -> None:
    names = {line.split()[1] for line in _commands()}
    assert {"doctor", "selftest", "export", "build", "verify", "profile", "run", "targets"} <= names


@pytest.mark.parametrize(
    ("release", "tensorrt", "python"),
    [("6.1", "10.3.0", "3.10"), ("6.2.2", "10.3.0", "3.10"), ("7.2", "10.16.2", "3.12")],
)
def test_releases_are_as_in_the_table_of_targets(release: str, tensorrt: str, python: str) -> None:
    row = find_jetpack(release)
    assert row is not None
    assert (row.tensorrt, row.python) == (tensorrt, python)
    assert tensorrt in TEXT
