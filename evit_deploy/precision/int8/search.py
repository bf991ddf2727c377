# SPDX-License-Identifier: Apache-2.0
"""The search for the INT8 layers that cost least and lose no more than is allowed.

Costs are not additive: a tensor is small only if both its maker and its readers are INT8. So the search begins with
everything in INT8 and takes back:

1. Layers that do not pay are taken back as long as the oracle says that the rest is faster without them.
2. If that loses too much, layers and blocks are put in the order of harm per millisecond, and taken back one after
   another; the first assignment of that chain that loses little enough is found by bisection.
3. What was taken back on the way is tried again, piece by piece, while there is time.

Every assignment that is accepted was judged as a whole, on all frames; sensitivities only decide what is tried first.
The same questions are asked in the same order every time, and answers are kept in a journal: a search that was
interrupted goes on where it stopped. FP16 alone is the point to beat.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence

from evit_deploy.precision.int8.curve import Goal, LayerSensitivity, Outcome, Point, Score
from evit_deploy.precision.int8.journal import Journal
from evit_deploy.precision.int8.layers import Layer
from evit_deploy.precision.int8.moves import moves_of
from evit_deploy.precision.int8.oracle import Cost, Oracle
from evit_deploy.precision.int8.sensitivity import damage, measure_sensitivity
from evit_deploy.progress import Progress, silent

Assignment = frozenset[str]
JudgeCall = Callable[..., Score]
"""Called as `judge(layers)`, or `judge(layers, frames)` for the first frames only."""

_SENSITIVITY_SHARE = 0.5
_TINY = 1e-9


def search(
    layers: Sequence[Layer],
    oracle: Oracle,
    judge: JudgeCall,
    goal: Goal,
    *,
    journal: Journal | None = None,
    minutes: float = 30.0,
    allow_slower: bool = False,
    progress: Progress = silent,
    clock: Callable[[], float] = time.monotonic,
) -> Outcome:
    """Find the cheapest assignment within a goal.

    Args:
        layers: What may be INT8, in the order of the graph.
        oracle: Tells what an assignment costs.
        judge: Tells what it loses.
        goal: What may be lost.
        journal: Keeps what was judged.
        minutes: How long to go on judging; the first judgement is made in any case.
        allow_slower: Choose the best assignment even if it is no faster than FP16.
        progress: Told about every step.
        clock: Seconds, for tests.
    """
    return _Search(layers, oracle, judge, goal, journal, minutes, allow_slower, progress, clock).run()


class _Search:
    def __init__(
        self,
        layers: Sequence[Layer],
        oracle: Oracle,
        judge: JudgeCall,
        goal: Goal,
        journal: Journal | None,
        minutes: float,
        allow_slower: bool,
        progress: Progress,
        clock: Callable[[], float],
    ) -> None:
        self.layers, self.oracle, self.judge, self.goal = layers, oracle, judge, goal
        self.journal, self.allow_slower, self.progress, self.clock = journal, allow_slower, progress, clock
        self.begun, self.seconds = clock(), 60 * minutes
        self.order = {layer.name: index for index, layer in enumerate(layers)}
        self.costs: dict[Assignment, Cost] = {}
        self.points: dict[Assignment, Point] = {}
        self.timely = True

    def run(self) -> Outcome:
        full = self.point(frozenset(self.order))
        sensitivity = measure_sensitivity(
            self.layers, self.score, lambda: self.in_time(_SENSITIVITY_SHARE), self.progress
        )
        paying = self.trimmed(frozenset(self.order))
        start = paying or (frozenset(self.order) if self.allow_slower else paying)
        if start:
            with self.progress("search INT8 layers"):
                self.find(start, damage(sensitivity, self.layers))
        return self.outcome(full, sensitivity)

    def find(self, start: Assignment, harm: dict[str, float]) -> None:
        """Judge assignments from the fastest one on until one is good enough, then improve it."""
        chain = self.chain(start, harm)
        if self.goal.allows(self.point(start).score):
            return
        low, high = 1, len(chain) - 1  # the last one is FP16 throughout, which loses nothing
        while low < high and self.in_time():
            middle = (low + high) // 2
            if self.goal.allows(self.point(chain[middle]).score):
                high = middle
            else:
                low = middle + 1
        self.improve(start, chain[high])

    def improve(self, start: Assignment, best: Assignment) -> None:
        """Try to have what was taken back in INT8 again, what gains most first."""
        tried: set[Assignment] = set()
        while True:
            candidates = {best | (move & start) for move in moves_of(self.layers)} - tried - {best}
            faster = [one for one in candidates if self.cost(one).ms < self.cost(best).ms - _TINY]
            if not faster or not self.in_time():
                return
            candidate = min(faster, key=lambda one: (self.cost(one).ms, self.named(one)))
            tried.add(candidate)
            if self.goal.allows(self.point(candidate).score):
                best = candidate

    def chain(self, start: Assignment, harm: dict[str, float]) -> list[Assignment]:
        """From an assignment to none in INT8, each time without what harms most for what it gains."""
        chain = [start]
        while current := chain[-1]:
            smaller = (current - move for move in moves_of(self.layers) if move & current)
            chain.append(min(smaller, key=lambda one, whole=current: self.price(whole, one, harm)))  # type: ignore[misc]
        return chain

    def price(self, whole: Assignment, smaller: Assignment, harm: dict[str, float]) -> tuple[float, tuple[str, ...]]:
        """Milliseconds for each unit of harm that is spared; of equals, the one that stands first."""
        spared, extra = whole - smaller, self.cost(smaller).ms - self.cost(whole).ms
        return max(extra, _TINY) / max(sum(harm[name] for name in sorted(spared)), _TINY), self.named(spared)

    def trimmed(self, current: Assignment) -> Assignment:
        """An assignment without what makes it slower, down to where nothing does or nothing is left."""
        while current:
            smaller = min(
                (current - move for move in moves_of(self.layers) if move & current),
                key=lambda one: (self.cost(one).ms, self.named(one)),
            )
            if self.cost(smaller).ms > self.cost(current).ms - _TINY:
                break
            current = smaller
        return current

    def point(self, layers: Assignment) -> Point:
        if layers not in self.points:
            self.points[layers] = Point(self.named(layers), self.cost(layers), self.score(layers))
        return self.points[layers]

    def score(self, layers: Assignment, frames: int | None = None) -> Score:
        kept = self.journal.get(layers, frames or 0) if self.journal else None
        if kept is None:
            kept = self.judge(layers) if frames is None else self.judge(layers, frames)
            if self.journal:
                self.journal.add(layers, frames or 0, kept)
        return kept

    def cost(self, layers: Assignment) -> Cost:
        if layers not in self.costs:
            self.costs[layers] = self.oracle.cost(layers)
        return self.costs[layers]

    def in_time(self, share: float = 1.0) -> bool:
        """Whether there is time to judge another assignment; what is known already takes none."""
        if self.clock() - self.begun < share * self.seconds:
            return True
        self.timely = False
        return False

    def named(self, layers: Collection[str]) -> tuple[str, ...]:
        return tuple(sorted(layers, key=self.order.__getitem__))

    def outcome(self, full: Point, sensitivity: tuple[LayerSensitivity, ...]) -> Outcome:
        judged = sorted((p for p in self.points.values() if p.layers), key=lambda p: (p.cost.ms, p.layers))
        within = [point for point in judged if self.goal.allows(point.score)]
        chosen = within[0] if within else None
        reason = self.reason(chosen, judged)
        if chosen is not None and chosen.cost.ratio >= 1 and not self.allow_slower:
            chosen = None
        return Outcome(chosen, full, sensitivity, tuple(judged), self.timely, reason)

    def reason(self, chosen: Point | None, judged: Sequence[Point]) -> str:
        words = f"{self.goal.max_drop:g} points" + (
            "" if self.goal.max_error is None else f" and a relative error of {self.goal.max_error:g}"
        )
        if chosen is None:
            least = min(judged, key=lambda point: (point.score.drop, point.score.error))
            return (
                f"no assignment of {len(judged)} judged loses at most {words}; the best loses {least.score.drop:.2f} "
                f"points with an error of {least.score.error:.3f}, {len(least.layers)} layers in INT8"
            )
        if chosen.cost.ratio >= 1:
            return f"the fastest assignment within {words} takes {chosen.cost.ratio:.2f} × the time of FP16"
        return f"the fastest of {len(judged)} judged that loses at most {words}"
