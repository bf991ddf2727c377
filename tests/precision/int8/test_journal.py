# SPDX-License-Identifier: Apache-2.0
"""What a search judged is found again, and only that."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evit_deploy.errors import UsageError
from evit_deploy.precision.int8.curve import Score
from evit_deploy.precision.int8.journal import Journal

SCORE = Score(0.25, 0.99, 0.03, 32, 0.1)
OTHER = Score(-0.5, 1.0, 0.0, 4, 0.0)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A journal with two scores, in a folder that was not there."""
    place = tmp_path / "cache" / "int8" / "journal.jsonl"
    journal = Journal(place, "key")
    journal.add({"b", "a"}, 0, SCORE)
    journal.add({"c"}, 4, OTHER)
    return place


def test_scores_are_found_by_assignment_and_frames(path: Path) -> None:
    journal = Journal(path, "key")
    assert journal.get(["a", "b"], 0) == SCORE
    assert journal.get(("b", "a"), 0) == SCORE
    assert journal.get({"a", "b"}, 4) is None
    assert journal.get({"a"}, 0) is None
    assert journal.get({"c"}, 4) == OTHER


def test_another_key_begins_anew(path: Path) -> None:
    journal = Journal(path, "other")
    assert journal.get({"a", "b"}, 0) is None
    assert Journal(path, "key").get({"a", "b"}, 0) is None, "the file is the other's now"


@given(cut=st.integers(0, 400))
def test_a_killed_writer_loses_its_last_line_only(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    path = tmp_path_factory.mktemp("cut") / "journal.jsonl"
    Journal(path, "key").add({"a"}, 0, SCORE)
    whole = len(path.read_bytes())
    Journal(path, "key").add({"b"}, 0, OTHER)
    path.write_bytes(path.read_bytes()[:cut])
    journal = Journal(path, "key")
    assert journal.get({"a"}, 0) == (SCORE if cut >= whole - 1 else None)
    journal.add({"c"}, 4, OTHER)
    again = Journal(path, "key")
    assert again.get({"c"}, 4) == OTHER
    assert again.get({"a"}, 0) == journal.get({"a"}, 0)


@pytest.mark.parametrize(
    "line",
    [
        b"\xff\xfe\n", b"[]\n", b"null\n", b'{"layers": 3, "frames": 0, "score": {}}\n', b"\n", b"{}\n",
        b'{"layers": [[]], "frames": 0, "score": {"drop": 0}}\n', b"[" * 100_000 + b"\n",
        b'{"layers": ["x"], "frames": 1e999, "score": {}}\n',
        b'{"layers":["x"],"frames":0,"score":{"drop":"a","agreement":1,"error":0,"frames":1,"spread":0}}\n',
    ],
)  # fmt: skip
def test_damaged_lines_are_passed_over(path: Path, line: bytes) -> None:
    head, *rest = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(head + line + b"".join(rest))
    journal = Journal(path, "key")
    assert (journal.get({"a", "b"}, 0), journal.get({"c"}, 4)) == (SCORE, OTHER)
    assert journal.get({"x"}, 0) is None


def test_a_damaged_head_begins_anew(path: Path) -> None:
    path.write_bytes(b"\x00" + path.read_bytes())
    assert Journal(path, "key").get({"c"}, 4) is None


def test_endless_numbers_come_back(path: Path) -> None:
    broken = Score(1.0, 0.0, float("inf"), 4)
    Journal(path, "key").add({"z"}, 4, broken)
    assert Journal(path, "key").get({"z"}, 4) == broken


def test_a_place_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(UsageError, match="cannot keep what the search judged"):
        Journal(tmp_path / "file" / "journal.jsonl", "key")
    (tmp_path / "folder").mkdir()
    with pytest.raises(UsageError, match="cannot keep what the search judged"):
        Journal(tmp_path / "folder", "key")
