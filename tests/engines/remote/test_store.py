# SPDX-License-Identifier: Apache-2.0
"""Files received in pieces."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

import pytest

from evit_deploy.engines.remote.store import Store, cache_folder, old_entries
from evit_deploy.errors import ArtifactError
from tests.manifest.sample import entries

DATA = bytes(range(256)) * 40
SHA = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """An empty store."""
    return Store(tmp_path / "store")


def test_in_pieces(store: Store) -> None:
    for start in range(0, len(DATA), 3000):
        with store.receive(SHA, len(DATA)) as incoming:
            assert incoming.offset == start
            assert store.find(SHA) is None
            incoming.write(DATA[start : start + 3000])
    with store.receive(SHA, len(DATA)) as incoming:
        assert incoming.whole
        assert incoming.finish().read_bytes() == DATA
    assert store.find(SHA) == store.folder / SHA
    assert entries(store.folder) == [SHA]


def test_two_senders_at_once_do_no_harm(store: Store) -> None:
    """One whose link is dead and does not know, and one that took over."""
    with store.receive(SHA, len(DATA)) as first:
        first.write(DATA[:4000])
        with store.receive(SHA, len(DATA)) as second:
            assert second.offset == 4000
            second.write(DATA[4000:])
            first.write(DATA[4000:8000])
            second.finish()
        first.write(DATA[8000:])
        assert first.finish() == store.folder / SHA
    assert (store.folder / SHA).read_bytes() == DATA
    assert entries(store.folder) == [SHA]


def test_other_bytes_are_refused_and_forgotten(store: Store) -> None:
    with store.receive(SHA, len(DATA)) as incoming:
        incoming.write(DATA[:-1] + b"x")
        with pytest.raises(ArtifactError, match="arrived damaged"):
            incoming.finish()
    assert entries(store.folder) == []


def test_more_bytes_than_announced_are_left_out(store: Store) -> None:
    with store.receive(SHA, len(DATA)) as incoming:
        incoming.write(DATA + b"more")
        assert incoming.finish().read_bytes() == DATA


def test_a_file_that_was_damaged_later_is_removed(store: Store) -> None:
    store.folder.mkdir()
    store.path(SHA).write_bytes(DATA[:-1])
    assert store.find(SHA) is None
    assert entries(store.folder) == []


@pytest.mark.parametrize("name", ["", "..", "../" + SHA[3:], SHA.upper(), SHA[:-1], SHA + "0"])
def test_only_hashes_are_names(name: str, store: Store) -> None:
    for ask in (store.find, store.path, lambda text: store.receive(text, 1)):
        with pytest.raises(ArtifactError, match="is no SHA-256"):
            ask(name)


def test_what_nobody_asks_for_goes(store: Store) -> None:
    store.folder.mkdir()
    for name, days in (("old", 31), ("young", 29)):
        (store.folder / name).write_bytes(b"")
        os.utime(store.folder / name, (time.time() - days * 86400,) * 2)
    store.sweep()
    assert entries(store.folder) == ["young"]
    assert old_entries(store.folder / "nowhere") == []


@pytest.mark.parametrize(("value", "place"), [("/c", "/c"), ("", "/h/.cache"), ("relative", "/h/.cache")])
def test_place(value: str, place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/h")
    monkeypatch.setenv("XDG_CACHE_HOME", value)
    assert cache_folder() == Path(place) / "evit-deploy" / "remote"
