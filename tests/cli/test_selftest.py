# SPDX-License-Identifier: Apache-2.0
"""``evit-deploy selftest`` as a person sees it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from evit_deploy.errors import ArtifactError, UnavailableError
from evit_deploy.profiles import selftest
from evit_deploy.profiles.selftest_cases import Case
from tests.cli.conftest import Program


def _fine() -> str:
    return "all is well"


def _broken() -> str:
    raise RuntimeError("the GPU is lost")


def _not_here() -> str:
    raise UnavailableError("too little memory is free", found="900 MiB", fix="stop other programs")


@pytest.fixture
def cases(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Replaces what is done by steps of the test's own, all of one model."""

    def replace(*work: Callable[[], str]) -> None:
        steps = tuple(zip(("build", "load", "verify", "profile"), work, strict=False))
        for name in ("cpu_cases", "gpu_cases"):
            monkeypatch.setattr(selftest, name, lambda *_: [Case("b0-seg", steps)])

    return replace


def test_a_machine_that_passes(evit: Program, cases: Callable[..., None], tmp_path: Path) -> None:
    cases(_fine, _fine)
    answer = evit("selftest")
    assert answer.code == 0
    rows = [line.split()[:3] for line in answer.out.splitlines()]
    assert ["b0-seg", "build", "ok"] in rows
    assert ["b0-seg", "load", "ok"] in rows
    assert answer.out.splitlines()[-2:] == ["everything is in selftest.json", "passed"]
    assert json.loads((tmp_path / "selftest.json").read_text())["result"] == "passed"


def test_a_machine_that_fails(evit: Program, cases: Callable[..., None], tmp_path: Path) -> None:
    cases(_fine, _broken, _fine)
    answer = evit("selftest", "--gpu", "--out", "report.json")
    assert answer.code == 1
    assert "load of b0-seg" in answer.message
    assert "RuntimeError: the GPU is lost" in answer.message
    assert "attach report.json to a bug report" in answer.message
    data = json.loads((tmp_path / "report.json").read_text())
    assert (data["gpu"], data["result"]) == (True, "failed")
    assert "Traceback" in data["steps"][1]["traceback"]


def test_a_machine_that_lacks_something(evit: Program, cases: Callable[..., None]) -> None:
    cases(_fine, _not_here, _fine)
    answer = evit("selftest", "--gpu")
    assert answer.code == 3
    assert "cannot do 'load' of b0-seg" in answer.message
    assert "too little memory is free; 900 MiB; fix: stop other programs" in answer.message
    assert "if it should, attach selftest.json to a bug report" in answer.message
    assert "not here" in answer.out


def test_a_machine_that_lacks_everything(evit: Program, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(*_: Any) -> None:
        raise UnavailableError("no compiler on this machine", fix="pip install it")

    monkeypatch.setattr(selftest, "gpu_cases", refuse)
    answer = evit("selftest", "--gpu")
    assert answer.code == 3
    assert "no compiler on this machine" in answer.message
    assert "pip install it" in answer.message
    assert (tmp_path / "selftest.json").is_file()


def test_a_damaged_archive_leaves_a_record(evit: Program, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(*_: Any) -> None:
        raise ArtifactError("selftest.tar.xz cannot be read", fix="pip install it again")

    monkeypatch.setattr(selftest, "gpu_cases", refuse)
    answer = evit("selftest", "--gpu")
    assert answer.code == 2
    assert "selftest.tar.xz cannot be read" in answer.message
    assert "pip install it again" in answer.message
    data = json.loads((tmp_path / "selftest.json").read_text())
    assert data["result"] == "failed"
    assert "cannot be read" in data["reason"]


def test_programs_get_the_record(evit: Program, cases: Callable[..., None], tmp_path: Path) -> None:
    cases(_fine, _broken)
    answer = evit("selftest", "--json")
    assert answer.code == 1
    assert json.loads(answer.out) == json.loads((tmp_path / "selftest.json").read_text())


def test_a_file_that_cannot_be_written(evit: Program) -> None:
    answer = evit("selftest", "--out", "missing/out.json")
    assert answer.code == 2
    assert "no place for a file" in answer.message
