# SPDX-License-Identifier: Apache-2.0
"""What the authors published of every model: accuracy, and latency on an AGX Orin and an A100."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from evit_deploy.profiles.predict.fit import Row, make_row

PUBLISHED = Path(__file__).with_name("published.json")


@dataclass(frozen=True)
class Published:
    """One row of the published tables.

    Attributes:
        model: Name of the model.
        resolution: (height, width) that its latency is of.
        metric: Name of the accuracy.
        accuracy: In percent; None where none is published.
        orin_ms: Milliseconds on an AGX Orin, batch 1.
        nano_ms: Milliseconds on the first Jetson Nano, batch 1.
        a100_img_s: Images per second on an A100.
        a100_batch: At this batch; None where it is not stated.
    """

    model: str
    resolution: tuple[int, int]
    metric: str
    accuracy: float | None
    orin_ms: float | None
    nano_ms: float | None
    a100_img_s: float | None
    a100_batch: int | None

    @property
    def size(self) -> str:
        """Resolution as "HxW"."""
        return f"{self.resolution[0]}x{self.resolution[1]}"


@lru_cache(maxsize=1)
def published() -> tuple[Published, ...]:
    """All rows, in the order of the tables."""
    rows = json.loads(PUBLISHED.read_text(encoding="utf-8"))["rows"]
    return tuple(Published(**{**row, "resolution": _sides(row["resolution"])}) for row in rows)


def orin_rows(scope: str = "end-to-end") -> tuple[Row, ...]:
    """The latencies of an AGX Orin, with their plans; see `make_row` for `scope`."""
    return tuple(
        make_row(row.model, row.size, row.orin_ms, scope=scope) for row in published() if row.orin_ms is not None
    )


def a100_rows(scope: str = "end-to-end") -> tuple[Row, ...]:
    """The throughputs of an A100 whose batch is stated, as latencies per frame, with their plans."""
    return tuple(
        make_row(row.model, row.size, 1000 / row.a100_img_s, row.a100_batch, scope)
        for row in published()
        if row.a100_img_s is not None and row.a100_batch is not None
    )


def graphs() -> tuple[tuple[str, tuple[int, int]], ...]:
    """Model and resolution of everything that has a published latency on an Orin or an A100."""
    return tuple((row.model, row.resolution) for row in published() if row.orin_ms or row.a100_img_s)


def _sides(text: str) -> tuple[int, int]:
    height, width = (int(side) for side in text.split("x"))
    return height, width
