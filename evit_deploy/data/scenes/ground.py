# SPDX-License-Identifier: Apache-2.0
"""Sky, road, pavements and verges, and the paint on the road."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evit_deploy.data.scenes.canvas import Paint
from evit_deploy.data.scenes.dice import Dice, Rgb, mix, shade
from evit_deploy.data.scenes.pen import Pen, Point

ROAD, SIDEWALK, TERRAIN, SKY = 0, 1, 9, 10
FAR = 120.0  # metres; nothing of the ground is painted beyond
BANDS = np.array([3.5, 6.0, 9.0, 13.0, 19.0, 28.0, 45.0, 80.0])
BAND_DEPTHS = (2.5, 4.5, 7.5, 11.0, 16.0, 23.0, 36.0, 60.0, 130.0)
SKY_STEPS = 40
CLOUD_LEVELS = (0.0, 0.05, 0.1)


@dataclass(frozen=True)
class Side:
    """Ground of one side of the street, going outward from the road's edge; metres.

    Attributes:
        sidewalk: Width of the pavement, 0 for none.
        verge: Width of the planted strip.
        verge_first: True when the strip lies between road and pavement.
        beyond: Label of everything further out (sidewalk or terrain).
    """

    sidewalk: float
    verge: float
    verge_first: bool
    beyond: int

    @property
    def depth(self) -> float:
        """Distance from the road's edge to the row of buildings."""
        return self.sidewalk + self.verge


@dataclass(frozen=True)
class Street:
    """Lanes, sides and the crossing road, if any.

    Attributes:
        lanes: Number of lanes.
        lane: Lane width, metres.
        left: Left side.
        right: Right side.
        crossing: (near, far) depth of a crossing road, metres, or None.
    """

    lanes: int
    lane: float
    left: Side
    right: Side
    crossing: tuple[float, float] | None

    @property
    def half(self) -> float:
        """Half the width of the road, metres."""
        return 0.5 * self.lanes * self.lane

    def side(self, sign: int) -> Side:
        """Left side for -1, right side for +1."""
        return self.left if sign < 0 else self.right


def draw_street(dice: Dice) -> Street:
    """Draw the plan of the ground."""
    near = dice.between(14.0, 34.0)
    return Street(
        lanes=dice.count(2, 4),
        lane=dice.between(2.9, 3.7),
        left=_draw_side(dice),
        right=_draw_side(dice),
        crossing=(near, near + dice.between(6.0, 12.0)) if dice.chance(0.35) else None,
    )


def _draw_side(dice: Dice) -> Side:
    sidewalk = dice.between(1.8, 4.5) if dice.chance(0.9) else 0.0
    verge = dice.between(1.5, 6.0) if dice.chance(0.65) else 0.0
    return Side(sidewalk, verge, dice.chance(0.4), TERRAIN if dice.chance(0.55) else SIDEWALK)


def paint_sky(pen: Pen, sky: tuple[Rgb, Rgb], clouds: NDArray[np.float32], cover: float) -> None:
    """Fill the whole canvas with a graded sky.

    Args:
        pen: Scene pen.
        sky: Colours at the top and at the horizon.
        clouds: float32 [H, W] smooth noise within +-0.5.
        cover: Covered share 0..0.6, roughly.
    """
    canvas, camera, dice = pen.canvas, pen.camera, pen.dice
    lit = dice.between(0.75, 1.0)
    first = len(canvas.paints)
    for layer in range(len(CLOUD_LEVELS) + 1):
        for step in range(SKY_STEPS):
            colour = mix(sky[0], sky[1], step / (SKY_STEPS - 1))
            colour = mix(colour, (lit, lit, lit), 0.22 * layer)
            canvas.paint(Paint(colour, SKY, 0.0, 0.008, 0.02, glow=True))
    rows = (np.arange(camera.rows, dtype=np.float32) + np.float32(0.5)) / np.float32(max(camera.horizon, 1.0))
    step_ids = np.minimum(rows * np.float32(SKY_STEPS), np.float32(SKY_STEPS - 1)).astype(np.uint16) + np.uint16(first)
    canvas.ids[:] = step_ids[:, None]
    top = canvas.ids[: max(1, int(camera.horizon * 1.15))]
    for level in CLOUD_LEVELS:
        np.add(top, np.uint16(SKY_STEPS), out=top, where=clouds[: len(top)] > np.float32(level + 0.3 - cover))


def paint_ground(pen: Pen, street: Street) -> None:
    """Paint everything below the horizon from the plan of the street."""
    top = _first_ground_row(pen)
    if top >= pen.camera.rows:
        return
    z, lateral, below = _ground_frame(pen, top)
    edges, materials = _strips(street)
    strip = np.zeros(lateral.shape, dtype=np.uint8)
    for edge in edges:
        strip += lateral > np.float32(edge)
    if street.crossing is not None:
        np.copyto(strip, np.uint8(len(materials) - 1), where=(z > street.crossing[0]) & (z < street.crossing[1]))
    band = np.zeros(z.shape, dtype=np.uint8)
    for limit in BANDS:
        band += z > np.float32(limit)
    table = _ground_paints(pen, materials)
    index = strip.astype(np.uint16) * np.uint16(len(BAND_DEPTHS)) + band
    np.copyto(pen.canvas.ids[top:], np.take(table, index), where=below)


def _first_ground_row(pen: Pen) -> int:
    camera = pen.camera
    ends = camera.shear(np.array([0.0, float(camera.columns)]))
    rise = 2.0 * np.sqrt(max(camera.view.hill, 0.0) * camera.view.height) * camera.focal
    hidden = camera.view.hill * FAR * camera.focal if camera.view.hill > 0 else -rise
    return int(min(max(0.0, camera.horizon + float(ends.min()) - max(hidden, 0.0) - 2), camera.rows))


def _ground_frame(pen: Pen, top: int) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]]:
    """Depth and lateral position (metres from the centre line) of every pixel from row `top` down."""
    camera, view = pen.camera, pen.camera.view
    u = np.arange(camera.columns, dtype=np.float64) + 0.5
    row = (np.arange(top, camera.rows, dtype=np.float32) + np.float32(0.5)) / np.float32(camera.focal)
    tilt = ((camera.horizon + camera.shear(u)) / camera.focal).astype(np.float32)
    fall = row[:, None] - tilt[None, :]
    # height = fall * z + hill * z^2 solved for z in the form that stays finite as hill goes to 0
    inside = fall * fall + np.float32(4.0 * view.hill * view.height)
    root = np.sqrt(np.maximum(inside, np.float32(0.0)))
    z = np.float32(2.0 * view.height) / np.maximum(fall + root, np.float32(1e-4))
    below = (inside > 0) & (z < np.float32(FAR)) & (fall + root > np.float32(1e-4))
    ray = ((u - camera.centre) / camera.focal).astype(np.float32)
    lateral = (ray[None, :] - np.float32(view.bend) * z) * z + np.float32(view.lateral)
    return z, lateral, below


def _strips(street: Street) -> tuple[list[float], list[int]]:
    """Lateral borders (ascending) and the material of each strip between them; the last material is the crossing.

    Materials: 0 road, 1 kerb, 2 pavement, 3 verge, 4 beyond as pavement, 5 beyond as terrain.
    """
    half, kerb = street.half, 0.18
    outward: dict[int, list[tuple[float, int]]] = {}
    for sign in (-1, 1):
        side = street.side(sign)
        order = [(side.verge, 3), (side.sidewalk, 2)] if side.verge_first else [(side.sidewalk, 2), (side.verge, 3)]
        outward[sign] = [(kerb, 1)] + [strip for strip in order if strip[0] > 0]
        outward[sign].append((1e6, 5 if side.beyond == TERRAIN else 4))
    edges, materials = [-half], [0]
    for width, material in outward[-1]:
        materials.insert(0, material)
        edges.insert(0, edges[0] - width)
    edges.append(half)
    for width, material in outward[1]:
        materials.append(material)
        edges.append(edges[-1] + width)
    return edges[1:-1], [*materials, 0]


def _ground_paints(pen: Pen, materials: list[int]) -> NDArray[np.uint16]:
    """Paint numbers [strip * bands + band]."""
    dice = pen.dice
    asphalt = mix(dice.grey(0.2, 0.42), (0.2, 0.22, 0.28), 0.3)
    paving = dice.grey(0.5, 0.78, 0.04) if dice.chance(0.3) else dice.colour((0.02, 0.11), (0.1, 0.35), (0.5, 0.8))
    lawn = dice.colour((0.19, 0.31), (0.45, 0.7), (0.42, 0.68))
    soil = dice.colour((0.1, 0.16), (0.4, 0.6), (0.4, 0.62))
    verge, outer = (dice.pick([lawn, lawn, soil]) for _ in range(2))
    looks: list[tuple[int, Rgb, float, float]] = [
        (ROAD, asphalt, 0.07, 0.07),
        (SIDEWALK, shade(paving, dice.between(1.05, 1.3)), 0.04, 0.05),
        (SIDEWALK, paving, 0.06, 0.08),
        (TERRAIN, verge, 0.16, 0.16),
        (SIDEWALK, shade(paving, dice.between(0.85, 1.1)), 0.06, 0.1),
        (TERRAIN, outer, 0.16, 0.2),
    ]
    numbers = []
    for material in materials:
        label, colour, fine, coarse = looks[material]
        fades = [shade(colour, 1.0 + 0.02 * step) for step in range(len(BAND_DEPTHS))]
        numbers += [pen.paint(label, fade, depth, fine, coarse) for fade, depth in zip(fades, BAND_DEPTHS, strict=True)]
    return np.array(numbers, dtype=np.uint16)


def paint_markings(pen: Pen, street: Street) -> None:
    """Lane lines, worn patches and, before a crossing road, a zebra crossing."""
    dice = pen.dice
    tint = dice.pick([(0.85, 0.85, 0.82), (0.72, 0.72, 0.7), (0.8, 0.68, 0.25)])
    _patches(pen, street)
    dash, gap, width = dice.between(2.0, 5.0), dice.between(2.0, 6.0), dice.between(0.1, 0.18)
    for lane in range(street.lanes + 1):
        lateral = -street.half + lane * street.lane
        edge = lane in (0, street.lanes)
        if dice.chance(0.5 if edge else 0.9):
            inset = 0.25 if lane == 0 else -0.25 if edge else 0.0
            _line(pen, street, lateral + inset, (4.0, 0.0) if edge else (dash, gap), width, tint)
    if street.crossing is not None and dice.chance(0.8):
        _zebra(pen, street, tint)


def _quad(pen: Pen, lateral: tuple[float, float], depth: tuple[float, float]) -> list[Point]:
    camera, (left, right), (near, far) = pen.camera, lateral, depth
    near_points = [(camera.street_x(left, near), 0.0, near), (camera.street_x(right, near), 0.0, near)]
    return [*near_points, (camera.street_x(right, far), 0.0, far), (camera.street_x(left, far), 0.0, far)]


def _line(pen: Pen, street: Street, lateral: float, rhythm: tuple[float, float], width: float, colour: Rgb) -> None:
    z = 1.2 + pen.dice.between(0.0, 2.0)
    while z < 55.0:
        far = z + rhythm[0]
        clear = street.crossing is None or far < street.crossing[0] - 4.0 or z > street.crossing[1]
        if clear:
            paint = pen.paint(ROAD, colour, z, 0.06, 0.1)
            pen.polygon(_quad(pen, (lateral - width / 2, lateral + width / 2), (z, far)), paint)
        z = far + rhythm[1]


def _zebra(pen: Pen, street: Street, colour: Rgb) -> None:
    assert street.crossing is not None
    near = street.crossing[0] - 3.6
    paint = pen.paint(ROAD, colour, near, 0.06, 0.1)
    lateral = -street.half + 0.3
    while lateral < street.half - 0.4:
        pen.polygon(_quad(pen, (lateral, lateral + 0.5), (near, near + 3.0)), paint)
        lateral += 1.0


def _patches(pen: Pen, street: Street) -> None:
    dice = pen.dice
    for _ in range(dice.count(1, 6)):
        z, lateral = dice.between(3.0, 30.0), dice.between(-street.half, street.half - 1.0)
        paint = pen.paint(ROAD, dice.grey(0.15, 0.45), z, 0.08, 0.08)
        width = min(dice.between(0.4, 2.5), street.half - lateral)
        pen.polygon(_quad(pen, (lateral, lateral + width), (z, z + dice.between(0.6, 6.0))), paint)
