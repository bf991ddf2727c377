# SPDX-License-Identifier: Apache-2.0
"""How far a build of the TensorRT family is, and how it is stopped.

TensorRT tells about nested phases, each with a number of steps, from threads of its own. Here they become one bar of
hundred steps that never goes back. A phase counts as much as its siblings whatever it takes, so the bar is uneven, and
the time left that it shows is a guess.

A build ends early when `IProgressMonitor.step_complete` says so. Between two steps TensorRT cannot be stopped.

A process that ends while a build still runs is left in one step (`_leave`), since native code must not lose the ground
under it. What a program registered with `atexit` after it imported this module is done before; what it registered
earlier is not.
"""

from __future__ import annotations

import atexit
import logging
import os
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from evit_deploy.progress import Step

T = TypeVar("T")

STEPS = 100
"""Length of the bar."""

INTERRUPTED = 130
"""What shells call a program that Ctrl-C ended."""

_LOG = logging.getLogger(__name__)
_left_behind: list[threading.Event] = []


@dataclass
class _Phase:
    parent: str | None
    steps: int
    done: int = 0


class BuildBar:
    """Draws nested phases as one bar, and keeps whether the build shall end.

    Attributes:
        failure: What the bar raised when it was drawn, if anything: the build ends, and then it is raised.
    """

    def __init__(self, step: Step) -> None:
        self.failure: BaseException | None = None
        self._step = step
        self._phases: dict[str, _Phase] = {}
        self._shown = 0
        self._cancelled = False
        self._lock = threading.Lock()

    def cancel(self) -> None:
        """End the build after the step under way."""
        self._cancelled = True

    def start(self, name: str, parent: str | None, steps: int) -> None:
        """A phase begins, inside another one or not."""
        with self._lock:
            self._phases[name] = _Phase(parent if parent in self._phases else None, max(steps, 1))

    def complete(self, name: str, step: int) -> bool:
        """A step (from 0) of a phase is done; return whether to go on."""
        with self._lock:
            if name in self._phases:
                phase = self._phases[name]
                phase.done = min(max(phase.done, step + 1), phase.steps)
            self._draw(int(STEPS * self._fraction()))
        return not self._cancelled

    def finish(self, name: str) -> None:
        """A phase is over; that its parent is one step on is told separately."""
        with self._lock:
            self._phases.pop(name, None)

    def fill(self) -> None:
        """The build is done."""
        with self._lock:
            self._draw(STEPS)

    def _fraction(self) -> float:
        """Progress of the outermost phases; what a phase adds to its parent's finished steps is less than one step."""
        totals = {None: 0.0} | dict.fromkeys(self._phases, 0.0)
        for name in reversed(self._phases):  # a phase begins after its parent
            phase = self._phases[name]
            own = min((phase.done + totals[name]) / phase.steps, 1.0)
            totals[phase.parent] = max(totals.get(phase.parent, 0.0), own)
        return totals[None]

    def _draw(self, steps: int) -> None:
        """Advance to a number of steps. An exception must not reach TensorRT's own code: it would end the process."""
        while self._shown < steps and self.failure is None:
            self._shown += 1
            try:
                self._step.advance()
            except BaseException as error:
                self.failure = error
                self.cancel()


def new_monitor(trt: Any, bar: BuildBar) -> Any:
    """A monitor for a builder's configuration; None where the library has none."""
    base: Any = getattr(trt, "IProgressMonitor", None)
    if base is None:
        return None

    class Monitor(base):  # type: ignore[misc]
        def __init__(self) -> None:
            base.__init__(self)

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            bar.start(phase_name, parent_phase, num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            return bar.complete(phase_name, step)

        def phase_finish(self, phase_name: str) -> None:
            bar.finish(phase_name)

    return Monitor()


def interruptible(work: Callable[[], T], cancel: Callable[[], None] | None) -> T:
    """Do work that runs no Python for long, so that Ctrl-C still has an effect.

    Python handles signals in its main thread, between two of its own instructions. So the work moves to another thread
    while the main one waits. The first Ctrl-C cancels, and waits for the work to end; the second one does not wait, and
    the work goes on without its result until it ends, or the process.

    Args:
        work: What to do.
        cancel: Asks the work to end soon; None where nothing can, so that the first Ctrl-C does not wait.

    Raises:
        KeyboardInterrupt: After Ctrl-C, even if the work was done when it came; so it is with other signals whose
            handlers raise something.
    """
    if threading.current_thread() is not threading.main_thread():
        return work()
    results: list[T] = []
    errors: list[BaseException] = []
    done = threading.Event()  # Thread.join takes a thread that it was interrupted in waiting for as ended

    def run() -> None:
        try:
            results.append(work())
        except BaseException as error:
            errors.append(error)
        finally:
            done.set()

    threading.Thread(target=run, name="evit-deploy build", daemon=True).start()
    try:
        done.wait()
    except BaseException:  # whatever a program's handlers of signals raise
        _left_behind.append(done)
        if cancel is not None:
            cancel()
            _LOG.warning("stopping after the step under way; Ctrl-C again does not wait for it")
            done.wait()
        raise
    if errors:
        raise errors[0]
    return results[0]


def _leave() -> None:
    """End a process at its exit where native code still runs."""
    if not all(done.is_set() for done in _left_behind):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(INTERRUPTED)


atexit.register(_leave)  # now, so that handlers of the program, which are registered later, run before it
