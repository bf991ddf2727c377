# SPDX-License-Identifier: Apache-2.0
"""Errors written for the person at the terminal.

Every error the toolchain raises on purpose is an `EvitError`: one paragraph that says what happened, what was found
and what was expected, and what to do next. The command line prints that paragraph and exits with `exit_code`; a
traceback appears only with ``--debug``.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class EvitError(Exception):
    """Base of all deliberate errors.

    Args:
        what: What happened, as one sentence without a final full stop.
        found: The value found, where there is one.
        expected: The value expected, where there is one.
        fix: What to do next; a command where one exists.
    """

    exit_code = 2

    def __init__(
        self, what: str, *, found: str | None = None, expected: str | None = None, fix: str | None = None
    ) -> None:
        self.what, self.found, self.expected, self.fix = what, found, expected, fix
        rows = [what if what.endswith((".", "?", "!")) else f"{what}."]
        rows += [f"  {name + ':':<10}{text}" for name, text in self._parts() if text]
        super().__init__("\n".join(rows))

    def _parts(self) -> list[tuple[str, str | None]]:
        return [("found", self.found), ("expected", self.expected), ("fix", self.fix)]


class CheckFailedError(EvitError):
    """A comparison with PyTorch, or a budget, was not met (exit 1)."""

    exit_code = 1


class UsageError(EvitError):
    """A wrong option, name, shape or file (exit 2)."""


class ArtifactError(EvitError):
    """An export, engine or checkpoint that is damaged, incomplete or from another version (exit 2)."""


class UnavailableError(EvitError):
    """This machine cannot do what was asked: hardware, driver or package is missing (exit 3)."""

    exit_code = 3


class MissingExtraError(UnavailableError):
    """A package of an optional extra is not installed."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(
            f"{purpose} needs the package '{package}', which is not installed",
            fix=f"pip install 'evit-deploy[{extra}]'",
        )


def first_line(error: BaseException) -> str:
    """The first line of what an exception of a library says; its kind where it says nothing."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


@contextmanager
def extra(name: str, purpose: str) -> Iterator[None]:
    """Imports inside belong to an optional extra.

    Raises:
        MissingExtraError: One of them is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise MissingExtraError(error.name or "?", name, purpose) from error
