# SPDX-License-Identifier: Apache-2.0
"""Street furniture: lamp posts, traffic lights and traffic signs."""

from __future__ import annotations

from evit_deploy.data.scenes.canvas import Paint
from evit_deploy.data.scenes.dice import Dice, Rgb, shade
from evit_deploy.data.scenes.pen import Flat, Pen

POLE, LIGHT, SIGN = 5, 6, 7
OCTAGON = [
    (0.41, 1.0),
    (1.0, 0.41),
    (1.0, -0.41),
    (0.41, -1.0),
    (-0.41, -1.0),
    (-1.0, -0.41),
    (-1.0, 0.41),
    (-0.41, 1.0),
]
TRIANGLE = [(0.0, 1.0), (0.95, -0.7), (-0.95, -0.7)]
SQUARE = [(-0.9, 0.9), (0.9, 0.9), (0.9, -0.9), (-0.9, -0.9)]
DIAMOND = [(0.0, 1.1), (1.1, 0.0), (0.0, -1.1), (-1.1, 0.0)]
PLATE = [(-1.6, 0.55), (1.6, 0.55), (1.6, -0.55), (-1.6, -0.55)]


def post(pen: Pen, x: float, z: float, height: float, width: float) -> None:
    """Draw an upright post with a lit and a dark flank."""
    dice = pen.dice
    colour = dice.grey(0.2, 0.65) if dice.chance(0.85) else dice.colour((0.05, 0.5), (0.15, 0.4), (0.2, 0.5))
    paints = [pen.paint(POLE, shade(colour, tone), z, 0.03, 0.06) for tone in (1.0, 0.7)]
    top = 0.8 * width
    pen.flat(x, z, [(-width / 2, -0.05), (width / 2, -0.05), (top / 2, height), (-top / 2, height)], paints[0])
    pen.flat(x, z, [(0.0, -0.05), (width / 2, -0.05), (top / 2, height), (0.0, height)], paints[1])


def lamp_post(pen: Pen, x: float, z: float, sign: int) -> None:
    """Draw a street lamp whose arm reaches over the road (`sign` is the side it stands on)."""
    dice = pen.dice
    height, width = dice.between(5.0, 9.0), dice.between(0.22, 0.36)
    post(pen, x, z, height, width)
    paint = pen.paint(POLE, dice.grey(0.2, 0.7), z)
    reach = -sign * dice.between(0.8, 2.5)
    if dice.chance(0.75):
        pen.bar(x, z, (0.0, height - 0.1), (reach, height + 0.35), 0.14, paint)
        pen.bar(x, z, (reach * 0.7, height + 0.25), (reach * 1.2, height + 0.3), 0.24, paint)
    else:
        pen.blob(x, z, (0.0, height), (0.3, 0.35), paint)


def _signal_head(pen: Pen, x: float, z: float, at: tuple[float, float], size: float) -> None:
    """Draw the housing and three lamps; `size` is the housing's height in metres."""
    dice = pen.dice
    half, tall = 0.2 * size, 0.5 * size
    case = dice.pick([dice.grey(0.04, 0.16), dice.grey(0.04, 0.16), dice.colour((0.11, 0.15), (0.6, 0.9), (0.5, 0.8))])
    outer = [(at[0] - half, at[1] - tall), (at[0] + half, at[1] - tall), (at[0] + half, at[1] + tall)]
    pen.flat(x, z, [*outer, (at[0] - half, at[1] + tall)], pen.paint(LIGHT, case, z, 0.03, 0.05))
    lit = dice.count(0, 2)
    lamps: list[tuple[Rgb, float]] = [((0.95, 0.15, 0.1), 0.31), ((0.95, 0.7, 0.1), 0.0), ((0.15, 0.9, 0.5), -0.31)]
    for index, (colour, offset) in enumerate(lamps):
        glow = index == lit
        paint = Paint(colour if glow else shade(colour, 0.25), LIGHT, 0.0 if glow else z, 0.02, 0.02, glow)
        radius = 0.125 * size
        pen.blob(x, z, (at[0], at[1] + offset * size), (radius, radius), pen.canvas.paint(paint))


def traffic_light(pen: Pen, x: float, z: float, sign: int) -> None:
    """Draw a traffic light on a post, sometimes with a second head on an arm over the road."""
    dice = pen.dice
    size, height = dice.between(1.0, 1.5), dice.between(3.0, 4.2)
    post(pen, x, z, height, dice.between(0.2, 0.3))
    if dice.chance(0.35):
        reach = -sign * dice.between(2.5, 4.5)
        tall = dice.between(5.0, 6.0)
        arm = pen.paint(POLE, dice.grey(0.2, 0.6), z)
        pen.bar(x, z, (0.0, height), (0.0, tall), 0.18, arm)
        pen.bar(x, z, (0.0, tall), (reach, tall + 0.2), 0.16, arm)
        _signal_head(pen, x, z, (reach, tall - 0.3), size)
    _signal_head(pen, x, z, (dice.between(-0.2, 0.2), height - 0.3 * size), size)


def _plate(pen: Pen, x: float, z: float, at: tuple[float, float], size: float, outline: Flat, colour: Rgb) -> None:
    paint = pen.paint(SIGN, colour, z, 0.02, 0.04)
    pen.flat(x, z, [(at[0] + size * u, at[1] + size * v) for u, v in outline], paint)


def _face(dice: Dice) -> tuple[Flat, Rgb, Rgb]:
    """Outline, rim colour and field colour of a sign."""
    red, white = dice.colour((0.97, 1.03), (0.7, 0.95), (0.55, 0.9)), dice.grey(0.7, 0.95)
    blue, yellow = (
        dice.colour((0.57, 0.64), (0.6, 0.95), (0.4, 0.8)),
        dice.colour((0.11, 0.15), (0.7, 0.95), (0.7, 0.95)),
    )
    grey = dice.grey(0.35, 0.6)
    return dice.pick(
        [
            (OCTAGON, red, white),
            (OCTAGON, white, red),
            (OCTAGON, white, blue),
            (TRIANGLE, red, white),
            (SQUARE, white, blue),
            (DIAMOND, white, yellow),
            (PLATE, white, blue),
            (PLATE, shade(yellow, 0.3), yellow),
            (OCTAGON, grey, shade(grey, 1.1)),
        ]
    )


def traffic_sign(pen: Pen, x: float, z: float) -> None:
    """Draw one or two signs on a post."""
    dice = pen.dice
    height = dice.between(2.4, 3.4)
    post(pen, x, z, height, dice.between(0.16, 0.24))
    for step in range(dice.count(1, 2)):
        outline, rim, inner = _face(dice)
        size = dice.between(0.45, 0.7)
        at = (0.0, height - 0.1 - 1.3 * step)
        _plate(pen, x, z, at, size, outline, rim)
        _plate(pen, x, z, at, size * 0.78, outline, inner)
        symbol = dice.pick([(0.1, 0.1, 0.1), rim, shade(inner, 0.7)])
        _plate(pen, x, z, at, size * 0.3, dice.pick([SQUARE, DIAMOND, PLATE]), symbol)


def gantry(pen: Pen, x: float, z: float, half: float) -> None:
    """Draw a sign bridge over the road at depth z; `half` is half the road's width plus clearance, metres."""
    dice, height = pen.dice, pen.dice.between(5.5, 7.0)
    post(pen, x - half, z, height + 0.6, 0.3)
    post(pen, x + half, z, height + 0.6, 0.3)
    beam = pen.paint(POLE, dice.grey(0.3, 0.65), z)
    pen.bar(x, z, (-half, height + 0.3), (half, height + 0.3), 0.3, beam)
    colour = dice.pick([(0.08, 0.25, 0.6), (0.05, 0.4, 0.25), (0.75, 0.65, 0.2)])
    for centre in (-0.45, 0.4):
        at = (centre * half, height + dice.between(0.2, 0.5))
        _plate(pen, x, z, at, 1.5, PLATE, (0.9, 0.9, 0.9))
        _plate(pen, x, z, at, 1.4, PLATE, colour)
        _plate(
            pen,
            x,
            z,
            (at[0], at[1] + 0.2),
            0.7,
            [(-1.0, 0.15), (1.0, 0.15), (1.0, -0.15), (-1.0, -0.15)],
            (0.9, 0.9, 0.9),
        )
