# SPDX-License-Identifier: Apache-2.0
"""The search for the INT8 layers that cost least and lose no more than is allowed.

Costs are not additive: a tensor is small only if both its maker and its readers are INT8. So the search begins with
everything in INT8 and takes back:

1. Layers that do not pay are taken back as long as the oracle says that the rest is faster without them.
2. If that loses too much, layers and blocks are put in the order of milliseconds per harm, and taken back one after
   another; the first assignment of that chain that loses little enough is found by bisection.
3. What was taken back is tried again, piece by piece, the best bargain first; then pieces are tried in exchange for
   others.

Every assignment that is accepted was judged as a whole, on all frames; what single layers do alone only decides what
is tried first. The same questions are asked in the same order every time, and answers are kept in a journal: a search
that was interrupted goes on where it stopped. FP16 alone is the point to beat.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence

from evit_deploy.precision.int8.curve import Goal, LayerSensitivity, Outcome, Point
from evit_deploy.precision.int8.journal import Journal
from evit_deploy.precision.int8.layers import Layer
from evit_deploy.precision.int8.moves import moves_of
from evit_deploy.precision.int8.oracle import Oracle
from evit_deploy.precision.int8.sensitivity import damage, measure_sensitivity
from evit_deploy.precision.int8.trials import Assignment, JudgeCall, Trials
from evit_deploy.progress import Progress, silent

PATIENCE = 12
"""So many disappointments in a row end a round of attempts at improvement."""

WORTH = 1e-3
"""Share of FP16's time that an improvement must gain to be worth judging."""

_SENSITIVITY_SHARE = 0.5
_TINY = 1e-12


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
        judge: Tells what it loses: `judge(layers)`, or `judge(layers, frames)` on the first frames only.
        goal: What may be lost.
        journal: Keeps what was judged.
        minutes: How long to go on judging; everything in INT8 is judged in any case, and what was begun is finished.
        allow_slower: Choose the best assignment even if it is no faster than FP16.
        progress: Told about every step.
        clock: Seconds, for tests.

    Returns:
        What was found; `chosen` is None where nothing is within the goal and, unless `allow_slower`, faster than FP16.
    """
    trials = Trials(layers, oracle, judge, goal, journal, 60 * minutes, clock)
    return _Search(layers, trials, goal, allow_slower).run(progress)


class _Search:
    def __init__(self, layers: Sequence[Layer], trials: Trials, goal: Goal, allow_slower: bool) -> None:
        self.layers, self.trials, self.goal, self.allow_slower = layers, trials, goal, allow_slower
        self.moves = moves_of(layers)
        self.whole = frozenset(layer.name for layer in layers)
        self.harm: Mapping[str, float] = {}

    def run(self, progress: Progress) -> Outcome:
        full = self.trials.point(self.whole)
        sensitivity = measure_sensitivity(
            self.layers, self.trials.score,
            lambda layers, frames: self.trials.affordable(layers, frames, _SENSITIVITY_SHARE), progress,
        )  # fmt: skip
        self.harm = damage(sensitivity, self.layers)
        start = self.trimmed(self.whole)
        if not self.worth(start):
            start = self.whole if self.allow_slower else frozenset()
        with progress("search INT8 layers"):
            if start and self.trials.affordable(start) and not self.trials.allowed(start):
                self.exchange(start, self.give_back(start, self.bisect(self.chain(start))))
        return self.outcome(full, sensitivity, start)

    def worth(self, layers: Assignment) -> bool:
        """Whether an assignment may be chosen, whatever it loses."""
        return bool(layers) and (self.allow_slower or self.trials.cost(layers).ratio < 1)

    def trimmed(self, current: Assignment) -> Assignment:
        """An assignment without what makes it slower, down to where nothing does or nothing is left."""
        while current:
            smaller = min(self.without(current), key=lambda one: (self.trials.ms(one), self.trials.named(one)))
            if self.trials.ms(smaller) >= self.trials.ms(current):
                break
            current = smaller
        return current

    def without(self, current: Assignment) -> Iterator[Assignment]:
        """What taking back one piece leaves."""
        return (current - move for move in self.moves if move & current)

    def chain(self, start: Assignment) -> list[Assignment]:
        """From an assignment to none in INT8, each without the piece that costs least for the harm it did."""
        steps = [start]
        while current := steps[-1]:
            steps.append(min(self.without(current), key=lambda one, now=current: self.price(now, one)))  # type: ignore[misc]
        return [one for one in steps if not one or self.worth(one)]

    def price(self, larger: Assignment, smaller: Assignment) -> tuple[float, tuple[str, ...]]:
        """Milliseconds between two assignments for each unit of harm; of equals, the one that stands first."""
        pieces = self.trials.named(larger - smaller)
        gain = self.trials.ms(smaller) - self.trials.ms(larger)
        return gain / max(sum(self.harm[name] for name in pieces), _TINY), pieces

    def bisect(self, chain: Sequence[Assignment]) -> Assignment:
        """The first of a chain that loses little enough; its first one loses too much, its last one nothing."""
        low, high = 1, len(chain) - 1
        while low < high and self.trials.affordable(chain[(low + high) // 2]):
            middle = (low + high) // 2
            if self.trials.allowed(chain[middle]):
                high = middle
            else:
                low = middle + 1
        return chain[high]

    def give_back(self, start: Assignment, best: Assignment) -> Assignment:
        """Try to have in INT8 again what was taken back, the best bargain first, each piece once."""
        pieces = {move & start for move in self.moves}
        failures = 0
        while failures < PATIENCE:
            bargains = [best | piece for piece in pieces if self.gains(best, best | piece)]
            if not bargains:
                break
            candidate = min(bargains, key=lambda one, now=best: (-self.price(one, now)[0], self.price(one, now)[1]))  # type: ignore[misc]
            if not self.trials.affordable(candidate):
                break
            pieces = {piece for piece in pieces if best | piece != candidate}
            failures += 1
            if self.trials.allowed(candidate):
                best, failures = candidate, 0
        return best

    def exchange(self, start: Assignment, best: Assignment) -> Assignment:
        """Try to take back one piece for another that gains more: the fastest that does no more harm, then others."""
        tried: set[Assignment] = set()
        failures = 0
        while failures < PATIENCE:
            missing = [move & start for move in self.moves if (move & start) - best]
            swapped = {(best - out) | piece for out in self.moves if out & best for piece in missing}
            faster = [one for one in swapped - tried if self.gains(best, one)]
            candidate = min(faster, key=lambda one, now=best: self.promise(now, one), default=best)  # type: ignore[misc]
            if candidate == best or not self.trials.affordable(candidate):
                break
            tried.add(candidate)
            failures += 1
            if self.trials.allowed(candidate):
                best, failures = candidate, 0
        return best

    def promise(self, now: Assignment, then: Assignment) -> tuple[float, float, tuple[str, ...]]:
        """How promising a change is, best first: by the harm it adds, by its cost, by its place."""
        return max(self.harms(then) - self.harms(now), 0.0), self.trials.ms(then), self.trials.named(then)

    def harms(self, layers: Assignment) -> float:
        """Sum of the harms of layers."""
        return sum(self.harm[name] for name in self.trials.named(layers))

    def gains(self, now: Assignment, then: Assignment) -> bool:
        """Whether a change of assignment saves enough to be judged."""
        return self.worth(then) and self.trials.ms(then) < self.trials.ms(now) - WORTH * self.trials.ms(frozenset())

    def outcome(self, full: Point, sensitivity: tuple[LayerSensitivity, ...], start: Assignment) -> Outcome:
        judged = sorted((one for one in self.trials.points.values() if one.layers), key=lambda p: (p.cost.ms, p.layers))
        within = [one for one in judged if self.goal.allows(one.score) and self.worth(frozenset(one.layers))]
        chosen = within[0] if within else None
        reason = self.reason(chosen, judged, start)
        return Outcome(chosen, full, sensitivity, tuple(judged), self.trials.timely, reason)

    def reason(self, chosen: Point | None, judged: Sequence[Point], start: Assignment) -> str:
        if not self.layers:
            return "none of its convolutions may be INT8"
        late = "" if self.trials.timely else ", when time was up"
        if chosen is not None:
            slower = f", {chosen.cost.ratio:.2f} × the time of FP16" if chosen.cost.ratio >= 1 else ""
            return f"the fastest of {len(judged)} assignments judged that loses at most {self.goal.words}{slower}{late}"
        if not start:
            return (
                f"INT8 does not pay: the fastest assignment found takes {judged[0].cost.ratio:.2f} × the time of FP16"
            )
        least = min(
            judged, key=lambda point: (not self.worth(frozenset(point.layers)), point.score.drop, point.score.error)
        )
        return (
            f"no assignment of {len(judged)} judged that is faster than FP16 loses at most {self.goal.words}{late}; "
            f"{len(least.layers)} layers in INT8 lose {least.score.drop:.2f} points with an error of "
            f"{least.score.error:.3f}"
        )
