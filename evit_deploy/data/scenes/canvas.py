# SPDX-License-Identifier: Apache-2.0
"""Paint-id canvas: shapes write a paint number per pixel, and the paint table holds colour, label and texture.

Writing one 16-bit number per pixel is several times cheaper than writing colour, label and texture, and occlusion is
the order of drawing. The top bit says that the pixel lies in shadow.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from evit_deploy.data.scenes.dice import Rgb

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
SHADOW_BIT = 0x8000


@dataclass(frozen=True)
class Paint:
    """One row of the paint table.

    Attributes:
        colour: RGB, 0..1, before light and haze.
        label: Train id 0..18, or 255.
        depth: Distance in metres, for haze; 0 for none.
        fine: Strength of fine texture.
        coarse: Strength of coarse texture.
        glow: True for paint that is not darkened by the light of the scene (sky, lamps).
    """

    colour: Rgb
    label: int
    depth: float = 0.0
    fine: float = 0.04
    coarse: float = 0.06
    glow: bool = False


@dataclass
class Canvas:
    """An image of paint numbers.

    Attributes:
        ids: uint16 [H, W], index into `paints`, plus `SHADOW_BIT`.
        ragged: float32 [H, W] noise about 0, used for leafy edges.
        paints: The paint table.
    """

    ids: NDArray[np.uint16]
    ragged: NDArray[np.float32]
    paints: list[Paint] = field(default_factory=list)

    def paint(self, paint: Paint) -> int:
        """Add a paint and return its number."""
        self.paints.append(paint)
        return len(self.paints) - 1

    def polygon(self, points: FloatArray, paint: int) -> None:
        """Fill a simple polygon given as [N, 2] (u, v) pixels."""
        found = polygon_mask(points, *self.ids.shape)
        if found is not None:
            rows, columns, mask = found
            np.copyto(self.ids[rows, columns], np.uint16(paint), where=mask)

    def shadow(self, points: FloatArray) -> None:
        """Darken a polygon given as [N, 2] (u, v) pixels; labels stay."""
        found = polygon_mask(points, *self.ids.shape)
        if found is not None:
            rows, columns, mask = found
            area = self.ids[rows, columns]
            np.bitwise_or(area, np.uint16(SHADOW_BIT), out=area, where=mask)

    def ellipse(self, u: float, v: float, radius_u: float, radius_v: float, paint: int, rough: float = 0.0) -> None:
        """Fill an ellipse (pixels); `rough` > 0 frays its edge with the ragged noise."""
        reach = 1.0 + rough
        rows = _span(v - radius_v * reach, v + radius_v * reach, self.ids.shape[0])
        columns = _span(u - radius_u * reach, u + radius_u * reach, self.ids.shape[1])
        if rows is None or columns is None:
            return
        dv = (np.arange(rows.start, rows.stop, dtype=np.float32) + np.float32(0.5 - v)) / np.float32(radius_v)
        du = (np.arange(columns.start, columns.stop, dtype=np.float32) + np.float32(0.5 - u)) / np.float32(radius_u)
        distance = (dv * dv)[:, None] + (du * du)[None, :]
        limit = 1.0 + np.float32(rough) * self.ragged[rows, columns] if rough else np.float32(1.0)
        np.copyto(self.ids[rows, columns], np.uint16(paint), where=distance < limit)


def polygon_mask(points: FloatArray, height: int, width: int) -> tuple[slice, slice, BoolArray] | None:
    """Rasterise a polygon (even-odd rule, pixel centres) within its bounding box.

    Args:
        points: [N, 2] as (u, v) in pixels; may lie outside the image.
        height: Image rows.
        width: Image columns.

    Returns:
        Row slice, column slice and bool mask of that box, or None when no pixel can be covered.
    """
    rows = _span(float(points[:, 1].min()), float(points[:, 1].max()), height)
    columns = _span(float(points[:, 0].min()), float(points[:, 0].max()), width)
    if rows is None or columns is None:
        return None
    mask = np.zeros((rows.stop - rows.start, columns.stop - columns.start), dtype=np.bool_)
    pixels = np.arange(columns.start, columns.stop, dtype=np.int32)
    corners = points.tolist()
    for (ua, va), (ub, vb) in zip(corners, corners[1:] + corners[:1], strict=True):
        _cross_edge(mask, pixels, rows.start, (ua, va, ub, vb) if va < vb else (ub, vb, ua, va))
    return rows, columns, mask


def _cross_edge(mask: BoolArray, pixels: NDArray[np.int32], top: int, edge: tuple[float, float, float, float]) -> None:
    """Flip all pixels left of an edge (ua, va, ub, vb) with va <= vb."""
    ua, va, ub, vb = edge
    first, last = max(_ceil(va - 0.5), top), min(_ceil(vb - 0.5), top + mask.shape[0])
    if first >= last:
        return
    slope = (ub - ua) / (vb - va)
    start = pixels[0]
    cross = np.ceil(np.arange(first, last) * slope + (ua + (0.5 - va) * slope - 0.5))
    cross = np.minimum(np.maximum(cross, start), start + len(pixels)).astype(np.int32)
    part = mask[first - top : last - top]
    np.logical_xor(part, pixels[None, :] < cross[:, None], out=part)


def _ceil(value: float) -> int:
    return -int(-value // 1)


def _span(low: float, high: float, size: int) -> slice | None:
    """Pixels whose centres lie in [low, high), cut to the image; None when there are none."""
    first, last = max(0, _ceil(max(low, -1.0) - 0.5)), min(size, _ceil(min(high, size + 1.0) - 0.5))
    return slice(first, last) if first < last else None
