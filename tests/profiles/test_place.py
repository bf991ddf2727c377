# SPDX-License-Identifier: Apache-2.0
"""Whether a profile can be written is found out without leaving anything."""

from __future__ import annotations

from pathlib import Path
from unittest.mock import Mock

import pytest

from evit_deploy.errors import UsageError
from evit_deploy.profiles.place import require_writable


def test_looking_leaves_nothing(tmp_path: Path) -> None:
    require_writable(tmp_path / "new" / "profiles", tmp_path / "engine")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.TemporaryFile", Mock(side_effect=OSError(28, "No space left on device")))
    with pytest.raises(UsageError, match="No space left on device"):
        require_writable(tmp_path, tmp_path / "engine")


def test_a_profile_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "profiles").mkdir()
    (tmp_path / "profiles" / "engine").write_text("")
    with pytest.raises(UsageError, match="no profile can be written to"):
        require_writable(tmp_path / "profiles", tmp_path / "engines" / "engine")
