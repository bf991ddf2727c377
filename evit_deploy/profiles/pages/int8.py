# SPDX-License-Identifier: Apache-2.0
"""What a page tells of an INT8 engine: what it gains, what it loses, and which layers are to blame."""

from __future__ import annotations

from dataclasses import dataclass

from evit_deploy.manifest import Int8Info, Int8Point
from evit_deploy.profiles.compare.conditions import main_manifest
from evit_deploy.profiles.reading import Report

LAYERS, POINTS = 15, 40
"""How many of each a page shows: those that lose most, those that take least time."""


@dataclass(frozen=True)
class Sensitive:
    """One layer.

    Attributes:
        name: Its name.
        drop: Points lost with it alone in INT8.
        taken: Whether it is INT8 in this engine.
    """

    name: str
    drop: float
    taken: bool


@dataclass(frozen=True)
class Int8Section:
    """What the section shows.

    Attributes:
        info: Everything that the manifest says.
    """

    info: Int8Info

    @property
    def layers(self) -> list[Sensitive]:
        """The layers that lose most alone, most first."""
        taken = frozenset(self.info.layers)
        rows = [Sensitive(name, drop, name in taken) for name, drop in self.info.sensitivity.items()]
        return sorted(rows, key=lambda row: (-row.drop, row.name))[:LAYERS]

    @property
    def points(self) -> list[Int8Point]:
        """The assignments that take least time, least first."""
        return sorted(self.info.curve, key=lambda point: (point.ms, point.drop))[:POINTS]

    @property
    def same(self) -> str:
        """What the agreement is a share of."""
        return "overlap of masks" if self.info.metric == "mask IoU" else "of classes equal"


def int8_section(report: Report) -> Int8Section | None:
    """The section of a report; None of another precision. Of several parts the image encoder is the one in INT8."""
    engine = main_manifest(report).engine
    return Int8Section(engine.int8) if engine and engine.int8 else None
