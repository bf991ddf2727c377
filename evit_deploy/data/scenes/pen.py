# SPDX-License-Identifier: Apache-2.0
"""Drawing in street coordinates: projects metres to pixels and fills the canvas."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evit_deploy.data.scenes.camera import Camera
from evit_deploy.data.scenes.canvas import BoolArray, Canvas, Paint, _span
from evit_deploy.data.scenes.dice import Dice, Rgb

Point = tuple[float, float, float]
Flat = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Patch:
    """The visible part of an upright rectangle, with its own surface coordinates.

    Attributes:
        ids: View of the canvas, uint16 [h, w].
        along: Metres along the base line, float32 [1, w].
        up: Metres above ground, float32 [h, w].
        inside: Pixels of the rectangle, bool [h, w].
    """

    ids: NDArray[np.uint16]
    along: NDArray[np.float32]
    up: NDArray[np.float32]
    inside: BoolArray

    def fill(self, paint: int, where: BoolArray | None = None) -> None:
        """Write a paint where `where` holds (and the rectangle covers the pixel)."""
        mask = self.inside if where is None else self.inside & where
        np.copyto(self.ids, np.uint16(paint), where=mask)


@dataclass(frozen=True)
class Pen:
    """Canvas, camera and dice of one scene."""

    canvas: Canvas
    camera: Camera
    dice: Dice

    def paint(self, label: int, colour: Rgb, z: float, fine: float = 0.04, coarse: float = 0.06) -> int:
        """Add a paint for an object at depth z (metres)."""
        return self.canvas.paint(Paint(colour, label, z, fine, coarse))

    def polygon(self, points: Sequence[Point], paint: int) -> None:
        """Fill a polygon of (x, height above ground, z) points in metres."""
        self.canvas.polygon(self.camera.project(np.array(points, dtype=np.float64)), paint)

    def shadow(self, points: Sequence[Point]) -> None:
        """Darken a polygon of (x, height above ground, z) points in metres."""
        self.canvas.shadow(self.camera.project(np.array(points, dtype=np.float64)))

    def pixels(self, x: float, y: float, z: float) -> tuple[float, float, float]:
        """Image position (u, v) of a point and the pixels per metre at its depth."""
        u, v = self.camera.project(np.array([[x, y, z]], dtype=np.float64))[0].tolist()
        return u, v, self.camera.focal / max(z, 0.4)

    def flat(self, x: float, z: float, points: Flat, paint: int) -> None:
        """Fill a polygon of (metres right of x, metres above ground) in the frontal plane at depth z."""
        u, v, scale = self.pixels(x, 0.0, z)
        shape = np.array(points, dtype=np.float64)
        self.canvas.polygon(np.stack([u + shape[:, 0] * scale, v - shape[:, 1] * scale], axis=1), paint)

    def bar(
        self, x: float, z: float, start: tuple[float, float], end: tuple[float, float], width: float, paint: int
    ) -> None:
        """Draw a thick line between two (right, up) points of the frontal plane at depth z."""
        du, dv = end[0] - start[0], end[1] - start[1]
        half = 0.5 * width / max(float(np.sqrt(du * du + dv * dv)), 1e-6)
        nu, nv = -dv * half, du * half
        corners = [(start[0] + nu, start[1] + nv), (end[0] + nu, end[1] + nv)]
        corners += [(end[0] - nu, end[1] - nv), (start[0] - nu, start[1] - nv)]
        self.flat(x, z, corners, paint)

    def blob(
        self, x: float, z: float, at: tuple[float, float], radius: tuple[float, float], paint: int, rough: float = 0.0
    ) -> None:
        """Fill an ellipse at `at` (right, up) with radii in metres, in the frontal plane at depth z."""
        u, v, scale = self.pixels(x, 0.0, z)
        self.canvas.ellipse(u + at[0] * scale, v - at[1] * scale, radius[0] * scale, radius[1] * scale, paint, rough)

    def upright(self, start: tuple[float, float], end: tuple[float, float], low: float, high: float) -> Patch | None:
        """Rasterise an upright rectangle with its surface coordinates.

        Args:
            start: (x, z) of one end of the base line, metres.
            end: (x, z) of the other end.
            low: Lower edge above ground, metres.
            high: Upper edge above ground, metres.

        Returns:
            The visible patch, or None when nothing is visible.
        """
        (xa, za), (xb, zb) = start, end
        corners = [(xa, low, za), (xb, low, zb), (xb, high, zb), (xa, high, za)]
        outline = self.camera.project(np.array(corners, dtype=np.float64))
        rows = _span(float(outline[:, 1].min()), float(outline[:, 1].max()), self.camera.rows)
        columns = _span(float(outline[:, 0].min()), float(outline[:, 0].max()), self.camera.columns)
        if rows is None or columns is None:
            return None
        return self._patch(rows, columns, (xa, za, xb, zb), (low, high))

    def _patch(
        self, rows: slice, columns: slice, base: tuple[float, float, float, float], span: tuple[float, float]
    ) -> Patch:
        camera, (xa, za, xb, zb) = self.camera, base
        u = np.arange(columns.start, columns.stop, dtype=np.float64) + 0.5
        ray = (u - camera.centre) / camera.focal
        slant = ray * (zb - za) - (xb - xa)
        share = (xa - ray * za) / np.where(np.abs(slant) < 1e-9, 1e-9, slant)
        share = np.minimum(np.maximum(share, 0.0), 1.0)
        z = za + share * (zb - za)
        # height above ground = a + b * row, with a and b per column
        per_row = -z / camera.focal
        origin = camera.view.height - camera.view.hill * z * z - (camera.horizon + camera.shear(u)) * per_row
        row = (np.arange(rows.start, rows.stop, dtype=np.float32) + np.float32(0.5))[:, None]
        up = row * per_row.astype(np.float32)[None, :] + origin.astype(np.float32)[None, :]
        inside = (up >= np.float32(span[0])) & (up < np.float32(span[1]))
        length = float(np.sqrt((xb - xa) ** 2 + (zb - za) ** 2))
        along = (share * length).astype(np.float32)[None, :]
        return Patch(self.canvas.ids[rows, columns], along, up, inside)
