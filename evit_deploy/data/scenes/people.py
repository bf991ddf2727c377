# SPDX-License-Identifier: Apache-2.0
"""Pedestrians, and bicycles and motorcycles with or without a rider: flat figures built of bars and ellipses."""

from __future__ import annotations

from dataclasses import dataclass

from evit_deploy.data.scenes.dice import Dice, Rgb, shade
from evit_deploy.data.scenes.pen import Flat, Pen

PERSON, RIDER, MOTORCYCLE, BICYCLE = 11, 12, 17, 18


@dataclass(frozen=True)
class Figure:
    """Draws one object in the frontal plane at depth z, mirrored and squeezed sideways.

    Attributes:
        pen: Scene pen.
        x: World x of its middle, metres.
        z: Depth, metres.
        label: Train id.
        squeeze: Sideways scale, negative to mirror; 1 is the side view, near 0 the view from behind.
        size: Overall scale.
    """

    pen: Pen
    x: float
    z: float
    label: int
    squeeze: float
    size: float

    def paint(self, colour: Rgb) -> int:
        """Add a paint of this object."""
        return self.pen.paint(self.label, colour, self.z, 0.05, 0.1)

    def at(self, point: tuple[float, float]) -> tuple[float, float]:
        """Metres (right, up) of a point of the figure's plan."""
        return point[0] * self.squeeze * self.size, point[1] * self.size

    def bar(self, start: tuple[float, float], end: tuple[float, float], width: float, paint: int) -> None:
        """Draw a thick line."""
        self.pen.bar(self.x, self.z, self.at(start), self.at(end), width * self.size, paint)

    def blob(self, at: tuple[float, float], radius: tuple[float, float], paint: int, turn: bool = False) -> None:
        """Draw an ellipse; with `turn` its width follows the view like a disc seen at an angle."""
        width = max(radius[0] * abs(self.squeeze), 0.06) if turn else radius[0]
        self.pen.blob(self.x, self.z, self.at(at), (width * self.size, radius[1] * self.size), paint)

    def shape(self, points: Flat, paint: int) -> None:
        """Fill a polygon."""
        self.pen.flat(self.x, self.z, [self.at(point) for point in points], paint)


@dataclass(frozen=True)
class Clothes:
    """Colours of a person."""

    skin: Rgb
    hair: Rgb
    top: Rgb
    legs: Rgb


def draw_clothes(dice: Dice, riding: bool = False) -> Clothes:
    """Draw the colours of a person; many of those riding wear signal colours."""
    light = dice.between(0.35, 0.95)
    top = dice.colour((0.0, 1.0), (0.1, 0.7), (0.1, 0.6)) if dice.chance(0.65) else dice.grey(0.05, 0.6)
    if riding and dice.chance(0.7):
        top = dice.pick(
            [dice.colour((0.11, 0.2), (0.75, 0.95), (0.8, 1.0)), dice.colour((0.03, 0.07), (0.8, 1.0), (0.8, 1.0))]
        )
    return Clothes(
        skin=(light, light * 0.76, light * 0.62),
        hair=dice.colour((0.02, 0.12), (0.2, 0.6), (0.05, 0.5)),
        top=top,
        legs=dice.pick([dice.colour((0.58, 0.66), (0.2, 0.6), (0.15, 0.5)), dice.grey(0.05, 0.4), dice.grey(0.3, 0.7)]),
    )


def pedestrian(pen: Pen, x: float, z: float) -> None:
    """Draw a standing or walking person."""
    dice, clothes = pen.dice, draw_clothes(pen.dice)
    figure = Figure(pen, x, z, PERSON, float(dice.side()), dice.between(0.88, 1.1) if dice.chance(0.9) else 0.65)
    pen.shadow([(x - 0.3, 0.0, z - 0.15), (x + 0.5, 0.0, z - 0.15), (x + 0.5, 0.0, z + 0.3), (x - 0.3, 0.0, z + 0.3)])
    skin, top, legs = (figure.paint(colour) for colour in (clothes.skin, clothes.top, clothes.legs))
    sleeve, shoe = figure.paint(shade(clothes.top, 0.8)), figure.paint((0.08, 0.07, 0.07))
    stride = dice.between(0.04, 0.34)
    wide = dice.between(0.2, 0.27)
    for foot in (-stride, stride):
        figure.bar((foot * 0.15, 0.9), (foot, 0.05), 0.17, legs)
        figure.bar((foot - 0.05, 0.04), (foot + 0.14, 0.04), 0.09, shoe)
    if dice.chance(0.25):
        figure.shape([(-wide, 0.95), (wide, 0.95), (wide * 1.4, 0.45), (-wide * 1.4, 0.45)], top)
    figure.shape(
        [(-wide * 0.85, 0.82), (wide * 0.85, 0.82), (wide, 1.42), (wide * 0.5, 1.5), (-wide * 0.5, 1.5), (-wide, 1.42)],
        top,
    )
    swing = dice.between(-0.25, 0.3)
    figure.bar((-wide, 1.4), (-wide - 0.06 - swing * 0.5, 0.85), 0.1, sleeve)
    figure.bar((wide, 1.4), (wide + 0.06 + swing * 0.5, 0.85), 0.1, sleeve)
    figure.bar((0.0, 1.45), (0.0, 1.56), 0.1, skin)
    figure.blob((0.01, 1.62), (0.105, 0.135), skin)
    figure.blob((-0.02, 1.67), (0.115, 0.1), figure.paint(clothes.hair))
    if dice.chance(0.4):
        side = wide + 0.05
        bag = figure.paint(dice.colour((0.0, 1.0), (0.1, 0.8), (0.1, 0.7)))
        figure.shape([(side - 0.1, 0.65), (side + 0.18, 0.65), (side + 0.16, 1.0), (side - 0.08, 1.0)], bag)


def _sitting(
    figure: Figure, seat: tuple[float, float], hands: tuple[float, float], foot: tuple[float, float], helmet: bool
) -> None:
    """Draw a rider between seat, handlebar and pedal (right, up in metres)."""
    dice, clothes = figure.pen.dice, draw_clothes(figure.pen.dice, riding=True)
    skin, top, legs = (figure.paint(colour) for colour in (clothes.skin, clothes.top, clothes.legs))
    shoulder = (seat[0] + 0.24 + dice.between(-0.08, 0.1), seat[1] + 0.55)
    knee = (seat[0] + 0.38, seat[1] - 0.12)
    figure.bar((seat[0], seat[1] + 0.05), knee, 0.19, legs)
    figure.bar(knee, foot, 0.14, legs)
    figure.bar((foot[0] - 0.06, foot[1]), (foot[0] + 0.16, foot[1]), 0.09, figure.paint((0.07, 0.07, 0.07)))
    figure.bar((seat[0], seat[1] - 0.06), shoulder, 0.36, top)
    figure.blob(shoulder, (0.2, 0.14), top)
    figure.bar(shoulder, hands, 0.11, figure.paint(shade(clothes.top, 0.8)))
    head = (shoulder[0] + 0.1, shoulder[1] + 0.26)
    figure.blob(head, (0.11, 0.14), skin)
    if helmet or dice.chance(0.7):
        shell = figure.paint(dice.colour((0.0, 1.0), (0.0, 0.9), (0.1, 0.9)))
        figure.blob((head[0] - 0.01, head[1] + (0.03 if helmet else 0.08)), (0.15, 0.16 if helmet else 0.1), shell)
    else:
        figure.blob((head[0] - 0.03, head[1] + 0.05), (0.12, 0.1), figure.paint(clothes.hair))


def _view(dice: Dice) -> float:
    return dice.side() * (dice.between(0.25, 0.5) if dice.chance(0.3) else dice.between(0.6, 1.0))


def bicycle(pen: Pen, x: float, z: float, ridden: bool) -> None:
    """Draw a bicycle, with its rider when `ridden`; the area inside the wheels counts as bicycle."""
    dice = pen.dice
    figure = Figure(pen, x, z, BICYCLE, _view(dice), dice.between(0.95, 1.15))
    colour = dice.colour((0.0, 1.0), (0.2, 0.95), (0.15, 0.85)) if dice.chance(0.7) else dice.grey(0.05, 0.8)
    paint, dark = figure.paint(colour), figure.paint((0.06, 0.06, 0.06))
    spokes = figure.paint(dice.grey(0.25, 0.5))
    rear, front, crank, seat, head = (-0.52, 0.36), (0.54, 0.36), (-0.05, 0.32), (-0.22, 0.88), (0.36, 0.9)
    for hub in (rear, front):
        figure.blob(hub, (0.38, 0.38), dark, turn=True)
        figure.blob(hub, (0.30, 0.31), spokes, turn=True)
        figure.blob(hub, (0.05, 0.05), dark)
    for start, end in ((rear, crank), (rear, seat), (crank, seat), (crank, head), (seat, head), (head, front)):
        figure.bar(start, end, 0.065, paint)
    figure.bar(head, (0.33, 1.03), 0.05, dark)
    figure.bar((0.22, 1.03), (0.42, 1.05), 0.06, dark)
    figure.bar((-0.34, 0.93), (-0.1, 0.93), 0.08, dark)
    if dice.chance(0.3):
        figure.shape([(0.4, 0.7), (0.72, 0.7), (0.76, 0.98), (0.38, 0.98)], figure.paint(dice.grey(0.2, 0.6)))
    if ridden:
        rider = Figure(pen, x, z, RIDER, figure.squeeze, figure.size)
        _sitting(rider, (-0.2, 0.98), (0.36, 1.06), (-0.02, 0.2), False)


def motorcycle(pen: Pen, x: float, z: float, ridden: bool) -> None:
    """Draw a motorcycle or scooter, with its rider when `ridden`."""
    dice = pen.dice
    figure = Figure(pen, x, z, MOTORCYCLE, _view(dice), dice.between(0.98, 1.15))
    colour = dice.colour((0.0, 1.0), (0.5, 0.95), (0.25, 0.8)) if dice.chance(0.75) else dice.grey(0.05, 0.6)
    paint, dark, metal = figure.paint(colour), figure.paint((0.07, 0.07, 0.07)), figure.paint(dice.grey(0.35, 0.6))
    for hub in (-0.68, 0.74):
        figure.blob((hub, 0.33), (0.34, 0.34), dark, turn=True)
        figure.blob((hub, 0.33), (0.19, 0.19), metal, turn=True)
    figure.bar((0.74, 0.33), (0.46, 0.98), 0.1, metal)
    figure.shape([(-0.38, 0.22), (0.4, 0.22), (0.48, 0.6), (-0.4, 0.6)], metal)
    figure.shape([(-0.3, 0.18), (0.28, 0.18), (0.3, 0.42), (-0.34, 0.42)], dark)
    figure.shape([(-0.12, 0.55), (0.42, 0.55), (0.52, 0.98), (0.1, 0.95)], paint)
    figure.shape([(-0.85, 0.68), (-0.2, 0.55), (-0.1, 0.82), (-0.92, 0.95)], paint)
    figure.shape([(-0.78, 0.8), (0.05, 0.72), (0.08, 0.9), (-0.74, 0.95)], dark)
    figure.bar((-0.95, 0.34), (-0.1, 0.28), 0.12, metal)
    figure.shape([(0.5, 0.68), (0.94, 0.66), (0.98, 0.76), (0.5, 0.8)], paint)
    figure.shape([(0.42, 0.8), (0.64, 0.82), (0.56, 1.3), (0.44, 1.22)], paint)
    figure.bar((0.36, 1.05), (0.5, 1.0), 0.1, dark)
    figure.blob((0.63, 0.95), (0.08, 0.1), figure.paint((0.9, 0.88, 0.7)))
    if ridden:
        rider = Figure(pen, x, z, RIDER, figure.squeeze, figure.size)
        _sitting(rider, (-0.25, 0.95), (0.38, 1.08), (0.05, 0.25), True)
