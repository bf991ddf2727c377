# SPDX-License-Identifier: Apache-2.0
"""How work tells about itself."""

from __future__ import annotations

import re

import pytest

from evit_deploy.cli import bars as bars_module
from evit_deploy.cli.bars import Bars
from evit_deploy.progress import silent


@pytest.mark.parametrize("total", [None, 0, 3])
def test_silence_is_silent(total: int | None, capsys: pytest.CaptureFixture[str]) -> None:
    with silent("step", total) as step:
        assert step.advance() is None
    assert capsys.readouterr() == ("", "")


def test_silence_lets_errors_through() -> None:
    with pytest.raises(RuntimeError, match="inside"), silent("step"):
        raise RuntimeError("inside")


def test_the_command_line_writes_one_line_per_step_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    bars = Bars()
    for name, total in (("trace", None), ("verify", 3)):
        with bars(name, total) as step:
            step.advance()
    out, err = capsys.readouterr()
    assert out == ""
    assert [re.sub(r"\s+", " ", line) for line in re.sub(r"\d+\.\d", "N", err).splitlines()] == [
        " trace N s",
        " verify N s",
    ]


@pytest.mark.parametrize(("total", "words"), [(3, r"1 of 3, 0:\d\d:\d\d left"), (None, "1 done")])
def test_a_long_step_tells_a_log_where_it_is(
    total: int | None, words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with Bars()("evaluate", total) as step:
        step.advance()  # too early
        monkeypatch.setattr(bars_module, "EVERY_SECONDS", -1.0)
        step.advance()
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert re.fullmatch(rf"  evaluate +{words.replace('1', '2', 1)}", lines[0])


def test_a_step_that_fails_is_not_called_done(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(RuntimeError), Bars()("trace"):
        raise RuntimeError("inside")
    assert "trace" not in capsys.readouterr().err


@pytest.mark.parametrize("total", [None, 2])
def test_a_terminal_gets_a_bar(
    total: int | None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    with Bars()("verify", total) as step:
        step.advance()
    out, err = capsys.readouterr()
    assert out == ""
    assert re.search(r"verify +\d+\.\d s\n$", err)
