# SPDX-License-Identifier: Apache-2.0
"""Who tells what an assignment of INT8 layers costs on a target: the one question that the search asks.

There are two answers: a model of the target (`evit_deploy.profiles.predict.int8`), and layer times measured on the
device (`evit_deploy.profiles.int8_timing`). TensorRT-RTX is none: what it makes of Q/DQ is no likeness of TensorRT's.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Cost:
    """What an assignment costs.

    Attributes:
        ms: Milliseconds of a whole run.
        ratio: That over FP16's, by the same oracle.
        low: Lower end of the ratio's interval.
        high: Upper end.
    """

    ms: float
    ratio: float
    low: float
    high: float


class Oracle(Protocol):
    """Tells costs, the same for the same question."""

    @property
    def words(self) -> str:
        """Who says so, for manifests and reports."""

    @property
    def key(self) -> str:
        """Content hash of what the answers depend on."""

    def cost(self, layers: Collection[str]) -> Cost:
        """The cost of a run with these convolutions in INT8 and the rest in FP16; none is FP16 throughout."""
