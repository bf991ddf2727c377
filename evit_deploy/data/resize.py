# SPDX-License-Identifier: Apache-2.0
"""Resizing exactly as the reference implementation does it, with numpy alone.

The kernel is part of a model's contract: trained with one, evaluated with another, it loses accuracy. Three are needed:

* ``opencv-cubic`` (segmentation): `cv2.INTER_CUBIC`, a = -0.75, four taps, no antialiasing, half-pixel centres.
* ``pillow-bicubic`` (classification): Pillow's bicubic, a = -0.5, support widened when shrinking (antialiasing).
* ``pillow-bilinear`` (Segment Anything): Pillow's bilinear, support widened when shrinking.

Images are resized in the same fixed-point arithmetic as those libraries. Pillow 13's result is matched bit for bit,
down to its rule for which axis comes first (earlier versions always take the width first, which moves some pixels of
tall pictures by one grey level); OpenCV's to one grey level (its vector code rounds differently on different CPUs).
Where the library itself is installed it is used, because it is faster.

Source of the arithmetic: Pillow 13.0.0, ``src/libImaging/Resample.c``.
"""

from __future__ import annotations

import importlib
from functools import lru_cache
from types import ModuleType
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

UInt8 = npt.NDArray[np.uint8]
Float32 = npt.NDArray[np.float32]
Scalar = TypeVar("Scalar", np.uint8, np.float32)

_BITS = {"opencv-cubic": 11, "pillow-bicubic": 22, "pillow-bilinear": 22}
_PILLOW = {"pillow-bicubic": "BICUBIC", "pillow-bilinear": "BILINEAR"}


def resize_image(
    image: UInt8, height: int, width: int, kernel: str, *, out: UInt8 | None = None, use_libraries: bool = True
) -> UInt8:
    """Resize an image.

    Args:
        image: uint8 [H, W, 3].
        height: New height in pixels.
        width: New width in pixels.
        kernel: "opencv-cubic", "pillow-bicubic" or "pillow-bilinear".
        out: uint8 [height, width, 3] to write into where OpenCV does the work.
        use_libraries: Use OpenCV or Pillow where installed.

    Returns:
        uint8 [height, width, 3]; the image itself if it already has that size.
    """
    if image.shape[:2] == (height, width):
        return image
    if use_libraries and kernel == "opencv-cubic" and (cv2 := _optional("cv2")):
        return np.asarray(cv2.resize(image, (width, height), dst=out, interpolation=cv2.INTER_CUBIC), np.uint8)
    if use_libraries and kernel in _PILLOW and (pil := _optional("PIL.Image")):
        method = getattr(pil.Resampling, _PILLOW[kernel])
        return np.asarray(pil.fromarray(image).resize((width, height), method), np.uint8)
    if kernel == "opencv-cubic":
        rows = _weighted_sum(_weighted_sum(image, 1, width, kernel), 0, height, kernel)
        return _round(rows, 2 * _BITS[kernel])
    shrinks = image.shape[0] - height
    tall = shrinks > 0 and shrinks > 2 * (image.shape[1] - width)
    for axis, size in ((0, height), (1, width)) if tall else ((1, width), (0, height)):
        if image.shape[axis] != size:
            image = _round(_weighted_sum(image, axis, size, kernel), _BITS[kernel])
    return image


def upsample_bicubic(
    maps: npt.NDArray[np.floating[Any]], height: int, width: int, rows: slice = slice(None)
) -> Float32:
    """Bicubic resize of feature maps, as ``torch.nn.functional.interpolate(mode="bicubic")`` (a = -0.75).

    Args:
        maps: Float [C, h, w].
        height: New height.
        width: New width.
        rows: The rows of the result that are wanted.

    Returns:
        float32 [C, height (or as many as `rows` picks), width].
    """
    _, old_height, old_width = maps.shape
    vertical = _matrix(old_height, height)[rows]
    used = np.flatnonzero(vertical.any(axis=0))
    near = slice(used[0], used[-1] + 1)
    # Few source rows feed a strip, so the cheap vertical step leaves little for the horizontal one.
    return np.asarray((vertical[:, near] @ maps[:, near].astype(np.float32)) @ _matrix(old_width, width).T)


def resize_nearest(
    values: npt.NDArray[Scalar], height: int, width: int, out: npt.NDArray[Scalar] | None = None
) -> npt.NDArray[Scalar]:
    """Resize a map [h, w] by taking the nearest value, so that classes do not mix; pixel centres are aligned."""
    if values.shape == (height, width):
        return values
    index = _nearest(values.shape[0], values.shape[1], height, width)
    return np.take(values.ravel(), index, out=out, mode="clip")


@lru_cache(maxsize=4)
def _nearest(old_height: int, old_width: int, height: int, width: int) -> npt.NDArray[np.intp]:
    """Flat source index of every pixel, [height, width]."""
    rows = (2 * np.arange(height) + 1) * old_height // (2 * height)
    columns = (2 * np.arange(width) + 1) * old_width // (2 * width)
    return np.asarray(rows[:, None] * old_width + columns, np.intp)


@lru_cache(maxsize=8)
def _matrix(old: int, new: int) -> Float32:
    """Dense [new, old] matrix of the cubic taps."""
    index, weight = _taps(old, new, "opencv-cubic")
    matrix = np.zeros((new, old), np.float64)
    np.add.at(matrix, (np.arange(new)[:, None], index), weight)
    return matrix.astype(np.float32)


def _cubic(x: npt.NDArray[np.float64], a: float) -> npt.NDArray[np.float64]:
    """Keys' cubic convolution kernel."""
    x = np.abs(x)
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = (((x - 5) * x + 8) * x - 4) * a
    return np.where(x < 1, near, np.where(x < 2, far, 0.0))


def _taps(old: int, new: int, kernel: str) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.float64]]:
    """Source index and weight of each tap, both [new, taps]."""
    scale = old / new
    centre = (np.arange(new) + 0.5) * scale
    if kernel == "opencv-cubic":
        first = np.floor(centre - 0.5).astype(np.intp) - 1
        index = first[:, None] + np.arange(4)
        weight = _cubic(index + 0.5 - centre[:, None], -0.75)
        return np.clip(index, 0, old - 1), weight
    stretch = max(scale, 1.0)
    support = stretch * (1 if kernel == "pillow-bilinear" else 2)
    first = np.maximum((centre - support + 0.5).astype(np.intp), 0)
    last = np.minimum((centre + support + 0.5).astype(np.intp), old)
    index = first[:, None] + np.arange(int((last - first).max()))
    place = (index - centre[:, None] + 0.5) * (1.0 / stretch)
    weight = np.maximum(1 - np.abs(place), 0.0) if kernel == "pillow-bilinear" else _cubic(place, -0.5)
    weight[index >= last[:, None]] = 0.0
    return np.minimum(index, old - 1), weight / weight.sum(axis=1, keepdims=True)


@lru_cache(maxsize=16)
def _fixed_taps(old: int, new: int, kernel: str) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.int32]]:
    index, weight = _taps(old, new, kernel)
    return index, np.rint(weight * (1 << _BITS[kernel])).astype(np.int32)


def _weighted_sum(image: npt.NDArray[Any], axis: int, new: int, kernel: str) -> npt.NDArray[np.int32]:
    """Fixed-point resize of one axis, before rounding."""
    index, weight = _fixed_taps(image.shape[axis], new, kernel)
    shape = (new, 1, 1) if axis == 0 else (1, new, 1)
    total = np.zeros((new, *image.shape[1:]) if axis == 0 else (image.shape[0], new, image.shape[2]), np.int32)
    for tap in range(index.shape[1]):
        total += np.take(image, index[:, tap], axis=axis) * weight[:, tap].reshape(shape)
    return total


def _round(total: npt.NDArray[np.int32], bits: int) -> UInt8:
    return np.asarray(np.clip((total + (1 << (bits - 1))) >> bits, 0, 255), np.uint8)


@lru_cache(maxsize=4)
def _optional(name: str) -> ModuleType | None:
    try:
        return importlib.import_module(name)
    except ImportError:
        return None
