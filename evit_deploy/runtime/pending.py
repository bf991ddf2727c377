# SPDX-License-Identifier: Apache-2.0
"""Runs that were submitted and whose results are not taken yet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from evit_deploy.runtime.backends import Work
    from evit_deploy.runtime.engine import Engine


class Pending:
    """A run under way, from `Engine.submit`.

    Results may be taken in any order, each once the run is over; a run whose `Pending` is forgotten is over unnoticed.
    """

    def __init__(self, engine: Engine, work: Work) -> None:
        self._engine, self._work = engine, work

    def result(self, *, stream: int | None = None) -> dict[str, Any]:
        """Wait for the run, and return its outputs.

        Args:
            stream: For outputs on the GPU: handle of a CUDA stream that shall wait in the place of the caller. The
                arrays then come at once, to be used on that stream.

        Returns:
            One array per output. They are the engine's own buffers: a later `submit` or `infer` overwrites them.

        Raises:
            CudaError: The run failed.
            UsageError: The engine was closed, or `stream` is named for outputs on the host.
            EngineBusyError: Another thread is inside the engine.
        """
        with self._engine.exclusive():
            return self._work.result(stream)

    def done(self) -> bool:
        """Whether `result` would return at once."""
        with self._engine.exclusive():
            return self._work.done()


class FinishedWork:
    """A run of a CPU's engine, which was over when `submit` returned."""

    def __init__(self, outputs: dict[str, Any]) -> None:
        self._outputs = outputs

    def result(self, stream: int | None) -> dict[str, Any]:
        """The outputs."""
        del stream  # none of them is on a GPU
        return self._outputs

    def done(self) -> bool:
        """Always."""
        return True
