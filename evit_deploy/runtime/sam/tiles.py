# SPDX-License-Identifier: Apache-2.0
"""Many masks of a frame at its own pixels, of which only the borders are computed.

A pixel's logit is an average of up to nine low-res logits around it, with weights that are not negative and sum to 1.
So where all low-res logits that a tile reads are above a threshold, all its pixels are, and likewise below. Only tiles
that a border crosses are scaled up, all such tiles of many masks in one product; the others are known beforehand. For
masks of objects that is a tenth of the frame, and what is left fits a cache. The numbers are those of
`PromptFrame.upscale`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from evit_deploy.data.masks import LOW_RES, PROMPT_FRAME, PromptFrame, band
from evit_deploy.data.rle import Rle, encode

Bool = npt.NDArray[np.bool_]
Float32 = npt.NDArray[np.float32]
Index = npt.NDArray[np.intp]

_READS = 8  # low-res logits along a tile's side, where the frame is not small
_SMALLEST = 32  # pixels of a tile's side: below, the overhead of each product counts for more than what it leaves out
_SCRATCH = 1 << 18  # logits computed at once
_BUDGET = 32 << 20  # pixels of border tiles held at once, a byte each
_ROUNDING = np.float32(1e-5)  # bound for the relative rounding error of an average of nine in FP32


@dataclass(frozen=True, eq=False)
class _Axis:
    """An axis of the frame cut into tiles.

    Attributes:
        size: Pixels of the frame.
        tile: Pixels of a tile; the last one may reach beyond the frame.
        reads: intp [tiles, n], the low-res logits that each tile reads.
        weights: float32 [tiles, tile, n]; rows beyond the frame are 0.
    """

    size: int
    tile: int
    reads: Index
    weights: Float32


@dataclass(frozen=True, eq=False)
class Tiled:
    """K masks at the frame's own pixels.

    Attributes:
        stability: float64 [K], pixels above +offset / pixels above -offset; NaN where none is above -offset.
    """

    stability: npt.NDArray[np.float64]
    _axes: tuple[_Axis, _Axis]
    _inside: Bool  # [K, columns, rows] of tiles: all their pixels are set
    _first: Index  # [K + 1]: the border tiles of mask k are those from _first[k] to _first[k + 1]
    _place: tuple[Index, Index]  # column and row of each border tile
    _pixels: Bool  # [B, x, y] of border tiles

    def rle(self, mask: int) -> Rle:
        """Run lengths of one mask, of the frame's size: logit above 0."""
        rows, columns = self._axes
        borders = slice(self._first[mask], self._first[mask + 1])
        inside = self._inside[mask]
        canvas = np.empty((len(inside), columns.tile, inside.shape[1], rows.tile), np.bool_)
        canvas[...] = inside[:, None, :, None]
        canvas[self._place[0][borders], :, self._place[1][borders], :] = self._pixels[borders]
        whole = canvas.reshape(len(inside) * columns.tile, -1)
        return encode(whole[: columns.size, : rows.size].T)


def tile_masks(frame: PromptFrame, logits: Float32, offset: float) -> Iterator[Tiled]:
    """Scale masks up as far as they need it.

    Args:
        frame: The frame they belong to.
        logits: float32 [K, 256, 256].
        offset: Logits; not negative.

    Yields:
        The masks in their order, as many at a time as have 32 MiB of border tiles, but at least one.
    """
    rows, columns = _axes(frame)
    above, below = _decided(logits, rows, columns, np.float32(offset))
    border = ~(above | below)
    most = max(1, _BUDGET // (rows.tile * columns.tile))
    start, tiles = 0, np.cumsum(np.count_nonzero(border, axis=(1, 2)))
    while start < len(logits):
        stop = int(np.searchsorted(tiles, (tiles[start - 1] if start else 0) + most, side="right"))
        part = slice(start, max(stop, start + 1))
        yield _tile_group(logits[part], (rows, columns), above[part], border[part], offset)
        start = part.stop


def _tile_group(logits: Float32, axes: tuple[_Axis, _Axis], above: Bool, border: Bool, offset: float) -> Tiled:
    """Compute the border tiles of K masks, bool [K, columns, rows], and count pixels."""
    rows, columns = axes
    mask, column, row = np.nonzero(border)
    pixels = np.empty((len(mask), columns.tile, rows.tile), np.bool_)
    in_frame = _sizes(columns)[:, None] * _sizes(rows)
    counts = np.zeros((2, len(logits)), np.int64)
    counts += (above * in_frame).sum(axis=(1, 2))
    for part, tiles in _border_tiles(logits, rows, columns, mask, column, row):
        np.greater(tiles, 0, out=pixels[part])
        _count(counts, mask[part], tiles, offset)
    if offset > 0:  # what a tile has beyond the frame is 0, which is above -offset
        beyond = columns.tile * rows.tile - in_frame[column, row]
        counts[1] -= np.bincount(mask, weights=beyond, minlength=len(logits)).astype(np.int64)
    with np.errstate(invalid="ignore"):
        stability = counts[0] / counts[1]
    first = np.searchsorted(mask, np.arange(len(logits) + 1))
    return Tiled(stability, axes, above, first, (column, row), pixels)


def _decided(logits: Float32, rows: _Axis, columns: _Axis, offset: np.float32) -> tuple[Bool, Bool]:
    """Tiles whose pixels are all above +offset, and all below -offset; both bool [K, columns, rows]."""
    strips = [(reads[0], reads[-1] + 1) for reads in rows.reads]
    low = np.stack([logits[:, start:stop].min(axis=1) for start, stop in strips], axis=1)
    high = np.stack([logits[:, start:stop].max(axis=1) for start, stop in strips], axis=1)
    low = low[:, :, columns.reads].min(axis=3).swapaxes(1, 2)
    high = high[:, :, columns.reads].max(axis=3).swapaxes(1, 2)
    margin = offset + _ROUNDING * np.maximum(np.abs(low), np.abs(high))
    return low > margin, high < -margin


def _border_tiles(
    logits: Float32, rows: _Axis, columns: _Axis, mask: Index, column: Index, row: Index
) -> Iterator[tuple[slice, Float32]]:
    """Logits of the border tiles, as many at a time as fit a cache, float32 [b, x, y]; valid until the next."""
    step = max(1, _SCRATCH // (rows.tile * columns.tile))
    for start in range(0, len(mask), step):
        part = slice(start, min(start + step, len(mask)))
        m, x, y = mask[part], column[part], row[part]
        patches = logits[m[:, None, None], rows.reads[y][:, None, :], columns.reads[x][:, :, None]]
        yield part, np.matmul(columns.weights[x] @ patches, rows.weights[y].swapaxes(1, 2))


def _count(counts: npt.NDArray[np.int64], masks: Index, tiles: Float32, offset: float) -> None:
    """Add the pixels above +offset and -offset to those of the mask a tile belongs to; tiles are sorted by mask."""
    edges = np.concatenate([[0], np.flatnonzero(np.diff(masks)) + 1, [len(masks)]])
    for kind, threshold in enumerate((offset, -offset)):
        more = tiles > np.float32(threshold)
        for start, stop in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
            counts[kind, masks[start]] += np.count_nonzero(more[start:stop])


def _sizes(axis: _Axis) -> Index:
    """Pixels of each tile that lie in the frame."""
    return np.minimum(axis.tile, axis.size - np.arange(len(axis.reads)) * axis.tile)


@lru_cache(maxsize=8)
def _axes(frame: PromptFrame) -> tuple[_Axis, _Axis]:
    """The frame's rows and columns."""
    height, width = frame.fitted
    return _axis(frame.height, height), _axis(frame.width, width)


def _axis(size: int, fitted: int) -> _Axis:
    tile = min(max(_SMALLEST, round(_READS * size * PROMPT_FRAME / (fitted * LOW_RES))), size)
    bands = [band(size, fitted, start, min(start + tile, size)) for start in range(0, size, tile)]
    reads = max(band.reads.stop - band.reads.start for band in bands)
    first = np.array([min(one.reads.start, LOW_RES - reads) for one in bands])
    weights = np.zeros((len(bands), tile, reads), np.float32)
    for one, start, weight in zip(bands, first, weights, strict=True):
        weight[: one.size, one.reads.start - start : one.reads.stop - start] = one.matrix
    return _Axis(size, tile, first[:, None] + np.arange(reads), weights)
