# SPDX-License-Identifier: Apache-2.0
"""Single files are whole or not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from evit_deploy.errors import UsageError
from evit_deploy.manifest import replace_file


def test_an_old_file_is_replaced_and_readable_by_all(tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    replace_file(path, b"old")
    replace_file(path, b"new")
    assert path.read_text() == "new"
    assert path.stat().st_mode & 0o444 == 0o444
    assert list(tmp_path.iterdir()) == [path]


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.txt"
    replace_file(path, b"old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(UsageError, match="No space left"):
        replace_file(path, b"new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "profiles").write_text("")
    with pytest.raises(UsageError, match="cannot write"):
        replace_file(tmp_path / "profiles" / "x" / "y.json", b"")
    assert list(tmp_path.iterdir()) == [tmp_path / "profiles"]
