# SPDX-License-Identifier: Apache-2.0
"""Masks of Segment Anything and the frame they belong to: from the decoder's 256x256 logits to a camera's pixels.

Prompts live in the *1024 frame*: the picture scaled so that its longest side is 1024 pixels. A mask comes as logits
[256, 256] of that frame, of which the picture covers the top left. The reference scales them up twice, bilinearly: to
1024x1024, then, cut to the picture, to the picture's own size. Both steps are linear and treat the axes apart, so here
they are one matrix for each axis. A pixel looks at three logits of an axis at most: the matrices are narrow bands, and
are multiplied block by block along the band.

Source: `Sam.postprocess_masks` and `ResizeLongestSide` of Segment Anything (Kirillov et al., 2023, arXiv:2304.02643).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]

PROMPT_FRAME = 1024
"""Longest side of the frame that prompts live in, in pixels, whatever the encoder's size is."""

LOW_RES = 256
"""Sides of a mask as the decoder gives it."""

_BAND = 32
_STRIP = 1 << 19


@dataclass(frozen=True)
class LowRes:
    """Masks as the decoder gives them.

    Attributes:
        masks: Float [..., 256, 256], logits in the 1024 frame at a quarter of its scale: above 0 is the object.
        iou: Float [...], the decoder's own guess of each mask's intersection over union. It may exceed 1.
    """

    masks: npt.NDArray[Any]
    iou: npt.NDArray[Any]


@dataclass(frozen=True)
class PromptFrame:
    """A frame that prompts refer to.

    Attributes:
        height: Height of the frame in its own pixels.
        width: Width of the frame in its own pixels.
    """

    height: int
    width: int

    @property
    def fitted(self) -> tuple[int, int]:
        """(height, width) in the 1024 frame."""
        return longest_side(self.height, self.width, PROMPT_FRAME)

    def to_frame(self, points: npt.ArrayLike) -> Float32:
        """Move points from the frame's pixels to the 1024 frame.

        Args:
            points: [..., 2] as (x, y) in pixels of the frame.

        Returns:
            float32 [..., 2] as (x, y) in the 1024 frame, before the half pixel that the prompt encoder adds.
        """
        height, width = self.fitted
        scale = np.array((width / self.width, height / self.height))
        return np.asarray(np.asarray(points, np.float64) * scale, np.float32)

    def upscale(self, low_res: npt.NDArray[Any]) -> Float32:
        """Logits at the frame's own pixels.

        Args:
            low_res: Float [K, 256, 256].

        Returns:
            float32 [K, height, width].
        """
        full = np.empty((len(low_res), self.height, self.width), np.float32)
        for rows, logits in self.strips(low_res):
            full[:, rows] = logits
        return full

    def pixels(self, low_res: npt.NDArray[Any], threshold: float = 0.0) -> npt.NDArray[np.bool_]:
        """Masks at the frame's own pixels, bool [K, height, width]; logits of full size are never held at once."""
        masks = np.empty((len(low_res), self.height, self.width), np.bool_)
        for rows, logits in self.strips(low_res):
            np.greater(logits, threshold, out=masks[:, rows])
        return masks

    def strips(self, low_res: npt.NDArray[Any]) -> Iterator[tuple[slice, Float32]]:
        """`upscale` in strips of rows that fit a cache, from the top.

        Args:
            low_res: Float [K, 256, 256].

        Yields:
            Rows of the frame, and their logits, float32 [K, rows, width]: valid until the next strip.
        """
        masks = np.asarray(low_res, np.float32)
        height, width = self.fitted
        columns = _bands(self.width, width, self.width)
        used = slice(columns[0].reads.start, columns[-1].reads.stop)
        rows = _bands(self.height, height, _rows_per_strip(len(masks) * self.width))
        strip = np.empty((len(masks), max(band.size for band in rows), self.width), np.float32)
        for row in rows:
            narrow = row.matrix @ masks[:, row.reads, used]
            logits = strip[:, : row.size]
            for column in columns:
                reads = slice(column.reads.start - used.start, column.reads.stop - used.start)
                np.matmul(narrow[:, :, reads], column.matrix.T, out=logits[:, :, column.writes])
            yield row.writes, logits


def longest_side(height: int, width: int, longest: int) -> tuple[int, int]:
    """(height, width) of a picture scaled to a longest side, rounded as the reference rounds, and at least 1.

    The reference rounds the short side of a picture of extreme aspect to 0, and fails.
    """
    scale = longest * 1.0 / max(height, width)
    return max(int(height * scale + 0.5), 1), max(int(width * scale + 0.5), 1)


@dataclass(frozen=True, eq=False)
class Band:
    """A block of the matrix of one axis: which pixels it writes, which logits it reads, float32 [pixels, logits]."""

    writes: slice
    reads: slice
    matrix: Float32

    @property
    def size(self) -> int:
        """Pixels it writes."""
        return int(self.writes.stop - self.writes.start)


def _rows_per_strip(values_per_row: int) -> int:
    """A power of two, so that few numbers of masks share the matrices of many."""
    rows = max(_STRIP // max(values_per_row, 1), 8)
    power: int = 1 << rows.bit_length() - 1
    return power


@lru_cache(maxsize=32)
def _bands(size: int, fitted: int, most: int) -> tuple[Band, ...]:
    """The matrix of an axis in blocks of at most `most` pixels, each of which reads few logits.

    Args:
        size: Pixels of the frame along the axis.
        fitted: The same in the 1024 frame.
        most: Pixels of a block.
    """
    steps = max(-(-size // most), -(-fitted * LOW_RES // (PROMPT_FRAME * _BAND)))
    edges = [size * step // steps for step in range(steps + 1)]
    return tuple(band(size, fitted, start, stop) for start, stop in pairwise(edges) if stop > start)


def band(size: int, fitted: int, start: int, stop: int) -> Band:
    """Rows `start` to `stop` of (1024 → frame) times (256 → 1024)."""
    outer, outer_weight = (taps[start:stop] for taps in _taps(fitted, size))
    inner, inner_weight = _taps(LOW_RES, PROMPT_FRAME)
    index = inner[outer].reshape(stop - start, 4)
    weight = (outer_weight[:, :, None] * inner_weight[outer]).reshape(stop - start, 4)
    first, last = int(index.min()), int(index.max())
    matrix = np.zeros((stop - start, last + 1 - first))
    np.add.at(matrix, (np.arange(stop - start)[:, None], index - first), weight)
    return Band(slice(start, stop), slice(first, last + 1), matrix.astype(np.float32))


@lru_cache(maxsize=32)
def _taps(old: int, new: int) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.float64]]:
    """Index and weight of the two values that bilinear scaling mixes, both [new, 2].

    Positions are rounded to float32, as PyTorch's ``interpolate(mode="bilinear", align_corners=False)`` does: at 1000
    pixels that moves a weight by up to 6e-5.
    """
    scale = np.float32(old) / np.float32(new)
    place = np.maximum(scale * (np.arange(new, dtype=np.float32) + np.float32(0.5)) - np.float32(0.5), np.float32(0))
    first = place.astype(np.intp)
    part = (place - first.astype(np.float32)).astype(np.float64)
    index = np.stack((first, np.minimum(first + 1, old - 1)), axis=1)
    return np.minimum(index, old - 1), np.stack((1 - part, part), axis=1)
