# SPDX-License-Identifier: Apache-2.0
"""Cars, trucks, buses and trams."""

from __future__ import annotations

from evit_deploy.data.scenes.dice import Dice, Rgb, shade
from evit_deploy.data.scenes.pen import Pen
from evit_deploy.data.scenes.solids import Body, Frame, Rib, rectangle

CAR, TRUCK, BUS, TRAIN = 13, 14, 15, 16
GLASS: Rgb = (0.12, 0.14, 0.17)


def body_colour(dice: Dice) -> Rgb:
    """A vehicle colour: grey tones half of the time."""
    if dice.chance(0.5):
        return dice.grey(0.08, 0.9, 0.02)
    return dice.colour((0.0, 1.0), (0.3, 0.9), (0.2, 0.8))


def _box(rear: float, front: float, low: float, high: float, half: float, taper: float = 0.0) -> list[Rib]:
    """Ribs of a box; `taper` narrows its top."""
    top = half - taper
    return [(rear, low, half), (rear, high, top), (front, high, top), (front, low, half)]


def _lamps(body: Body, half_length: float, half_width: float, height: float) -> None:
    """Draw rear and front lamps and plates."""
    red, white = body.paint((0.65, 0.06, 0.05)), body.paint((0.92, 0.92, 0.85))
    plate = body.paint((0.8, 0.8, 0.76))
    for side in (-1, 1):
        outer, inner = side * half_width * 0.95, side * half_width * 0.62
        lamp = rectangle(min(outer, inner), height * 0.85, max(outer, inner), height * 1.15)
        body.end(-half_length, False, lamp, red)
        body.end(half_length, True, lamp, white)
    for at, front in ((-half_length, False), (half_length, True)):
        body.end(at, front, rectangle(-0.28, height * 0.6, 0.28, height * 0.75), plate)


def car(pen: Pen, frame: Frame, sun: int) -> None:
    """Draw a car: saloon, hatchback or van."""
    dice, body = pen.dice, Body(pen, frame, CAR, sun)
    kind = dice.pick(["saloon", "hatch", "hatch", "van"])
    half, width = dice.between(1.9, 2.4), dice.between(0.85, 0.96)
    waist = dice.between(0.82, 1.0)
    height = dice.between(1.75, 2.05) if kind == "van" else dice.between(1.38, 1.62)
    colour = body_colour(dice)
    body.shadow(half + 0.1, width + 0.15)
    body.solid(_box(-half, half, 0.22, waist, width, 0.04), colour)
    rear = {"saloon": -0.72, "hatch": -0.95, "van": -0.98}[kind] * half
    hood = (0.62 if kind == "van" else dice.between(0.42, 0.5)) * half
    lean = 0.1 if kind == "van" else 0.3
    roof = [(rear + lean, height, width - 0.2), (hood - 0.55, height, width - 0.2)]
    ribs = [(rear, waist, width - 0.04), *roof, (hood, waist, width - 0.04)]
    body.solid(ribs, colour)
    _car_glass(body, ribs, shade(GLASS, dice.between(0.7, 1.8)))
    for at in (-0.6, 0.62):
        body.wheel(at * half, width, 0.33)
    _lamps(body, half, width, 0.68)
    body.end(half, True, rectangle(-0.5, 0.3, 0.5, 0.55), body.paint((0.08, 0.08, 0.09)))
    body.end(-half, False, rectangle(-width, 0.24, width, 0.38), body.paint((0.1, 0.1, 0.11)))


def _car_glass(body: Body, ribs: list[Rib], tint: Rgb) -> None:
    """Draw side windows, windscreen and rear window inside the cabin's faces."""
    (rear, waist, wide), (rear_top, top, narrow), (front_top, _, _), (front, _, _) = ribs
    glass = body.paint(tint, 0.02, 0.15)
    low, high = waist + 0.04, top - 0.09
    middle = 0.5 * (rear_top + front_top)
    half = 0.5 * (wide + narrow)
    body.flank([(rear + 0.15, low), (rear_top + 0.06, high), (middle - 0.04, high), (middle - 0.04, low)], half, glass)
    body.flank([(middle + 0.04, low), (middle + 0.04, high), (front_top - 0.06, high), (front - 0.2, low)], half, glass)
    for at, at_top in ((rear, rear_top), (front, front_top)):
        share = 0.12
        low_w, high_w = wide - 0.1, narrow - 0.08
        bottom, upper = at + (at_top - at) * share, at_top - (at_top - at) * share
        face = [(bottom, low, -low_w), (bottom, low, low_w), (upper, high, high_w), (upper, high, -high_w)]
        points = [body.frame.point(s, y, w) for s, y, w in face]
        if body.sees(points if at_top < at else points[::-1]):
            body.pen.polygon(points, glass)


def truck(pen: Pen, frame: Frame, sun: int) -> None:
    """Draw a truck: a cab and a box, tank or tarpaulin of another colour."""
    dice, body = pen.dice, Body(pen, frame, TRUCK, sun)
    half, width = dice.between(3.2, 5.2), dice.between(1.15, 1.28)
    cargo_top, cab_top = dice.between(2.9, 3.8), dice.between(2.4, 3.0)
    cab = half - dice.between(1.7, 2.1)
    cargo = dice.pick([dice.grey(0.65, 0.95), dice.grey(0.65, 0.95), dice.colour((0.58, 0.67), (0.3, 0.8), (0.4, 0.8))])
    paint = body_colour(dice)
    body.shadow(half + 0.2, width + 0.3)
    body.solid(_box(-half, half, 0.45, 0.95, width * 0.9), dice.grey(0.08, 0.25))
    load, driver = _box(-half, cab - 0.25, 0.95, cargo_top, width), _box(cab, half, 0.6, cab_top, width * 0.97, 0.08)
    parts = [(load, cargo), (driver, paint)]
    # the farther part first
    for ribs, colour in parts if frame.heading[1] < 0 else parts[::-1]:
        body.solid(ribs, colour)
    glass, trim = body.paint(GLASS), body.paint(shade(cargo, 0.75))
    body.flank(rectangle(cab + 0.5, cab_top - 1.1, half - 0.15, cab_top - 0.3), width * 0.95, glass)
    body.end(half, True, rectangle(-width * 0.82, cab_top - 1.2, width * 0.82, cab_top - 0.25), glass)
    body.end(half, True, rectangle(-width * 0.6, 0.75, width * 0.6, 1.15), body.paint((0.1, 0.1, 0.1)))
    body.end(-half, False, rectangle(-0.04, 1.0, 0.04, cargo_top - 0.05), trim)
    body.end(-half, False, rectangle(-width, 0.9, width, 1.05), trim)
    for at in (-0.72, -0.45, 0.78):
        body.wheel(at * half, width, 0.5)
    _lamps(body, half, width, 0.8)


def bus(pen: Pen, frame: Frame, sun: int) -> None:
    """Draw a bus: a long box with a band of windows, doors and wheels."""
    dice, body = pen.dice, Body(pen, frame, BUS, sun)
    half, width, top = dice.between(4.6, 6.2), 1.27, dice.between(2.95, 3.3)
    usual = dice.pick([(0.11, 0.16), (0.96, 1.03)])
    colour = dice.colour(usual if dice.chance(0.8) else (0.0, 1.0), (0.65, 0.95), (0.5, 0.9))
    band = dice.pick([shade(colour, 0.55), dice.grey(0.75, 0.95), body_colour(dice)])
    body.shadow(half + 0.2, width + 0.3)
    body.solid(_box(-half, half, 0.35, top, width, 0.06), colour)
    glass, lower = body.paint(GLASS, 0.02, 0.15), body.paint(band)
    body.flank(rectangle(-half + 0.1, 0.5, half - 0.1, 0.9), width, lower)
    panes = dice.count(5, 7)
    step = (2 * half - 0.5) / panes
    for pane in range(panes):
        left = -half + 0.25 + pane * step
        body.flank(rectangle(left + 0.06, 1.35, left + step - 0.06, 2.45), width - 0.03, glass)
    body.flank(rectangle(half - 1.6, 0.45, half - 0.5, 2.5), width, glass)
    for at, front in ((half, True), (-half, False)):
        body.end(at, front, rectangle(-width * 0.88, 1.2 if front else 1.6, width * 0.88, 2.5), glass)
        body.end(at, front, rectangle(-width * 0.6, 2.58, width * 0.6, 2.85), body.paint((0.85, 0.6, 0.1)))
    for at in (-0.55, 0.55):
        body.wheel(at * half, width, 0.48)
    _lamps(body, half, width, 0.75)


def tram(pen: Pen, frame: Frame, sun: int) -> None:
    """Draw a tram: a very long box with tapered ends, a skirt instead of wheels, and gear on the roof."""
    dice, body = pen.dice, Body(pen, frame, TRAIN, sun)
    half, width, top = dice.between(8.0, 13.0), dice.between(1.2, 1.35), dice.between(3.3, 3.7)
    colour = dice.colour((0.36, 0.52) if dice.chance(0.8) else (0.0, 1.0), (0.4, 0.9), (0.35, 0.8))
    band, slope = dice.pick([shade(colour, 0.5), (0.85, 0.84, 0.78), (0.85, 0.84, 0.78)]), dice.between(0.5, 1.2)
    body.shadow(half + 0.1, width + 0.3)
    body.solid(_box(-half * 0.6, half * 0.6, top, top + 0.45, width * 0.7), dice.grey(0.3, 0.6))
    rear = [(-half, 0.15, width), (-half, 1.2, width), (-half + slope, top, width - 0.2)]
    body.solid([*rear, *((-s, y, w) for s, y, w in rear[::-1])], colour)
    glass, lower = body.paint(GLASS, 0.02, 0.15), body.paint(band)
    body.flank(rectangle(-half + 0.2, 0.15, half - 0.2, 0.6), width, lower)
    body.flank(rectangle(-half + slope + 0.2, 1.45, half - slope - 0.2, 2.65), width - 0.1, glass)
    pillar = body.paint(colour)
    at = -half + slope + 1.6
    while at < half - slope - 1.0:
        body.flank(rectangle(at, 0.6, at + 0.22, 2.7), width - 0.1, pillar)
        at += 2.3
    for sign in (-1, 1):
        low, high = sign * (half - slope * 0.12), sign * (half - slope * 0.72)
        lower_edge, upper_edge = [(low, 1.45, -width * 0.85), (low, 1.45, width * 0.85)], [(high, 2.85, width * 0.75)]
        face = [*lower_edge, *upper_edge, (high, 2.85, -width * 0.75)]
        points = [frame.point(s, y, w) for s, y, w in face]
        if body.sees(points if sign > 0 else points[::-1]):
            pen.polygon(points, glass)
        body.end(sign * half, sign > 0, rectangle(-0.75, 0.75, -0.4, 0.98), body.paint((0.95, 0.93, 0.8)))
        body.end(sign * half, sign > 0, rectangle(0.4, 0.75, 0.75, 0.98), body.paint((0.95, 0.93, 0.8)))
        body.end(sign * half, sign > 0, rectangle(-width, 0.15, width, 0.5), lower)
