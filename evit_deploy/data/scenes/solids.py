# SPDX-License-Identifier: Apache-2.0
"""Convex solids with a side profile, the building blocks of vehicles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from evit_deploy.data.scenes.dice import Rgb, shade
from evit_deploy.data.scenes.pen import Pen, Point

Rib = tuple[float, float, float]  # metres forward, metres up, half width


@dataclass(frozen=True)
class Frame:
    """Position and heading of an object on the ground.

    Attributes:
        x: World x of its middle, metres.
        z: World z of its middle, metres.
        heading: Unit vector (x, z) of its forward direction.
    """

    x: float
    z: float
    heading: tuple[float, float]

    def point(self, forward: float, up: float, right: float) -> Point:
        """World point of local coordinates in metres."""
        hx, hz = self.heading
        return self.x + forward * hx + right * hz, up, self.z + forward * hz - right * hx


def unit(x: float, z: float) -> tuple[float, float]:
    """Scale a direction to length 1."""
    length = max(float(np.sqrt(x * x + z * z)), 1e-9)
    return x / length, z / length


@dataclass(frozen=True)
class Body:
    """Draws convex solids and their details for one object.

    Attributes:
        pen: Scene pen.
        frame: Position and heading.
        label: Train id of the object.
        sun: Side from which the sun shines (-1, +1).
    """

    pen: Pen
    frame: Frame
    label: int
    sun: int

    def sees(self, face: Sequence[Point]) -> bool:
        """True when a planar face looks towards the camera; (b - a) x (c - b) is its outward normal."""
        a, b, c = (np.array(point) for point in (face[0], face[1], face[2]))
        p, q = (b - a).tolist(), (c - b).tolist()
        normal = (p[1] * q[2] - p[2] * q[1], p[2] * q[0] - p[0] * q[2], p[0] * q[1] - p[1] * q[0])
        camera = self.pen.camera
        eye = camera.view.height - camera.ground_y(self.frame.z)
        away = (-face[0][0], eye - face[0][1], -face[0][2])
        return bool(sum(n * d for n, d in zip(normal, away, strict=True)) > 0)

    def paint(self, colour: Rgb, fine: float = 0.02, coarse: float = 0.06) -> int:
        """Add a paint of this object."""
        return self.pen.paint(self.label, colour, self.frame.z, fine, coarse)

    def light(self, right: float, forward: float) -> float:
        """Brightness of a face whose local outward normal is (right, forward)."""
        hx, hz = self.frame.heading
        towards_sun = (right * hz + forward * hx) * self.sun
        return 0.78 + 0.2 * towards_sun

    def solid(self, ribs: Sequence[Rib], colour: Rgb) -> None:
        """Draw a convex solid.

        Args:
            ribs: Side profile, clockwise when seen from the right side (forward to the right): bottom rear, top rear,
                top front, bottom front; each with its half width.
            colour: RGB 0..1.
        """
        frame = self.frame
        for side in (1, -1):
            if self.shows(side, max(w for _, _, w in ribs)):
                face = [frame.point(s, y, side * w) for s, y, w in ribs]
                self.pen.polygon(face, self.paint(shade(colour, self.light(float(side), 0.0))))
        for (sa, ya, wa), (sb, yb, wb) in zip(ribs, [*ribs[1:], ribs[0]], strict=True):
            face = [
                frame.point(sa, ya, wa),
                frame.point(sb, yb, wb),
                frame.point(sb, yb, -wb),
                frame.point(sa, ya, -wa),
            ]
            if self.sees(face[::-1]):
                slope = unit(-(yb - ya), sb - sa)
                tone = 1.12 * max(slope[1], 0.0) + self.light(0.0, slope[0]) * (1.0 - max(slope[1], 0.0))
                self.pen.polygon(face, self.paint(shade(colour, tone)))

    def shows(self, side: int, half: float) -> bool:
        """True when the camera sees the flank (+1 right, -1 left) of an object of the given half width."""
        hx, hz = self.frame.heading
        return side * (self.frame.z * hx - self.frame.x * hz) > half

    def flank(self, outline: Sequence[tuple[float, float]], half: float, paint: int) -> None:
        """Fill a polygon of (forward, up) metres on the flank the camera sees, at half width `half`."""
        for side in (1, -1):
            if self.shows(side, half):
                self.pen.polygon([self.frame.point(s, y, side * half) for s, y in outline], paint)

    def wheel(self, at: float, half: float, radius: float) -> None:
        """Draw a wheel on the visible flank, `at` metres forward of the middle."""
        tyre, hub = self.paint((0.06, 0.06, 0.065)), self.paint((0.4, 0.4, 0.42))
        for size, paint in ((1.0, tyre), (0.55, hub)):
            circle = [(at + radius * size * u, radius + radius * size * v) for u, v in CIRCLE]
            self.flank(circle, half, paint)

    def end(self, at: float, front: bool, outline: Sequence[tuple[float, float]], paint: int) -> None:
        """Fill a polygon of (right, up) metres on the front or rear plane at `at`, if the camera sees it."""
        hx, hz = self.frame.heading
        towards = -(self.frame.x + at * hx) * hx - (self.frame.z + at * hz) * hz
        if (towards > 0) == front:
            self.pen.polygon([self.frame.point(at, y, w) for w, y in outline], paint)

    def shadow(self, half_length: float, half_width: float) -> None:
        """Darken the ground under the object."""
        corners = [(-half_length, -half_width), (half_length, -half_width)]
        corners += [(half_length, half_width), (-half_length, half_width)]
        self.pen.shadow([self.frame.point(s, 0.0, w) for s, w in corners])


def _circle(steps: int) -> list[tuple[float, float]]:
    """Points of the unit circle by the rational parametrisation (no sin or cos, so the same everywhere)."""
    quarter = [i / steps for i in range(steps)]
    arc = [((1 - t * t) / (1 + t * t), 2 * t / (1 + t * t)) for t in quarter]
    points = arc
    for _ in range(3):
        arc = [(-v, u) for u, v in arc]
        points = points + arc
    return points


CIRCLE = _circle(4)


def rectangle(left: float, low: float, right: float, high: float) -> list[tuple[float, float]]:
    """Corners of an upright rectangle."""
    return [(left, low), (right, low), (right, high), (left, high)]
