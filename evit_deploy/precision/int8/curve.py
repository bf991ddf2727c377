# SPDX-License-Identifier: Apache-2.0
"""What was found about INT8 for a graph: points of gain and loss, and the one that was chosen."""

from __future__ import annotations

import math
from dataclasses import dataclass

from evit_deploy.precision.int8.oracle import Cost


@dataclass(frozen=True)
class Score:
    """What an assignment loses against FP32.

    Attributes:
        drop: Points lost; see `evit_deploy.precision.int8.answers`.
        agreement: Share of equal classes, or intersection over union of masks, 0..1.
        error: Mean relative L2 error of the logits or the embedding.
        frames: Frames it was judged on.
        spread: Standard error of `drop` over the frames (bootstrap).
    """

    drop: float
    agreement: float
    error: float
    frames: int
    spread: float = 0.0


@dataclass(frozen=True)
class Goal:
    """What may be lost; judged on the measured value, not on an end of its spread.

    Attributes:
        max_drop: Points.
        max_error: Relative L2 error; None allows any.
    """

    max_drop: float = 0.5
    max_error: float | None = None

    def allows(self, score: Score) -> bool:
        """Whether a score is within it; an answer that is not finite never is."""
        error = math.isfinite(score.error) and (self.max_error is None or score.error <= self.max_error)
        return error and score.drop <= self.max_drop

    @property
    def words(self) -> str:
        """The goal, for a sentence."""
        error = "" if self.max_error is None else f" and a relative error of {self.max_error:g}"
        return f"{self.max_drop:g} points{error}"


@dataclass(frozen=True)
class Point:
    """An assignment with its cost and its score.

    Attributes:
        layers: Convolutions in INT8, in the order of the graph.
        cost: What it costs.
        score: What it loses, on all frames.
    """

    layers: tuple[str, ...]
    cost: Cost
    score: Score


@dataclass(frozen=True)
class LayerSensitivity:
    """What one layer alone does.

    Attributes:
        name: The layer.
        score: What is lost with it alone in INT8, on few frames.
    """

    name: str
    score: Score


@dataclass(frozen=True)
class Outcome:
    """What a search found.

    Attributes:
        chosen: The cheapest assignment within the goal; None if none is worth having.
        full: Everything in INT8.
        sensitivity: Layer by layer, in the order of the graph; without those that time did not allow.
        curve: Every assignment that was judged on all frames, cheapest first.
        complete: Whether the search came to its end; False: its time was up.
        reason: Why this one, or why none, with numbers.
    """

    chosen: Point | None
    full: Point
    sensitivity: tuple[LayerSensitivity, ...]
    curve: tuple[Point, ...]
    complete: bool
    reason: str
