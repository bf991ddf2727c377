# SPDX-License-Identifier: Apache-2.0
"""From a frame to the graph's input, by the rules in the manifest."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from evit_deploy.data.masks import longest_side
from evit_deploy.data.resize import resize_image
from evit_deploy.errors import UsageError
from evit_deploy.manifest import GraphInfo, Preprocess

UInt8 = npt.NDArray[np.uint8]
EXTREME_ASPECT = 32
SIZE = "size"
"""Input of an encoder of images: (height, width) in pixels of the picture in the canvas."""


def check_frame(frame: Any) -> UInt8:
    """Return a frame that is uint8 [H, W, 3] with H, W ≥ 1.

    Raises:
        UsageError: Anything else, with what it was.
    """
    if not isinstance(frame, np.ndarray):
        raise UsageError("a frame must be a numpy array", found=type(frame).__name__, expected="uint8 [H, W, 3] RGB")
    if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3 or 0 in frame.shape:
        raise UsageError(
            "this is no frame",
            found=f"{frame.dtype} {list(frame.shape)}",
            expected="uint8 [H, W, 3] RGB, H and W at least 1",
            fix="convert grey or RGBA images to RGB, floats in 0..1 to (255 * x).round().astype('uint8')",
        )
    return frame


def fit_frame(
    frame: UInt8,
    rules: Preprocess,
    height: int,
    width: int,
    out: UInt8 | None = None,
    *,
    use_libraries: bool = True,
) -> UInt8:
    """Resize (and for classifiers crop, for Segment Anything pad) a frame to the graph's size.

    Args:
        frame: uint8 [H, W, 3] RGB.
        rules: The manifest's preprocessing.
        height: Height of the graph's input in pixels.
        width: Width of the graph's input in pixels.
        out: uint8 [height, width, 3] that may be written into.
        use_libraries: Let OpenCV or Pillow do it where installed; their pixels may differ by one grey level.

    Returns:
        uint8 [height, width, 3]; the frame itself if it already has that size. For "longest-side" the picture stands
        at the top left and fills `fitted_size`.
    """
    if rules.resize == "stretch":
        return resize_image(frame, height, width, rules.kernel, out=out, use_libraries=use_libraries)
    if rules.resize == "longest-side":
        return _on_canvas(frame, rules, height, out, use_libraries)
    size = _covering_size(frame.shape[:2], rules.crop_ratio, height, width)
    sized = resize_image(frame, *size, rules.kernel, use_libraries=use_libraries)
    top, left = round((sized.shape[0] - height) / 2), round((sized.shape[1] - width) / 2)
    return sized[top : top + height, left : left + width]


def fitted_size(shape: tuple[int, ...], longest: int) -> tuple[int, int]:
    """(height, width) of a frame of (height, width, ...) that was scaled to a longest side, in pixels."""
    return longest_side(shape[0], shape[1], longest)


def _on_canvas(frame: UInt8, rules: Preprocess, side: int, out: UInt8 | None, use_libraries: bool) -> UInt8:
    """Put a scaled frame at the top left of a square of zeros."""
    if frame.shape[:2] == (side, side):
        return frame
    height, width = fitted_size(frame.shape, side)
    picture = resize_image(frame, height, width, rules.kernel, use_libraries=use_libraries)
    canvas = np.empty((side, side, 3), np.uint8) if out is None else out
    canvas[:height, :width] = picture
    canvas[height:] = 0
    canvas[:height, width:] = 0
    return canvas


def _covering_size(size: tuple[int, ...], crop_ratio: float, height: int, width: int) -> tuple[int, int]:
    """Smallest size of the frame's shape that covers the crop; the long side is rounded down, as torchvision does."""
    tall, wide = size
    if max(size) > EXTREME_ASPECT * min(size):
        raise UsageError(
            "the frame is too narrow to be classified",
            found=f"{tall}x{wide}",
            expected=f"a long side of at most {EXTREME_ASPECT} times the short one",
        )
    least_height, least_width = math.ceil(height / crop_ratio), math.ceil(width / crop_ratio)
    if least_height * wide >= least_width * tall:
        return least_height, least_height * wide // tall
    return least_width * tall // wide, least_width


def graph_inputs(
    images: UInt8, sizes: npt.NDArray[np.int32], graph: GraphInfo, rules: Preprocess
) -> dict[str, npt.NDArray[Any]]:
    """Turn fitted images into all inputs of a graph for images.

    Args:
        images: uint8 [N, H, W, 3] of the graph's size.
        sizes: int32 [N, 2], (height, width) in pixels that each picture fills of its image, from the top left.
        graph: The manifest's graph.
        rules: The manifest's preprocessing.

    Returns:
        `graph_input` by its name, and the sizes where the graph asks for them. Where it takes tensors, what lies
        outside of the picture is 0, as the reference pads: after normalising.
    """
    first = graph.inputs[0].name
    inputs = {first: graph_input(images, graph, rules)}
    if graph.input == "tensor" and rules.resize == "longest-side":
        for image, (height, width) in zip(inputs[first], sizes, strict=True):
            image[:, height:] = 0
            image[:, :height, width:] = 0
    if any(tensor.name == SIZE for tensor in graph.inputs):
        inputs[SIZE] = np.ascontiguousarray(sizes, np.int32)
    return inputs


def graph_input(images: UInt8, graph: GraphInfo, rules: Preprocess) -> npt.NDArray[Any]:
    """Turn fitted images into the graph's input.

    Args:
        images: uint8 [N, H, W, 3] of the graph's size.
        graph: The manifest's graph.
        rules: The manifest's preprocessing.

    Returns:
        The images themselves for an "image" graph; normalised [N, 3, H, W] of its own float type for a "tensor" graph.
    """
    if graph.input == "image":
        return images
    return normalise(images, rules).astype(graph.inputs[0].dtype, copy=False)


def normalise(images: UInt8, rules: Preprocess) -> npt.NDArray[np.float32]:
    """(image / 255 - mean) / std, as contiguous float32 [N, 3, H, W]."""
    mean, std = (np.array(values, np.float32) for values in (rules.mean, rules.std))
    scaled = (images.astype(np.float32) / np.float32(255) - mean) / std
    return np.ascontiguousarray(scaled.transpose(0, 3, 1, 2))
