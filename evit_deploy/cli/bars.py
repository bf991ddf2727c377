# SPDX-License-Identifier: Apache-2.0
"""Progress for people: bars on a terminal, lines in a log."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import typer

EVERY_SECONDS = 60.0
"""Between two lines of a long step in a log."""


class Bars:
    """Progress for people: bars on a terminal, one line per finished step elsewhere. Goes to standard error.

    Steps may overlap, and come from several threads.
    """

    def __init__(self) -> None:
        self._lock, self._shown = threading.Lock(), 0
        self._bars: Any = None

    @contextlib.contextmanager
    def __call__(self, name: str, total: int | None = None) -> Iterator[Any]:
        """Show one step."""
        start = time.perf_counter()
        if not sys.stderr.isatty():
            yield _Line(name, total)
            return typer.echo(_finished(name, start), err=True)
        with self._bar(name, total) as step:
            yield step
        with self._lock:
            if self._shown:
                self._bars.console.print(_finished(name, start), markup=False, highlight=False)
            else:
                typer.echo(_finished(name, start), err=True)

    @contextlib.contextmanager
    def _bar(self, name: str, total: int | None) -> Iterator[Any]:
        """A bar below the others that are under way; a terminal can have one display only."""
        with self._lock:
            if self._shown == 0:
                self._bars = _display()
                self._bars.start()
            self._shown += 1
            bars = self._bars
            task = bars.add_task(name, total=total)
        try:
            yield _Bar(lambda: bars.advance(task))
        finally:
            with self._lock:
                bars.remove_task(task)
                self._shown -= 1
                if self._shown == 0:
                    bars.stop()


def _finished(name: str, start: float) -> str:
    return f"  {name:<28} {time.perf_counter() - start:6.1f} s"


class _Line:
    """A long step in a log: where it is, and when it will be over, once a minute. For several threads."""

    def __init__(self, name: str, total: int | None) -> None:
        self._name, self._total, self._lock = name, total, threading.Lock()
        self._count, self._start = 0, time.perf_counter()
        self._said = self._start

    def advance(self) -> None:
        """One more is done."""
        with self._lock:
            self._count, now = self._count + 1, time.perf_counter()
            if now - self._said < EVERY_SECONDS:
                return
            self._said = now
            typer.echo(f"  {self._name:<28} {self._words(now - self._start)}", err=True)

    def _words(self, seconds: float) -> str:
        if self._total is None:
            return f"{self._count} done"
        left = timedelta(seconds=round(seconds / self._count * (self._total - self._count)))
        return f"{self._count} of {self._total}, {left} left"


class _Bar:
    def __init__(self, advance: Callable[[], None]) -> None:
        self.advance = advance


def _display() -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = [TextColumn("  {task.description:<28}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()]
    return Progress(*columns, console=Console(stderr=True), transient=True)
