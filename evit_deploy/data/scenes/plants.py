# SPDX-License-Identifier: Apache-2.0
"""Trees, bushes and hedges."""

from __future__ import annotations

from evit_deploy.data.scenes.dice import Rgb, shade
from evit_deploy.data.scenes.pen import Pen

VEGETATION = 8


def leaf_colour(pen: Pen) -> Rgb:
    """A leaf colour: mostly green, sometimes yellow, brown or greyish."""
    dice = pen.dice
    if dice.chance(0.8):
        return dice.colour((0.24, 0.4), (0.35, 0.75), (0.18, 0.42))
    return dice.colour((0.05, 0.2), (0.4, 0.75), (0.25, 0.5))


def tree(pen: Pen, x: float, z: float, height: float, crown: float) -> None:
    """Draw a tree: trunk and a crown of overlapping leafy ellipses; `crown` is its radius in metres."""
    dice, leaf = pen.dice, leaf_colour(pen)
    bark = pen.paint(VEGETATION, dice.colour((0.04, 0.12), (0.1, 0.4), (0.15, 0.4)), z, 0.15, 0.15)
    width = dice.between(0.18, 0.4)
    bole = max(height - 1.6 * crown, height * 0.3)
    pen.flat(x, z, [(-width / 2, -0.1), (width / 2, -0.1), (width / 3, bole + 0.5), (-width / 3, bole + 0.5)], bark)
    paints = [pen.paint(VEGETATION, shade(leaf, tone), z, 0.3, 0.35) for tone in (0.7, 1.0, 1.35)]
    middle = height - crown
    pen.blob(x, z, (0.0, middle), (crown * 0.8, crown * 0.85), paints[0], 0.35)
    for step in range(dice.count(5, 9)):
        at = (dice.between(-0.7, 0.7) * crown, middle + dice.between(-0.7, 0.6) * crown)
        size = crown * dice.between(0.3, 0.6)
        pen.blob(x, z, at, (size, size * dice.between(0.7, 1.0)), paints[step % 3], 0.5)


def bush(pen: Pen, x: float, z: float, size: float) -> None:
    """Draw a bush of the given height in metres."""
    dice, leaf = pen.dice, leaf_colour(pen)
    for tone in (0.75, 1.0, 1.3):
        paint = pen.paint(VEGETATION, shade(leaf, tone), z, 0.3, 0.35)
        at = (dice.between(-0.5, 0.5) * size, size * dice.between(0.35, 0.6))
        pen.blob(x, z, at, (size * dice.between(0.5, 0.9), size * dice.between(0.35, 0.5)), paint, 0.5)


def hedge(pen: Pen, start: tuple[float, float], end: tuple[float, float], height: float) -> None:
    """Draw a hedge along a base line of (x, z) points in metres."""
    dice = pen.dice
    patch = pen.upright(start, end, 0.0, height)
    leaf, z = leaf_colour(pen), 0.5 * (start[1] + end[1])
    paints = [pen.paint(VEGETATION, shade(leaf, tone), z, 0.3, 0.35) for tone in (1.0, 0.75)]
    bumps = [(dice.between(0.0, 1.0), dice.between(0.3, 0.8)) for _ in range(5)]
    if patch is not None:
        patch.fill(paints[0])
        patch.fill(paints[1], patch.up < height * 0.4)
    for share, size in bumps:
        x, depth = start[0] + (end[0] - start[0]) * share, start[1] + (end[1] - start[1]) * share
        pen.blob(x, depth, (0.0, height * 0.95), (size * 1.5, size * 0.6), paints[0], 0.5)
