# SPDX-License-Identifier: Apache-2.0
"""From paint numbers to an image: light, haze, texture, lens blur and sensor noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evit_deploy.data.scenes.canvas import SHADOW_BIT, Canvas, Paint
from evit_deploy.data.scenes.dice import Dice, Rgb, mix

Float32 = NDArray[np.float32]


@dataclass(frozen=True)
class Light:
    """Light and camera of one scene.

    Attributes:
        tint: Colour of the light times exposure.
        shadow: Brightness kept in shadow.
        haze: Haze colour.
        sight: Distance at which haze takes half of the colour, metres.
        sky: Colours at the top and at the horizon.
        cloud: Cloud cover 0..0.6.
        texture: Strength of surface texture.
        blur: Weight of the neighbours in the lens blur, 0..0.3.
        noise: Sensor noise (largest deviation), 0..1.
        sun: Side of the sun: -1 left, +1 right.
    """

    tint: Rgb
    shadow: float
    haze: Rgb
    sight: float
    sky: tuple[Rgb, Rgb]
    cloud: float
    texture: float
    blur: float
    noise: float
    sun: int


def draw_light(dice: Dice) -> Light:
    """Draw the time of day and the weather."""
    kind = dice.pick(["clear", "clear", "overcast", "overcast", "low sun", "dusk"])
    exposure = {"clear": 1.05, "overcast": 0.9, "low sun": 1.0, "dusk": 0.7}[kind] * dice.between(0.8, 1.15)
    warm = {"clear": 0.04, "overcast": -0.03, "low sun": 0.16, "dusk": -0.06}[kind] + dice.between(-0.04, 0.04)
    horizon = mix(dice.grey(0.7, 1.0, 0.04), (1.0, 0.8, 0.6), max(warm, 0.0) * 2.5)
    zenith = dice.colour((0.55, 0.62), (0.3, 0.65), (0.55, 0.95))
    if kind in ("overcast", "dusk"):
        zenith = mix(zenith, dice.grey(0.5, 0.85), dice.between(0.5, 1.0))
    level = 0.6 if kind == "dusk" else 1.0
    sky = (mix((0.0, 0.0, 0.0), zenith, level), mix((0.0, 0.0, 0.0), horizon, level))
    return Light(
        tint=(exposure * (1.0 + warm), exposure, exposure * (1.0 - warm)),
        shadow=dice.between(0.75, 0.95) if kind in ("overcast", "dusk") else dice.between(0.45, 0.65),
        haze=mix(sky[1], (0.6, 0.6, 0.62), 0.3),
        sight=dice.between(90.0, 500.0),
        sky=sky,
        cloud=dice.between(0.0, 0.6),
        texture=dice.between(0.6, 1.3),
        blur=dice.between(0.04, 0.22),
        noise=dice.between(0.01, 0.06),
        sun=dice.side(),
    )


def value_noise(dice: Dice, height: int, width: int, cells: tuple[tuple[int, float], ...]) -> Float32:
    """Smooth noise about 0, made at half resolution and doubled.

    Args:
        dice: Source of the grid values.
        height: Rows.
        width: Columns.
        cells: (cells per image height, weight) of each octave.

    Returns:
        float32 [height, width], within +- half the sum of weights.
    """
    rows, columns = (height + 1) // 2, (width + 1) // 2
    total = np.zeros((rows, columns), dtype=np.float32)
    for count, weight in cells:
        across = max(1, -(-width * count // height))
        grid = (dice.generator.random((count + 2, across + 2), dtype=np.float32) - np.float32(0.5)) * np.float32(weight)
        total += _enlarge(_enlarge(grid, rows, count).T, columns, width * count / height).T
    return np.repeat(np.repeat(total, 2, axis=0)[:height], 2, axis=1)[:, :width]


def _enlarge(grid: Float32, size: int, cells: float) -> Float32:
    """Linear interpolation of `grid` along axis 0 to `size` rows that span `cells` cells."""
    at = (np.arange(size, dtype=np.float64) + 0.5) * (cells / size)
    low = np.minimum(at.astype(np.intp), len(grid) - 2)
    share = (at - low).astype(np.float32)[:, None]
    return np.take(grid, low, axis=0) * (1 - share) + np.take(grid, low + 1, axis=0) * share


def develop(canvas: Canvas, light: Light, dice: Dice) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Turn the canvas into an image and its labels.

    Returns:
        uint8 RGB [H, W, 3] and uint8 train ids [H, W].
    """
    colours, fine, coarse, labels = _tables(canvas.paints, light)
    height, width = canvas.ids.shape
    grain = dice.generator.random((height, width), dtype=np.float32) - np.float32(0.5)
    speck = value_noise(dice, height, width, ((150, 1.0),)) + grain * np.float32(0.5)
    gain = np.take(fine, canvas.ids) * speck + np.take(coarse, canvas.ids) * canvas.ragged + np.float32(1.0)
    image = np.empty((height, width, 3), dtype=np.uint8)
    for channel in range(3):
        plane = np.take(colours[channel], canvas.ids)
        plane *= gain
        plane = _blur(plane, light.blur)
        # the same grain, shifted, serves all channels: drawing three would cost more than the rest of this loop
        plane += np.roll(grain, 7 * channel + 3, axis=1) * np.float32(light.noise * 255.0)
        image[..., channel] = np.clip(plane, 0.0, 255.0, out=plane)
    return image, np.take(labels, canvas.ids)


def _tables(paints: list[Paint], light: Light) -> tuple[list[Float32], Float32, Float32, NDArray[np.uint8]]:
    """Lookup tables over 16-bit paint numbers: three colour channels 0..255, fine and coarse texture, labels."""
    colour = np.array([paint.colour for paint in paints], dtype=np.float64)
    depth = np.array([paint.depth for paint in paints], dtype=np.float64)
    lit = np.where(np.array([paint.glow for paint in paints])[:, None], 1.0, np.array(light.tint))
    haze = (depth / (depth + light.sight))[:, None]
    tables = []
    for shadow in (1.0, light.shadow):
        seen = colour * lit * shadow * (1.0 - haze) + np.array(light.haze) * haze
        tables.append(np.clip(seen, 0.0, 1.0) * 255.0)
    contrast = (1.0 - haze[:, 0]) * light.texture
    fine = _spread([np.array([paint.fine for paint in paints]) * contrast * 2.0] * 2)
    coarse = _spread([np.array([paint.coarse for paint in paints]) * contrast * 2.0] * 2)
    labels = np.array([paint.label for paint in paints], dtype=np.float64)
    channels = [_spread([table[:, channel] for table in tables]) for channel in range(3)]
    return channels, fine, coarse, _spread([labels, labels]).astype(np.uint8)


def _spread(halves: list[NDArray[np.float64]]) -> Float32:
    table = np.zeros(SHADOW_BIT + len(halves[1]), dtype=np.float32)
    table[: len(halves[0])] = halves[0]
    table[SHADOW_BIT:] = halves[1]
    return table


def _blur(plane: Float32, weight: float) -> Float32:
    """Three-tap blur along both axes."""
    side, centre = np.float32(weight), np.float32(1.0 - 2.0 * weight)
    for axis in (0, 1):
        moved = plane if axis == 0 else plane.T
        result = moved * centre
        result[1:] += moved[:-1] * side
        result[:-1] += moved[1:] * side
        result[0] += moved[0] * side
        result[-1] += moved[-1] * side
        plane = result if axis == 0 else result.T
    return plane
