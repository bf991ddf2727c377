# SPDX-License-Identifier: Apache-2.0
"""Connected components of a mask, 8-connected, with numpy alone.

A mask is a list of horizontal runs. Runs of neighbouring rows that touch, corners included, are joined; runs are two or
three orders of magnitude fewer than pixels, so that few, short vector operations find the components.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from evit_deploy.data.rle import find_changes

Bool = npt.NDArray[np.bool_]
Int64 = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Components:
    """The components of a mask, numbered from 0 in the order of their first pixel, row by row.

    Attributes:
        shape: (height, width) of the mask, in pixels.
        starts: int64 [R], flat row-major index of each run's first pixel.
        ends: int64 [R], the index behind its last pixel.
        labels: int64 [R], the component each run belongs to.
        sizes: int64 [C], pixels of each component.
    """

    shape: tuple[int, int]
    starts: Int64
    ends: Int64
    labels: Int64
    sizes: Int64

    def mask(self, chosen: Bool) -> Bool:
        """The mask of some components.

        Args:
            chosen: bool [C].

        Returns:
            bool [H, W].
        """
        return self._paint(chosen[self.labels].astype(np.int8)).view(np.bool_)

    def image(self) -> npt.NDArray[np.int32]:
        """The number of each pixel's component, int32 [H, W]; -1 where the mask is not set."""
        painted = self._paint((self.labels + 1).astype(np.int32))
        painted -= 1
        return painted

    def _paint(self, values: npt.NDArray[np.signedinteger]) -> npt.NDArray[np.signedinteger]:
        """Give the pixels of each run a value, others 0; [H, W] of the values' type."""
        height, width = self.shape
        steps = np.zeros(height * width + 1, values.dtype)
        steps[self.starts] += values  # no two runs start, and no two end, at the same pixel
        steps[self.ends] -= values
        return np.cumsum(steps[:-1], dtype=values.dtype).reshape(height, width)


def find_components(mask: Bool) -> Components:
    """The 8-connected components of a mask, bool [H, W].

    Pixels that touch at a side or a corner belong together, as with `cv2.connectedComponents(connectivity=8)`.
    """
    height, width = mask.shape
    starts, ends = _runs(mask)
    roots = _join(len(starts), *_touching(starts, ends, width + 1))
    _, labels = np.unique(roots, return_inverse=True)
    sizes = np.bincount(labels, weights=ends - starts).astype(np.int64)
    rows = starts // (width + 1)
    return Components((height, width), starts - rows, ends - rows, labels.astype(np.int64), sizes)


def remove_small(mask: Bool, minimum: int, *, holes: bool) -> tuple[Bool, bool]:
    """Fill small holes of a mask, or remove its small islands.

    A hole is a component of the background, the one around the mask included. Where all islands are small, the largest
    stays.

    Args:
        mask: bool [H, W].
        minimum: Components of fewer pixels are small.
        holes: Fill holes; otherwise remove islands.

    Returns:
        The new mask, bool [H, W] (the same one where nothing is small), and whether something was small.
    """
    found = find_components(~mask if holes else mask)
    large = found.sizes >= minimum
    if large.all():
        return mask, False
    if holes:
        return ~found.mask(large), True
    if not large.any():
        large[int(found.sizes.argmax())] = True
    return found.mask(large), True


def _runs(mask: Bool) -> tuple[Int64, Int64]:
    """Start and end of each horizontal run, flat index in a frame that is one column wider, so that no run wraps."""
    height, width = mask.shape
    padded = np.zeros((height, width + 1), np.bool_)
    padded[:, :width] = mask
    flat = padded.reshape(-1)
    edges = find_changes(flat)
    if flat.size and flat[0]:
        edges = np.concatenate([[0], edges])
    return edges[::2], edges[1::2]


def _touching(starts: Int64, ends: Int64, stride: int) -> tuple[Int64, Int64]:
    """Pairs of runs, the second one row below the first, that share a side or a corner."""
    first = np.searchsorted(ends, starts + stride)
    count = np.searchsorted(starts, ends + stride, side="right") - first
    upper = np.repeat(np.arange(len(starts)), count)
    nth = np.arange(len(upper)) - np.repeat(np.cumsum(count) - count, count)
    return upper, first[upper] + nth


def _join(count: int, one: Int64, other: Int64) -> Int64:
    """Union-find over all pairs at once: the smallest member of each one's set, int64 [count].

    Each round hooks every root that has a smaller neighbour, which is at least half of those that have any, and then
    flattens the trees; so the rounds grow with the logarithm of the number of runs, however the mask winds.
    """
    parent = np.arange(count)
    while True:
        a, b = parent[one], parent[other]
        apart = a != b
        if not apart.any():
            return parent
        one, other, a, b = one[apart], other[apart], a[apart], b[apart]
        parent[np.maximum(a, b)] = np.minimum(a, b)
        while (parent[parent] != parent).any():
            parent = parent[parent]
