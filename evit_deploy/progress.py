# SPDX-License-Identifier: Apache-2.0
"""How long work tells about itself: steps with a name, each perhaps with a count.

Libraries call ``with progress("verify", 3) as step: … step.advance()``. The command line shows bars; programs and
tests pass nothing and hear nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


class Step(Protocol):
    """One step under way."""

    def advance(self) -> None:
        """One more of the step's items is done."""


Progress = Callable[..., AbstractContextManager[Step]]
"""Called as ``progress(name)`` or ``progress(name, total)``."""


class _Silent:
    def advance(self) -> None:
        """Say nothing."""


@contextmanager
def silent(name: str, total: int | None = None) -> Iterator[Step]:
    """A progress that says nothing."""
    yield _Silent()


def named(progress: Progress, name: str) -> Progress:
    """A progress whose steps begin with the name of what they are about: a device, or a part of a model."""

    @contextmanager
    def show(step: str, total: int | None = None) -> Iterator[Step]:
        with progress(f"{name}: {step}", total) if total else progress(f"{name}: {step}") as shown:
            yield shown

    return show
