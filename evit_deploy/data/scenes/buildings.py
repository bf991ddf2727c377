# SPDX-License-Identifier: Apache-2.0
"""Buildings with windows, free-standing walls and fences."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from evit_deploy.data.scenes.dice import Dice, Rgb, shade
from evit_deploy.data.scenes.pen import Patch, Pen

BUILDING, WALL, FENCE = 2, 3, 4
Spot = tuple[float, float]


@dataclass(frozen=True)
class Style:
    """Look of one building; lengths in metres, colours 0..1.

    Attributes:
        wall: Wall colour.
        glass: Two window colours.
        bay: Distance between windows.
        floor: Floor height.
        window: Window size as a share of bay and floor.
        shop: Colour of the ground floor, or None when it is like the others.
        roof: Roof colour, or None for a flat roof.
    """

    wall: Rgb
    glass: tuple[Rgb, Rgb]
    bay: float
    floor: float
    window: tuple[float, float]
    shop: Rgb | None
    roof: Rgb | None


def draw_style(dice: Dice) -> Style:
    """Draw the look of a building."""
    wall = dice.pick(
        [
            dice.grey(0.3, 0.85, 0.05),
            dice.colour((0.0, 0.12), (0.15, 0.5), (0.35, 0.85)),
            dice.colour((0.02, 0.05), (0.4, 0.65), (0.35, 0.6)),
            dice.colour((0.0, 1.0), (0.05, 0.25), (0.5, 0.9)),
        ]
    )
    glass = (dice.colour((0.5, 0.65), (0.05, 0.4), (0.12, 0.4)), dice.colour((0.08, 0.65), (0.05, 0.4), (0.35, 0.9)))
    return Style(
        wall=wall,
        glass=glass,
        bay=dice.between(1.6, 3.6),
        floor=dice.between(2.7, 3.8),
        window=(dice.between(0.35, 0.8), dice.between(0.4, 0.65)),
        shop=dice.colour((0.0, 1.0), (0.05, 0.6), (0.2, 0.7)) if dice.chance(0.45) else None,
        roof=dice.colour((0.0, 0.08), (0.2, 0.6), (0.25, 0.5)) if dice.chance(0.4) else None,
    )


def facade(pen: Pen, start: Spot, end: Spot, height: float, style: Style, light: float) -> None:
    """Draw one wall of a building with its windows.

    Args:
        pen: Scene pen.
        start: (x, z) of one end, metres.
        end: (x, z) of the other end, metres.
        height: Height in metres.
        style: Look of the building.
        light: Brightness of this wall, 1 for full light.
    """
    z = 0.5 * (start[1] + end[1])
    wall = pen.paint(BUILDING, shade(style.wall, light), z, 0.06, 0.1)
    panes = [pen.paint(BUILDING, shade(glass, 0.5 + 0.5 * light), z, 0.02, 0.12) for glass in style.glass]
    trim = pen.paint(BUILDING, shade(style.wall, light * pen.dice.between(0.6, 1.3)), z, 0.04, 0.06)
    shop = None if style.shop is None else pen.paint(BUILDING, shade(style.shop, light), z, 0.05, 0.15)
    patch = pen.upright(start, end, 0.0, height)
    if patch is None:
        return
    patch.fill(wall)
    _windows(patch, style, panes, trim, height)
    patch.fill(trim, patch.up > height - 0.5)
    if shop is not None:
        _shop(patch, style, shop, panes[0])


def _windows(patch: Patch, style: Style, panes: list[int], trim: int, height: float) -> None:
    bay, floor = patch.along / np.float32(style.bay), patch.up / np.float32(style.floor)
    column, story = np.floor(bay), np.floor(floor)
    across, above = bay - column, floor - story
    half = style.window[0] / 2
    beside = np.abs(across - np.float32(0.5))
    within = (above > np.float32(0.2)) & (above < np.float32(0.2 + style.window[1]))
    patch.fill(trim, within & (beside < np.float32(half + 0.06)))
    opening = within & (beside < np.float32(half)) & (patch.up < np.float32(height - 0.6))
    patch.fill(panes[0], opening)
    mixed = ((column * 3 + story * 5) % 7) < 2
    patch.fill(panes[1], opening & mixed)


def _shop(patch: Patch, style: Style, shop: int, glass: int) -> None:
    patch.fill(shop, patch.up < np.float32(style.floor))
    bay = patch.along / np.float32(style.bay * 1.6)
    across = bay - np.floor(bay)
    low, high = np.float32(0.5), np.float32(style.floor * 0.75)
    patch.fill(glass, (patch.up > low) & (patch.up < high) & (across > 0.1) & (across < 0.9))


def roof(pen: Pen, start: Spot, end: Spot, height: float, outward: float, style: Style) -> None:
    """Draw a gabled roof whose ridge lies `outward` metres (signed x) behind the street front."""
    if style.roof is None:
        return
    rise = pen.dice.between(1.5, 3.5)
    gable = pen.paint(BUILDING, shade(style.wall, 0.8), start[1], 0.06, 0.1)
    ridge, eaves = (start[0] + outward, height + rise, start[1]), (start[0] + 2 * outward, height, start[1])
    pen.polygon([(start[0], height, start[1]), ridge, eaves], gable)
    if abs(start[0]) * rise < (height - pen.camera.view.height) * abs(outward):
        return  # seen from below, hidden behind the facade
    paint = pen.paint(BUILDING, style.roof, 0.5 * (start[1] + end[1]), 0.12, 0.12)
    low = [(start[0], height, start[1]), (end[0], height, end[1])]
    high = [(end[0] + outward, height + rise, end[1]), (start[0] + outward, height + rise, start[1])]
    pen.polygon([*low, *high], paint)


def building(pen: Pen, start: Spot, end: Spot, sign: int, height: float, sun: int) -> None:
    """Draw a building beside the street.

    Args:
        pen: Scene pen.
        start: (x, z) of its near corner on the street side.
        end: (x, z) of its far corner on the street side.
        sign: -1 left, +1 right of the street.
        height: Height in metres.
        sun: Side from which the sun shines (-1, +1).
    """
    style = draw_style(pen.dice)
    facing = 1.0 if sun != sign else 0.68
    back = start[0] + sign * pen.dice.between(8.0, 20.0)
    roof(pen, start, end, height, 3.0 * sign, style)
    facade(pen, start, end, height, style, facing)
    facade(pen, (start[0], start[1]), (back, start[1]), height, style, 0.85)


def free_wall(pen: Pen, start: Spot, end: Spot, height: float) -> None:
    """Draw a free-standing wall: plaster, concrete slabs or brick, with a coping."""
    dice, z = pen.dice, 0.5 * (start[1] + end[1])
    brick = dice.chance(0.45)
    colour = dice.colour((0.01, 0.09), (0.2, 0.55), (0.35, 0.65)) if brick else dice.grey(0.35, 0.75, 0.04)
    body = pen.paint(WALL, colour, z, 0.08, 0.16)
    joint = pen.paint(WALL, shade(colour, dice.pick([0.65, 1.3])), z, 0.05, 0.1)
    coping = pen.paint(WALL, shade(colour, dice.between(0.7, 1.35)), z, 0.04, 0.06)
    course, block = (0.3, 0.7) if brick else (height, dice.between(1.5, 4.0))
    patch = pen.upright(start, end, 0.0, height)
    if patch is None:
        return
    patch.fill(body)
    level = patch.up / np.float32(course)
    row = np.floor(level)
    shift = patch.along / np.float32(block) + np.float32(0.5) * (row % 2)
    seam = (shift - np.floor(shift) < np.float32(0.06)) | (level - row < np.float32(0.12 if brick else 0.0))
    patch.fill(joint, seam)
    patch.fill(coping, patch.up > np.float32(height - 0.14))


@dataclass(frozen=True)
class FenceLook:
    """Look of a fence; lengths in metres.

    Attributes:
        height: Height.
        bars: Colour of the bars.
        gaps: Colour between the bars (counts as fence).
        pitch: Distance of the bars.
        solid: Share of the pitch that the bar fills.
        rail: Half height of the horizontal rail, as a share of the height.
    """

    height: float
    bars: Rgb
    gaps: Rgb
    pitch: float
    solid: float
    rail: float


def draw_fence(dice: Dice, height: float) -> FenceLook:
    """Draw the look of a fence: bars, planks or a guard rail."""
    metal, wood = dice.grey(0.1, 0.8), dice.colour((0.05, 0.1), (0.25, 0.6), (0.3, 0.6))
    gaps = dice.pick([dice.colour((0.17, 0.33), (0.2, 0.5), (0.2, 0.45)), dice.grey(0.2, 0.6)])
    if dice.chance(0.3):
        return FenceLook(height, metal, gaps, 2.4, 0.08, 0.17)
    return FenceLook(height, dice.pick([metal, wood]), gaps, dice.between(0.3, 0.7), dice.between(0.3, 0.75), 0.06)


def fence(pen: Pen, start: Spot, end: Spot, look: FenceLook) -> None:
    """Draw a fence along a base line of (x, z) points in metres."""
    z = 0.5 * (start[1] + end[1])
    bars = pen.paint(FENCE, look.bars, z, 0.05, 0.08)
    gaps = pen.paint(FENCE, look.gaps, z, 0.15, 0.2)
    patch = pen.upright(start, end, 0.0, look.height)
    if patch is None:
        return
    patch.fill(gaps)
    along = patch.along / np.float32(look.pitch)
    patch.fill(bars, along - np.floor(along) < np.float32(look.solid))
    level = patch.up / np.float32(look.height)
    patch.fill(bars, (np.abs(level - np.float32(0.55)) < np.float32(look.rail)) | (level > np.float32(0.9)))
