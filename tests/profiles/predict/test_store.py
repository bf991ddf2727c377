# SPDX-License-Identifier: Apache-2.0
"""Plans that were made before."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from evit_deploy.manifest.store import content_key
from evit_deploy.profiles.predict import store
from evit_deploy.profiles.predict.store import kept, write_shipped
from evit_deploy.profiles.predict.subject import Subject
from tests.profiles.predict.made import subject

WHAT = {"model": "b1-seg"}


@pytest.fixture(autouse=True)
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No cache, and nothing shipped; what is shipped is read again afterwards."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(store, "SHIPPED", tmp_path / "shipped.xz")
    store._shipped.cache_clear()
    yield
    store._shipped.cache_clear()


class Maker:
    """Counts how often it makes something."""

    def __init__(self, name: str = "made") -> None:
        self.count, self.name = 0, name

    def __call__(self) -> Subject:
        self.count += 1
        return subject(name=self.name)


def test_made_once() -> None:
    make = Maker()
    assert kept(WHAT, "compiler 1", make) == kept(WHAT, "compiler 1", make)
    assert make.count == 1


def test_another_compiler_makes_another_plan() -> None:
    make = Maker()
    kept(WHAT, "compiler 1", make)
    kept(WHAT, "compiler 2", make)
    kept({"model": "b2-seg"}, "compiler 1", make)
    assert make.count == 3


def test_shipped_plans_come_first(tmp_path: Path) -> None:
    write_shipped({content_key(**WHAT): subject(name="shipped")}, tmp_path / "shipped.xz")
    make = Maker()
    assert kept(WHAT, "compiler 1", make).name == "shipped"
    assert kept({"model": "other"}, "compiler 1", make).name == "made"
    assert make.count == 1


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"name": 1}', b"\xff"])
def test_a_damaged_cache_is_made_again(content: bytes, tmp_path: Path) -> None:
    make = Maker()
    kept(WHAT, "compiler 1", make)
    (path,) = (tmp_path / "cache" / "evit-deploy" / "plans").iterdir()
    path.write_bytes(content)
    assert kept(WHAT, "compiler 1", make) == subject(name="made")
    assert make.count == 2


def test_a_cache_that_cannot_be_written_costs_time_only(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where a folder should be")
    make = Maker()
    assert kept(WHAT, "compiler 1", make).name == kept(WHAT, "compiler 1", make).name == "made"
    assert make.count == 2
