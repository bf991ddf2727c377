# SPDX-License-Identifier: Apache-2.0
"""The words and exit codes of errors."""

from __future__ import annotations

import pytest

from evit_deploy import errors
from evit_deploy.errors import (
    ArtifactError,
    CheckFailedError,
    EvitError,
    MissingExtraError,
    UnavailableError,
    UsageError,
)
from evit_deploy.runtime.engine import EngineBusyError


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (EvitError, 2), (UsageError, 2), (ArtifactError, 2), (EngineBusyError, 2), (CheckFailedError, 1),
        (UnavailableError, 3),
    ],
)  # fmt: skip
def test_exit_codes(kind: type[EvitError], code: int) -> None:
    assert kind("what").exit_code == code
    assert isinstance(kind("what"), EvitError)


def test_every_kind_has_an_exit_code_of_the_contract() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, EvitError)]
    assert len(kinds) == 6
    assert {kind.exit_code for kind in kinds} == {1, 2, 3}


@pytest.mark.parametrize(
    ("parts", "text"),
    [
        ({}, "it broke."),
        ({"found": "1"}, "it broke.\n  found:    1"),
        ({"expected": "2"}, "it broke.\n  expected: 2"),
        ({"fix": "do this"}, "it broke.\n  fix:      do this"),
        ({"fix": "c", "found": "a", "expected": "b"}, "it broke.\n  found:    a\n  expected: b\n  fix:      c"),
        ({"found": "", "fix": None}, "it broke."),
    ],
)
def test_the_text_has_up_to_four_parts(parts: dict[str, str], text: str) -> None:
    error = UsageError("it broke", **parts)
    assert str(error) == text
    assert error.what == "it broke"
    assert (error.found, error.expected, error.fix) == tuple(parts.get(name) for name in ("found", "expected", "fix"))


@pytest.mark.parametrize(("what", "first"), [("a", "a."), ("a.", "a."), ("a?", "a?"), ("a!", "a!")])
def test_the_sentence_ends_once(what: str, first: str) -> None:
    assert str(EvitError(what)) == first


def test_a_missing_extra_gives_the_command() -> None:
    error = MissingExtraError("pillow", "images", "Reading image files")
    assert str(error) == (
        "Reading image files needs the package 'pillow', which is not installed.\n"
        "  fix:      pip install 'evit-deploy[images]'"
    )
    assert error.exit_code == 3
