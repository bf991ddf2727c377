# SPDX-License-Identifier: Apache-2.0
"""The archive of the selftest: what goes in comes out."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest

from evit_deploy.manifest import read_artifact
from evit_deploy.profiles.shipped import FOLDERS, unpack


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "tools"))
    monkeypatch.delitem(sys.modules, "make_selftest", raising=False)
    import make_selftest

    return make_selftest


def test_equal_folders_give_equal_archives_that_can_be_unpacked(tool: ModuleType, tmp_path: Path) -> None:
    for name in FOLDERS:
        (tmp_path / "work" / name).mkdir(parents=True)
        (tmp_path / "work" / name / "model.onnx").write_bytes(name.encode() * 100)
    for name in ("one", "two"):
        tool.pack(tmp_path / "work", tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    about = unpack(tmp_path / "out", tmp_path / "one")
    assert set(about) == {"form", "lowering", "tool"}
    for name in FOLDERS:
        assert (tmp_path / "out" / name / "model.onnx").read_bytes() == name.encode() * 100


@pytest.mark.slow
def test_what_is_made_is_whole(tool: ModuleType, tmp_path: Path) -> None:
    tool.make(tmp_path)
    for name in FOLDERS:
        assert read_artifact(tmp_path / name).agreement.passed
