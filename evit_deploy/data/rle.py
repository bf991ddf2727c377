# SPDX-License-Identifier: Apache-2.0
"""Masks as run lengths, in the two forms of COCO, with numpy alone.

A mask is read column by column; the counts are the lengths of its runs, the first of which is one of zeros (0 long if
the first pixel is set). COCO's compressed string writes each count as the difference to the one two places earlier
(from the fourth on), in groups of five bits, lowest first, bit 5 meaning "more follows", plus 48 to be printable.
Source: cocodataset/cocoapi, common/maskApi.c; the strings equal those of pycocotools.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from evit_deploy.errors import UsageError

Bool = npt.NDArray[np.bool_]
Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]
_GROUPS = 13  # of five bits, in a 64-bit number
_LONG_RUN = 256  # pixels; runs that are longer on average are painted faster one by one


@dataclass(frozen=True, eq=False)
class Rle:
    """A mask as run lengths.

    Attributes:
        height: Of the mask, in pixels.
        width: Of the mask, in pixels.
        counts: int32 [R], lengths of the runs in column-major order; zeros, ones, zeros, …; they sum to height * width,
            which is below 2^31.
    """

    height: int
    width: int
    counts: Int32

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Rle):
            return NotImplemented
        return (self.height, self.width) == (other.height, other.width) and np.array_equal(self.counts, other.counts)

    def __hash__(self) -> int:
        return hash((self.height, self.width, self.counts.tobytes()))

    @property
    def area(self) -> int:
        """Pixels that are set."""
        return int(self.counts[1::2].sum())

    def box(self) -> tuple[int, int, int, int]:
        """Smallest and largest index of a pixel that is set: (x0, y0, x1, y1), all inclusive; zeros where none is."""
        starts, ends = self.runs()
        if not len(starts):
            return 0, 0, 0, 0
        last = ends - 1
        left, right = starts // self.height, last // self.height
        # A run that goes on in the next column holds this column's last and that column's first pixel.
        if (left != right).any():
            top, bottom = 0, self.height - 1
        else:
            top, bottom = int((starts % self.height).min()), int((last % self.height).max())
        return int(left[0]), top, int(right[-1]), bottom

    def runs(self) -> tuple[Int64, Int64]:
        """First flat index of each run of ones, and the index behind its last; both int64, column-major."""
        edges = np.cumsum(self.counts, dtype=np.int64)
        starts, ends = edges[:-1:2], edges[1::2]
        full = ends > starts
        return (starts, ends) if full.all() else (starts[full], ends[full])

    def decode(self) -> Bool:
        """The mask, bool [H, W], column-major in memory."""
        if len(self.counts) * _LONG_RUN > self.height * self.width:
            flat = np.repeat(np.arange(len(self.counts)) % 2 == 1, self.counts)
        else:
            flat = np.zeros(self.height * self.width, np.bool_)
            for start, end in zip(*(edge.tolist() for edge in self.runs()), strict=True):
                flat[start:end] = True
        return np.asarray(flat.reshape(self.width, self.height).T, np.bool_)

    def to_dict(self) -> dict[str, Any]:
        """COCO's uncompressed form: {"size": [H, W], "counts": [int, …]}."""
        return {"size": [self.height, self.width], "counts": self.counts.tolist()}

    def to_coco(self) -> dict[str, Any]:
        """COCO's compressed form with the counts as str, so that it can be written as JSON."""
        return {"size": [self.height, self.width], "counts": _compress(self.counts)}


def encode(mask: Bool) -> Rle:
    """Run lengths of a mask, bool [H, W] of any strides; column-major ones are read without a copy.

    Raises:
        UsageError: Not a bool array of two axes.
    """
    if mask.ndim != 2 or mask.dtype != np.bool_:
        raise UsageError("not a mask", found=f"{mask.dtype} {mask.shape}", expected="bool [H, W]")
    height, width = mask.shape
    flat = np.ascontiguousarray(mask.T).reshape(-1)
    if not flat.size:
        return Rle(height, width, np.zeros(1, np.int32))
    edges = find_changes(flat)
    head = [0, 0] if flat[0] else [0]
    counts = np.diff(np.concatenate([head, edges, [flat.size]]))
    return Rle(height, width, counts.astype(np.int32))


def from_dict(value: Mapping[str, Any]) -> Rle:
    """Read either COCO form, as `Rle.to_dict`, `Rle.to_coco` and pycocotools write it.

    Raises:
        UsageError: Size or counts are missing or do not fit each other.
    """
    try:
        height, width = (int(side) for side in value["size"])
        counts = value["counts"]
        if isinstance(counts, str):
            counts = counts.encode("ascii", "replace")
        numbers = _decompress(counts) if isinstance(counts, bytes) else np.asarray(counts, np.int64).reshape(-1)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise UsageError("not run lengths", expected='{"size": [H, W], "counts": …}') from error
    fits = height >= 0 and width >= 0 and height * width < 1 << 31 and (numbers >= 0).all()
    if not fits or int(numbers.sum()) != height * width:
        raise UsageError(
            "the run lengths do not fill the mask",
            found=f"{int(numbers.sum())} pixels",
            expected=f"{height} x {width} = {height * width}, below 2^31",
        )
    return Rle(height, width, numbers.astype(np.int32))


def find_changes(flat: Bool) -> Int64:
    """Indices at which a contiguous row of bools differs from the element before, int64, ascending."""
    differs = np.zeros(-(-flat.size // 8) * 8, np.bool_)
    np.not_equal(flat[1:], flat[:-1], out=differs[1 : flat.size])
    # Most eights hold no change: looking at each as one number is faster, and NumPy finds bools fastest.
    eights = np.flatnonzero(differs.view(np.uint64) != 0)
    if len(eights) * 4 > differs.size // 8:
        return np.flatnonzero(differs)
    place, within = np.nonzero(differs.reshape(-1, 8)[eights])
    return np.asarray(eights[place] * 8 + within, np.int64)


def _compress(counts: Int32) -> str:
    """COCO's string of counts."""
    values = counts.astype(np.int64)
    values[3:] -= counts[1:-2]
    longest = int(np.abs(values).max()).bit_length() // 5 + 1
    shifted = values[:, None] >> (5 * np.arange(longest, dtype=np.int64))
    rest = shifted >> 5
    groups = shifted & 31
    more = np.where(groups & 16, rest != -1, rest != 0)
    # A group is written if all before it announced another one.
    written = np.ones_like(more)
    np.logical_and.accumulate(more[:, :-1], axis=1, out=written[:, 1:])
    text = (groups | (more << 5)) + 48
    return bytes(text[written].astype(np.uint8)).decode("ascii")


def _decompress(text: bytes) -> Int64:
    """Counts of COCO's string."""
    groups = np.frombuffer(text, np.uint8).astype(np.int64) - 48
    last = (groups & 32) == 0
    if not len(groups) or (groups < 0).any() or (groups > 63).any() or not last[-1]:
        raise UsageError("the compressed run lengths are cut off or damaged", found=f"{len(text)} characters")
    ends = np.flatnonzero(last)
    starts = np.concatenate([[0], ends[:-1] + 1])
    place = np.arange(len(groups)) - np.repeat(starts, ends - starts + 1)
    if place.max() >= _GROUPS:
        raise UsageError("the compressed run lengths are cut off or damaged", found="a number of more than 64 bits")
    values = np.add.reduceat((groups & 31) << (5 * place), starts)
    negative = (groups[ends] & 16) != 0
    values[negative] -= np.int64(1) << (5 * (place[ends][negative] + 1))
    values[1::2] = np.cumsum(values[1::2])
    values[2::2] = np.cumsum(values[2::2])
    return np.asarray(values, np.int64)
