# SPDX-License-Identifier: Apache-2.0
"""The one logger that a library of the TensorRT family gets in a process.

The first logger that TensorRT is given becomes that of the whole process: it has to outlive everything, and later ones
are left out. So builds and runs share one, and whoever wants to know what is said listens.
"""

from __future__ import annotations

import weakref
from collections import deque
from typing import Any, Protocol

_KEPT_MESSAGES = 20
_LOGGERS: dict[Any, Any] = {}


class Listener(Protocol):
    """Hears all that the library says, from any thread, as long as somebody keeps it."""

    def hear(self, severity: str, message: str) -> None:
        """One message, and its severity in TensorRT's words: "ERROR", "WARNING", …."""


def shared_logger(trt: Any) -> Any:
    """The logger of a library, kept until the process ends; its attribute `listeners` is a weak set."""
    if trt.ILogger not in _LOGGERS:
        _LOGGERS[trt.ILogger] = _new_logger(trt)
    return _LOGGERS[trt.ILogger]


def is_error(severity: str) -> bool:
    """Whether a message says that something failed."""
    return severity in ("ERROR", "INTERNAL_ERROR")


def _new_logger(trt: Any) -> Any:
    """A logger that keeps the last errors; its class can only be made where the library is installed."""

    class Logger(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.messages: deque[str] = deque(maxlen=_KEPT_MESSAGES)
            self.listeners: weakref.WeakSet[Any] = weakref.WeakSet()

        def log(self, severity: Any, message: str) -> None:
            for listener in list(self.listeners):
                listener.hear(severity.name, message)
            if is_error(severity.name):
                self.messages.append(message.strip())

        def reason(self) -> str:
            """What was logged since the last question."""
            words = "; ".join(dict.fromkeys(self.messages))
            self.messages.clear()
            return words or "TensorRT does not say why"

    return Logger()
