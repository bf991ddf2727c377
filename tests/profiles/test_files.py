# SPDX-License-Identifier: Apache-2.0
"""Report files are whole or not there."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from evit_deploy.errors import UsageError
from evit_deploy.manifest import Agreement
from evit_deploy.profiles.files import plain, write_json, write_text
from evit_deploy.profiles.verify import agreement_record


def test_json_without_nan(tmp_path: Path) -> None:
    write_json(tmp_path / "new" / "x.json", {"a": math.nan, "b": [math.inf, 1.5], "c": (1, "é", None, True)})
    text = (tmp_path / "new" / "x.json").read_text(encoding="utf-8")
    assert json.loads(text) == {"a": None, "b": [None, 1.5], "c": [1, "é", None, True]}
    assert "é" in text


def test_a_failed_comparison_is_valid_json(failed: Agreement) -> None:
    record = agreement_record(failed)
    json.dumps(record, allow_nan=False)
    assert record["frames"][0]["finite"] is False
    assert record["frames"][0]["relative_l2"] is None
    assert record["worst"]["broken"][0] == "NaN or infinity in the output"


def test_plain_keeps_what_json_knows() -> None:
    data = {"text": "nan", "whole": 3, "flag": False, "nothing": None, "nested": {"x": [0.5]}}
    assert plain(data) == data


def test_an_old_file_is_replaced_and_readable_by_all(tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    write_text(path, "old")
    write_text(path, "new")
    assert path.read_text() == "new"
    assert path.stat().st_mode & 0o444 == 0o444
    assert list(tmp_path.iterdir()) == [path]


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.txt"
    write_text(path, "old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(UsageError, match="No space left"):
        write_text(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "profiles").write_text("")
    with pytest.raises(UsageError, match="cannot write"):
        write_text(tmp_path / "profiles" / "x" / "y.json", "")
    assert list(tmp_path.iterdir()) == [tmp_path / "profiles"]
