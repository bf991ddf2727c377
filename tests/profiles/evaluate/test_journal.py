# SPDX-License-Identifier: Apache-2.0
"""Journals survive what happens to files: torn lines, full disks, other evaluations."""

from __future__ import annotations

import itertools
import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from evit_deploy.errors import UsageError
from evit_deploy.profiles.evaluate import journal as module
from evit_deploy.profiles.evaluate.journal import Journal, journal_path, other_journals
from evit_deploy.profiles.evaluate.task import Item

IDENTITY = {"key": "abc", "options": {}}
ITEMS = [Item(f"größe/{number}.png") for number in range(6)]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "profiles" / "engine" / "x.journal"


def fill(path, items=ITEMS):
    with Journal(path, IDENTITY) as journal:
        for number, item in enumerate(items):
            journal.add(item, {"cells": [number], "iou": float("nan")})


def held(path, identity=IDENTITY):
    with Journal(path, identity) as journal:
        return dict(journal.outcomes(ITEMS))


def test_what_was_added_is_found_again(path):
    fill(path)
    assert held(path) == {item.name: {"cells": [number], "iou": None} for number, item in enumerate(ITEMS)}


def test_it_goes_on(path):
    fill(path, ITEMS[:2])
    fill(path, ITEMS[2:])
    assert len(held(path)) == 6


def test_another_identity_begins_anew(path):
    fill(path)
    assert held(path, {**IDENTITY, "key": "other"}) == {}
    assert held(path, {**IDENTITY, "key": "other"}) == {}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cut=st.integers(0, 400), tail=st.binary(max_size=12))
def test_a_torn_file_keeps_its_whole_lines(path, cut, tail):
    path.unlink(missing_ok=True)
    fill(path)
    whole = path.read_bytes()
    torn = whole[:cut] + tail
    path.write_bytes(torn)
    pairs = zip(torn.splitlines(keepends=True), whole.splitlines(keepends=True), strict=False)
    alike = len(list(itertools.takewhile(lambda pair: pair[0] == pair[1], pairs)))
    found = held(path)
    assert list(found) == [item.name for item in ITEMS[: max(alike - 1, 0)]]
    fill(path, ITEMS[len(found) :])
    assert len(held(path)) == 6


def test_it_is_on_disk_while_it_is_open(path, monkeypatch):
    monkeypatch.setattr(module, "INTERVAL_S", 0.0)
    with Journal(path, IDENTITY) as journal:
        journal.add(ITEMS[0], {})
        assert path.read_bytes().count(b"\n") == 2


def test_a_file_that_changed_is_evaluated_again(path, tmp_path):
    image = tmp_path / "image.png"
    image.write_bytes(b"broken")
    item = Item("image.png", (image,))
    with Journal(path, IDENTITY) as journal:
        journal.add(item, {"right": 0})
        assert journal.knows(item)
        os.utime(image, ns=(1, 1))
        assert not journal.knows(item)
        assert list(journal.outcomes([item])) == []
        journal.add(item, {"right": 1})
    with Journal(path, IDENTITY) as journal:
        assert list(journal.outcomes([item])) == [("image.png", {"right": 1})]
        assert len(journal) == 1


def test_a_finished_one_is_removed(path):
    fill(path)
    with Journal(path, IDENTITY) as journal:
        journal.remove()
    assert not path.exists()


def test_a_full_disk_is_said_and_what_is_whole_remains(small_disk):
    path = small_disk / "x.journal"
    with pytest.raises(UsageError, match="cannot write"), Journal(path, IDENTITY) as journal:
        for number in range(10_000):
            journal.add(Item(f"{number}"), {"cells": list(range(200))})
    found = 0
    with Journal(path, IDENTITY) as journal:
        found = len(journal)
    assert 0 < found < 10_000


def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot write"):
        Journal(tmp_path / "file" / "x.journal", IDENTITY)


def test_every_identity_has_a_file_of_its_own(tmp_path):
    one, other = (journal_path(tmp_path, "scenes", {"key": key}) for key in "ab")
    foreign = journal_path(tmp_path, "coco", {"key": "a"})
    for path in (one, other, foreign):
        path.write_bytes(b"")
    assert other_journals(one) == [other]
