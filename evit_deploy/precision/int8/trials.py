# SPDX-License-Identifier: Apache-2.0
"""What a search asks about: each assignment is judged once, from the journal where known, while there is time."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from evit_deploy.precision.int8.curve import Goal, Point, Score
from evit_deploy.precision.int8.journal import Journal
from evit_deploy.precision.int8.layers import Layer
from evit_deploy.precision.int8.oracle import Cost, Oracle

Assignment = frozenset[str]
JudgeCall = Callable[..., Score]
"""Called as `judge(layers)`, or `judge(layers, frames)` for the first frames only."""


class Trials:
    """Costs and scores of assignments.

    Args:
        layers: What may be INT8, in the order of the graph.
        oracle: Tells what an assignment costs.
        judge: Tells what it loses.
        goal: What may be lost.
        journal: Keeps what was judged.
        seconds: Time for judging.
        clock: Tells seconds.

    Attributes:
        points: What was judged on all frames.
        timely: False once there was no time for something.
    """

    def __init__(
        self, layers: Sequence[Layer], oracle: Oracle, judge: JudgeCall, goal: Goal, journal: Journal | None,
        seconds: float, clock: Callable[[], float],
    ) -> None:  # fmt: skip
        self._oracle, self._judge, self._goal, self._journal = oracle, judge, goal, journal
        self._clock, self._seconds, self._begun = clock, seconds, clock()
        self._order = {layer.name: index for index, layer in enumerate(layers)}
        self._costs: dict[Assignment, Cost] = {}
        self.points: dict[Assignment, Point] = {}
        self.timely = True

    def point(self, layers: Assignment) -> Point:
        """Cost and score of an assignment, on all frames."""
        if layers not in self.points:
            self.points[layers] = Point(self.named(layers), self.cost(layers), self.score(layers))
        return self.points[layers]

    def allowed(self, layers: Assignment) -> bool:
        """Whether an assignment loses no more than it may; none in INT8 loses nothing."""
        return not layers or self._goal.allows(self.point(layers).score)

    def score(self, layers: Assignment, frames: int | None = None) -> Score:
        """What an assignment loses, on the first frames or on all."""
        kept = self._known(layers, frames)
        if kept is None:
            kept = self._judge(layers) if frames is None else self._judge(layers, frames)
            if self._journal:
                self._journal.add(layers, frames or 0, kept)
        return kept

    def cost(self, layers: Assignment) -> Cost:
        """What an assignment costs."""
        if layers not in self._costs:
            self._costs[layers] = self._oracle.cost(layers)
        return self._costs[layers]

    def ms(self, layers: Assignment) -> float:
        """Milliseconds that an assignment costs."""
        return self.cost(layers).ms

    def affordable(self, layers: Assignment, frames: int | None = None, share: float = 1.0) -> bool:
        """Whether an assignment is known, or there is time to judge it within a share of all time."""
        if self._known(layers, frames) or self._clock() - self._begun < share * self._seconds:
            return True
        self.timely = False
        return False

    def named(self, layers: Collection[str]) -> tuple[str, ...]:
        """Layers in the order of the graph."""
        return tuple(sorted(layers, key=self._order.__getitem__))

    def _known(self, layers: Assignment, frames: int | None) -> Score | None:
        if frames is None and layers in self.points:
            return self.points[layers].score
        return self._journal.get(layers, frames or 0) if self._journal else None
