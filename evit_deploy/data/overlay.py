# SPDX-License-Identifier: Apache-2.0
"""Pictures of masks and prompts laid over a frame, with numpy alone."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from evit_deploy.data.colours import distinct_colours
from evit_deploy.errors import UsageError

UInt8 = npt.NDArray[np.uint8]
Int32 = npt.NDArray[np.int32]
Bools = npt.NDArray[np.bool_]

FOREGROUND, BACKGROUND = (0, 114, 178), (213, 94, 0)
"""Blue and vermilion, which no kind of colour blindness confuses; a plus and a minus say the same in shape."""
_WHITE = (255, 255, 255)


def label_masks(masks: Iterable[npt.ArrayLike], height: int, width: int) -> Int32:
    """One number per pixel: 0 where no mask is, else 1 + the index of the mask that lies on top.

    Args:
        masks: bool [height, width] each. Later ones lie on top, so give the large ones first. They are asked for one
            at a time.
        height: Height of the picture in pixels.
        width: Width of the picture in pixels.

    Raises:
        UsageError: A mask of another size.
    """
    labels = np.zeros((height, width), np.int32)
    for number, given in enumerate(masks, start=1):
        mask = np.asarray(given, np.bool_)
        if mask.shape != labels.shape:
            raise UsageError(
                "the mask has another size than the picture", found=str(mask.shape), expected=str(labels.shape)
            )
        labels[mask] = number
    return labels


def paint_labels(frame: UInt8, labels: Int32, colours: UInt8 | None = None, opacity: float = 0.5) -> UInt8:
    """Lay labelled masks over a frame: half transparent, each with an outline of its colour and a light rim outside.

    Args:
        frame: uint8 [H, W, 3] RGB.
        labels: [H, W], as `label_masks` gives them.
        colours: uint8 [N, 3] RGB for labels 1 to N; `distinct_colours` if None.
        opacity: 0 shows the frame alone, 1 the colours alone.

    Returns:
        A new picture, uint8 [H, W, 3] RGB.

    Raises:
        UsageError: Labels of another size than the frame's.
    """
    if labels.shape != frame.shape[:2]:
        raise UsageError(
            "the masks have another size than the frame", found=str(labels.shape), expected=str(frame.shape[:2])
        )
    if colours is None:
        colours = distinct_colours(int(labels.max(initial=0)))
    covered = labels > 0
    picture: UInt8 = frame.copy()
    solid = colours[labels[covered] - 1]
    picture[covered] = np.rint(frame[covered] * np.float32(1 - opacity) + solid * np.float32(opacity))
    edge = _edges(labels, line_width(frame.shape))
    picture[edge & ~covered] = _WHITE
    outline = edge & covered
    picture[outline] = colours[labels[outline] - 1]
    return picture


def line_width(shape: tuple[int, ...]) -> int:
    """Width of lines in pixels that look alike on pictures of any size: 1 up to 600 pixels, 2 up to 1200."""
    return max(1, -(-max(shape[:2]) // 600))


def _edges(labels: Int32, width: int) -> Bools:
    """Pixels within `width` of another label, on both sides of the border."""
    edge = np.zeros(labels.shape, np.bool_)
    for axis in (0, 1):
        ahead, behind = _shifted(axis, 1)
        differs = labels[ahead] != labels[behind]
        edge[ahead] |= differs
        edge[behind] |= differs
    for _ in range(width - 1):
        grown = edge.copy()
        for axis in (0, 1):
            ahead, behind = _shifted(axis, 1)
            grown[ahead] |= edge[behind]
            grown[behind] |= edge[ahead]
        edge = grown
    return edge


def _shifted(axis: int, by: int) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Two views of an array, one `by` pixels ahead of the other along an axis."""
    full = slice(None)
    ahead, behind = slice(by, None), slice(None, -by)
    return ((ahead, full), (behind, full)) if axis == 0 else ((full, ahead), (full, behind))


def draw_points(picture: UInt8, points: npt.ArrayLike, labels: npt.ArrayLike) -> None:
    """Draw points into a picture: a disc with a plus for the object, with a minus for what is not part of it.

    Args:
        picture: uint8 [H, W, 3] RGB, changed.
        points: [N, 2] as (x, y) in pixels.
        labels: [N], 1 foreground, 0 background.
    """
    radius = 2 + 3 * line_width(picture.shape)
    arm, thick = radius // 2, max(1, radius // 5)
    for (x, y), label in zip(np.asarray(points, float).reshape(-1, 2), np.ravel(np.asarray(labels)), strict=True):
        column, row = round(float(x)), round(float(y))
        _disc(picture, column, row, radius + max(1, radius // 4), _WHITE)
        _disc(picture, column, row, radius, FOREGROUND if label else BACKGROUND)
        _fill(picture, column - arm, row - thick // 2, 2 * arm + 1, thick, _WHITE)
        if label:
            _fill(picture, column - thick // 2, row - arm, thick, 2 * arm + 1, _WHITE)


def draw_boxes(picture: UInt8, boxes: npt.ArrayLike) -> None:
    """Draw boxes into a picture: blue lines with a white rim.

    Args:
        picture: uint8 [H, W, 3] RGB, changed.
        boxes: [N, 4] as (x0, y0, x1, y1) in pixels.
    """
    width = line_width(picture.shape)
    for box in np.asarray(boxes, float).reshape(-1, 4):
        x0, y0, x1, y1 = (round(float(value)) for value in box)
        for colour, extra in ((_WHITE, width), (FOREGROUND, 0)):
            thick, low = width + 2 * extra, -(width // 2) - extra
            across, down = x1 - x0 + thick, y1 - y0 + thick
            for y in (y0, y1):
                _fill(picture, x0 + low, y + low, across, thick, colour)
            for x in (x0, x1):
                _fill(picture, x + low, y0 + low, thick, down, colour)


def _fill(picture: UInt8, x: int, y: int, width: int, height: int, colour: tuple[int, int, int]) -> None:
    """Fill a rectangle, as much of it as lies inside."""
    picture[max(y, 0) : max(y + height, 0), max(x, 0) : max(x + width, 0)] = colour


def _disc(picture: UInt8, x: int, y: int, radius: int, colour: tuple[int, int, int]) -> None:
    """Fill a disc, as much of it as lies inside."""
    top, left = max(y - radius, 0), max(x - radius, 0)
    window = picture[top : max(y + radius + 1, 0), left : max(x + radius + 1, 0)]
    rows, columns = np.ogrid[top : top + window.shape[0], left : left + window.shape[1]]
    window[(rows - y) ** 2 + (columns - x) ** 2 <= (radius + 0.4) ** 2] = colour
