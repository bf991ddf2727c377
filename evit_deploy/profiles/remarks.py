# SPDX-License-Identifier: Apache-2.0
"""What a reader must know about a measurement, in words."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

from evit_deploy.errors import EvitError, first_line
from evit_deploy.profiles.environment import load_average
from evit_deploy.profiles.latency import Latency
from evit_deploy.runtime.engine import available_cores

NOT_WANTED = "PyTorch was not timed, because it was not asked for."

T = TypeVar("T")


@dataclass
class Notes:
    """What a report says beside its figures; above all why something is not in it."""

    texts: list[str] = field(default_factory=list)

    def attempt(self, missing: str, do: Callable[[], T]) -> T | None:
        """Do something that not every machine can.

        What was measured before must not be lost by it, and libraries fail in ways of their own: a full disk, a device
        that is gone. So whatever goes wrong is a note; only what ends the program ends it.

        Args:
            missing: What to say where it fails: "Layers were not timed".
            do: Does it.

        Returns:
            What it gave; None where it failed, and then there is a note.
        """
        try:
            return do()
        except EvitError as error:
            self.texts.append(f"{missing}: {reason(error)}.")
            return None
        except Exception as error:
            self.texts.append(f"{missing}: {type(error).__name__}: {first_line(error)}.")
            return None


def reason(error: EvitError) -> str:
    """Why something failed, in a line."""
    parts = [error.what, error.found and f"found {error.found}", error.expected and f"expected {error.expected}"]
    return "; ".join(filter(None, parts))


def absence(error: EvitError) -> str:
    """Why PyTorch was not timed, in words."""
    return f"PyTorch was not timed: {reason(error)}."


def load_entry(before: float | None) -> dict[str, str]:
    """The load average before and after a measurement, as an entry of its environment."""
    after = load_average()
    if before is None or after is None:
        return {}
    return {"load average": f"{before:.2f} before, {after:.2f} after"}


def busy(average: float | None) -> list[str]:
    """What a reader must know where other processes ran as well: load average before the measurement, if known."""
    if average is None or average <= 0.5 * available_cores():
        return []
    return [
        f"The machine was busy: a load average of {average:.1f} on {available_cores()} cores before the "
        "measurement. Ratios within this run hold; absolute times are slower than on an idle machine."
    ]


def drifting(latencies: Iterable[Latency]) -> Iterator[str]:
    """What a reader must know where something changed its pace while it was measured."""
    for latency in latencies:
        drift = latency.drift
        if drift is not None and drift.matters:
            yield (
                f"{latency.name} drifted: the last quarter of its rounds was {drift} than the first, where rounds "
                f"that are close in time scatter by {100 * drift.sigma:.1f} %. "
                "Clocks, temperatures and other load while it was measured are in the environment."
            )
