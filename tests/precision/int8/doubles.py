# SPDX-License-Identifier: Apache-2.0
"""Oracles, judges and layers whose every answer is known."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, combinations

from evit_deploy.precision.int8.curve import Goal, Score
from evit_deploy.precision.int8.layers import Layer
from evit_deploy.precision.int8.oracle import Cost

FP16_MS = 10.0


def make_layers(count: int, per_block: int = 3) -> tuple[Layer, ...]:
    """Layers in blocks of so many, as MBConv blocks name them."""
    names = [f"block{index // per_block}.main.conv{index % per_block}" for index in range(count)]
    return tuple(Layer(name, "pointwise", f"{name}.in", f"{name}.out", f"{name}.weight", 1000) for name in names)


@dataclass
class PricedOracle:
    """Costs: a gain for each layer in INT8, and a price for each border between INT8 and FP16 neighbours."""

    layers: Sequence[Layer]
    gains: Sequence[float]
    border: float = 0.0
    words: str = "a list of prices"
    key: str = "prices"
    asked: int = 0

    def cost(self, layers: Collection[str]) -> Cost:
        self.asked += 1
        eight = [layer.name in layers for layer in self.layers]
        gain = sum(gain for gain, chosen in zip(self.gains, eight, strict=True) if chosen)
        borders = sum(one != other for one, other in zip([False, *eight], [*eight, False], strict=True))
        ratio = (FP16_MS - gain + self.border * borders) / FP16_MS
        return Cost(ratio * FP16_MS, ratio, 0.9 * ratio, 1.1 * ratio)


@dataclass
class KnownJudge:
    """Scores from a rule; counts what it was asked, and may be stopped at a question."""

    rule: Callable[[frozenset[str]], float]
    stop_at: int = 1 << 30
    asked: list[tuple[frozenset[str], int | None]] = field(default_factory=list)

    def __call__(self, layers: frozenset[str], frames: int | None = None) -> Score:
        if len(self.asked) == self.stop_at:
            raise KeyboardInterrupt
        self.asked.append((layers, frames))
        drop = self.rule(layers)
        return Score(drop, max(0.0, 1 - abs(drop) / 100), abs(drop) / 20, frames or 32)


def additive(layers: Sequence[Layer], drops: Sequence[float]) -> Callable[[frozenset[str]], float]:
    """Every layer loses its own."""
    own = {layer.name: drop for layer, drop in zip(layers, drops, strict=True)}
    return lambda chosen: sum(own[layer.name] for layer in layers if layer.name in chosen)


def in_quadrature(layers: Sequence[Layer], drops: Sequence[float]) -> Callable[[frozenset[str]], float]:
    """Losses add up as independent errors do."""
    own = {layer.name: drop for layer, drop in zip(layers, drops, strict=True)}
    return lambda chosen: sum(own[layer.name] ** 2 for layer in layers if layer.name in chosen) ** 0.5


def assignments(layers: Sequence[Layer]) -> Iterator[frozenset[str]]:
    """All that are not empty."""
    names = [layer.name for layer in layers]
    sizes = (combinations(names, size) for size in range(1, len(names) + 1))
    return (frozenset(one) for one in chain.from_iterable(sizes))


def optimum(
    layers: Sequence[Layer], oracle: PricedOracle, rule: Callable[[frozenset[str]], float], goal: Goal
) -> float | None:
    """The least cost ratio below 1 within a goal, of all assignments."""
    within = [oracle.cost(one).ratio for one in assignments(layers) if goal.allows(KnownJudge(rule)(one))]
    return min((ratio for ratio in within if ratio < 1), default=None)
