# SPDX-License-Identifier: Apache-2.0
"""Pinhole camera over a bent and hilly street, in metres, drawn once per scene and then fitted to any image size."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evit_deploy.data.scenes.dice import Dice

FloatArray = NDArray[np.float64]
NEAREST = 0.4  # metres; points closer than this are moved here so that the projection stays finite


@dataclass(frozen=True)
class View:
    """How the camera looks at the street; lengths in metres or as a share of the image height.

    Attributes:
        focal: Focal length as a share of the image height.
        horizon: Row of the horizon as a share of the image height.
        yaw: Column of the vanishing point right of the middle, as a share of the image height.
        roll: Tilt, rows per column.
        height: Camera height above the road.
        lateral: Camera position right of the road's centre line.
        bend: Road curvature; the centre line is at x = bend * z^2.
        hill: Road slope change; the ground is at y = hill * z^2.
    """

    focal: float
    horizon: float
    yaw: float
    roll: float
    height: float
    lateral: float
    bend: float
    hill: float


def draw_view(dice: Dice, lane: float) -> View:
    """Draw a camera that drives in the lane centred `lane` metres right of the centre line."""
    return View(
        focal=dice.between(1.55, 1.95),
        horizon=dice.between(0.4, 0.5),
        yaw=dice.between(-0.15, 0.15),
        roll=dice.between(-0.02, 0.02),
        height=dice.between(1.3, 1.9),
        lateral=lane + dice.between(-0.7, 0.7),
        bend=dice.between(-1.0, 1.0) * dice.between(0.0, 0.0025),
        hill=dice.between(-0.0003, 0.0004),
    )


@dataclass(frozen=True)
class Camera:
    """A view fitted to an image of `rows` x `columns` pixels.

    World frame: x right, y up from the road level at the camera, z forward; metres. Image frame: (u, v) in pixels with
    pixel centres at .5.
    """

    view: View
    rows: int
    columns: int

    @property
    def focal(self) -> float:
        """Focal length in pixels."""
        return self.view.focal * self.rows

    @property
    def centre(self) -> float:
        """Column of the vanishing point in pixels."""
        return 0.5 * self.columns + self.view.yaw * self.rows

    @property
    def horizon(self) -> float:
        """Row of the horizon at the middle column, in pixels."""
        return self.view.horizon * self.rows

    def street_x(self, lateral: float, z: float) -> float:
        """World x of the point `lateral` metres right of the road's centre line at depth z."""
        return lateral - self.view.lateral + self.view.bend * z * z

    def ground_y(self, z: float) -> float:
        """World y of the ground at depth z."""
        return self.view.hill * z * z

    def shear(self, columns: FloatArray) -> FloatArray:
        """Rows added by camera roll at the given columns (pixels)."""
        return self.view.roll * (columns - 0.5 * self.columns)

    def project(self, points: FloatArray) -> FloatArray:
        """Project world points.

        Args:
            points: [N, 3] as (x, height above ground, z) in metres.

        Returns:
            [N, 2] as (u, v) in pixels.
        """
        z = np.maximum(points[:, 2], NEAREST)
        u = self.centre + self.focal * points[:, 0] / z
        height = points[:, 1] + self.view.hill * z * z
        v = self.horizon + self.focal * (self.view.height - height) / z + self.shear(u)
        return np.stack([u, v], axis=1)
