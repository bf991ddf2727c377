# SPDX-License-Identifier: Apache-2.0
"""The program as tests call it: in this process for speed, or in one of its own to be sure."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from evit_deploy.cli.main import main


@dataclass(frozen=True)
class Answer:
    """What the program said and how it ended."""

    code: int
    out: str
    err: str

    @property
    def message(self) -> str:
        """The error message: from the program's name to the end."""
        found = re.search(r"^evit-deploy: .*", self.err, flags=re.MULTILINE | re.DOTALL)
        return found.group().strip() if found else ""


Program = Callable[..., Answer]


@pytest.fixture
def evit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Program:
    """Run the program in this process, in a folder of the test's own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("EVIT_WORKSPACE", raising=False)

    def run(*arguments: object) -> Answer:
        monkeypatch.setattr(sys, "argv", ["evit-deploy", *map(str, arguments)])
        capfd.readouterr()
        code = 0
        try:
            main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
        return Answer(code, *capfd.readouterr())

    return run


@pytest.fixture
def program(tmp_path: Path) -> Program:
    """Run the program in a process of its own, in a folder of the test's own; ``env`` adds variables."""

    def run(*arguments: object, env: dict[str, str] | None = None) -> Answer:
        command = [sys.executable, "-m", "evit_deploy.cli.main", *map(str, arguments)]
        variables = {key: value for key, value in os.environ.items() if key != "EVIT_WORKSPACE"}
        done = subprocess.run(
            command, cwd=tmp_path, env={**variables, **(env or {})}, capture_output=True, text=True, check=False
        )
        return Answer(done.returncode, done.stdout, done.stderr)

    return run
