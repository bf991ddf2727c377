# SPDX-License-Identifier: Apache-2.0
"""Procedural street scenes with labels: images for demos, tests and calibration where no data set may be shipped.

    from evit_deploy.data.scenes import render_scene

    scene = render_scene(seed=7, height=512, width=1024)   # scene.image RGB, scene.labels train ids

A scene is a plan in metres seen through a pinhole camera. The seed fixes plan and camera; the size only fixes how many
pixels they get, so one seed at two sizes shows the same street. NumPy is the only requirement.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evit_deploy.data.classes import IGNORE
from evit_deploy.data.scenes import ground, layout
from evit_deploy.data.scenes.camera import Camera, draw_view
from evit_deploy.data.scenes.canvas import Canvas, Paint
from evit_deploy.data.scenes.dice import Dice
from evit_deploy.data.scenes.light import develop, draw_light, value_noise
from evit_deploy.data.scenes.pen import Pen
from evit_deploy.errors import UsageError

SMALLEST = 32
CLOUD_OCTAVES = ((4, 0.5), (9, 0.3), (24, 0.2))
RAGGED_OCTAVES = ((6, 0.6), (20, 0.6), (60, 0.8))


@dataclass(frozen=True)
class Scene:
    """A rendered street scene.

    Attributes:
        image: uint8 RGB [H, W, 3].
        labels: uint8 [H, W] Cityscapes train ids 0..18, 255 where nothing is to be judged (the own bonnet).
    """

    image: NDArray[np.uint8]
    labels: NDArray[np.uint8]


def render_scene(seed: int, height: int, width: int) -> Scene:
    """Render the street scene of a seed.

    Args:
        seed: Scene number, >= 0. The same seed and size give the same bytes.
        height: Image rows, at least 32.
        width: Image columns, at least 32.

    Returns:
        The scene.

    Raises:
        UsageError: Negative seed, or a side below 32 pixels.
    """
    _check(seed, height, width)
    plan, texture = Dice(seed, 0), Dice(seed, 1)
    light, street = draw_light(plan), ground.draw_street(plan)
    camera = Camera(draw_view(plan, 0.5 * street.lane if street.lanes % 2 == 0 else street.lane), height, width)
    ragged = value_noise(texture, height, width, RAGGED_OCTAVES)
    pen = Pen(Canvas(np.zeros((height, width), dtype=np.uint16), ragged), camera, plan)
    ground.paint_sky(pen, light.sky, value_noise(texture, height, width, CLOUD_OCTAVES), light.cloud)
    layout.skyline(pen)
    ground.paint_ground(pen, street)
    ground.paint_markings(pen, street)
    items = layout.Layout(pen, street, light.sun)
    for place in (layout.plan_sides, layout.plan_kerb, layout.plan_traffic, layout.plan_people):
        place(items)
    items.draw()
    _bonnet(pen)
    return Scene(*develop(pen.canvas, light, texture))


def _check(seed: int, height: int, width: int) -> None:
    if seed < 0:
        raise UsageError("a scene seed must not be negative", found=str(seed), expected="0 or more")
    if height < SMALLEST or width < SMALLEST:
        raise UsageError(
            "a scene cannot be that small", found=f"{height}x{width}", expected=f"at least {SMALLEST}x{SMALLEST}"
        )


def _bonnet(pen: Pen) -> None:
    """In some scenes the own bonnet shows at the bottom, labelled as ignore."""
    dice, camera = pen.dice, pen.camera
    shown, rise, colour = dice.chance(0.3), dice.between(0.03, 0.1), dice.grey(0.05, 0.5)
    if shown:
        paint = pen.canvas.paint(Paint(colour, IGNORE, 0.0, 0.01, 0.05))
        pen.canvas.ellipse(0.5 * camera.columns, camera.rows, 0.55 * camera.columns, rise * camera.rows, paint)
