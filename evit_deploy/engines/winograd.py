# SPDX-License-Identifier: Apache-2.0
"""Dense 3×3 convolutions in a quarter of the multiplications, for OpenVINO on CPUs, whose library convolves directly.

Winograd's F(4×4, 3×3) makes 4×4 outputs of a 6×6 tile of the input with 36 multiplications per pair of channels in
place of 144: tile and kernel are transformed, multiplied value by value, and the products transformed back::

    Y = Aᵀ [ (G g Gᵀ) ⊙ (Bᵀ d B) ] A

Summed over the input channels, the products of all tiles are 36 matrix products, and the transforms of all tiles are
two more: slices and matrix products make the whole convolution. The kernel's transform is done here, in FP64. The price
is memory: 36 numbers for every nine of a kernel.

It is the same sum in another order: in FP32 its error is about that of a direct convolution (docs/numerics.md). The
eight bits of BF16 would not do.

Source: Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", arXiv 1509.09308.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

TILE, WINDOW = 4, 6
"""Outputs of a tile along an axis, and the inputs they need."""

FEWEST_CHANNELS = 128
"""With fewer, moving the tiles takes as long as convolving them."""

MOST_BYTES = 40 << 20
"""Largest transformed kernel."""

_INPUT = np.array(
    [
        [4, 0, -5, 0, 1, 0],
        [0, -4, -4, 1, 1, 0],
        [0, 4, -4, -1, 1, 0],
        [0, -2, -1, 2, 1, 0],
        [0, 2, -1, -2, 1, 0],
        [0, 4, 0, -5, 0, 1],
    ],
    np.float64,
)
_KERNEL = np.array(
    [
        [1 / 4, 0, 0],
        [-1 / 6, -1 / 6, -1 / 6],
        [-1 / 6, 1 / 6, -1 / 6],
        [1 / 24, 1 / 12, 1 / 6],
        [1 / 24, -1 / 12, 1 / 6],
        [0, 0, 1],
    ],
    np.float64,
)
_OUTPUT = np.array(
    [[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]],
    np.float64,
)


def use_winograd(model: Any) -> int:
    """Rewrite the dense 3×3 convolutions of a graph where that saves time.

    Args:
        model: An `openvino.Model` in FP32. Changed in place: equal up to rounding.

    Returns:
        How many convolutions were rewritten.
    """
    chosen = [node for node in model.get_ordered_ops() if node.get_type_name() == "Convolution" and _gains(node)]
    for node in chosen:
        result = _convolve(node)
        result.set_friendly_name(node.get_friendly_name())
        node.output(0).replace(result.output(0))
    model.validate_nodes_and_infer_types()
    return len(chosen)


def _gains(node: Any) -> bool:
    """Whether a node is such a convolution: stride 1, padding 1, constant weights, whole tiles, enough channels."""
    source = node.input_value(1).get_node()
    if source.get_type_name() != "Constant" or list(source.shape)[2:] != [3, 3]:
        return False
    rows, columns = list(node.input_value(0).get_partial_shape())[2:]
    outputs, inputs = list(source.shape)[:2]
    options = node.get_attributes()
    return bool(
        list(options["strides"]) == list(options["dilations"]) == [1, 1]
        and list(options["pads_begin"]) == list(options["pads_end"]) == [1, 1]
        and rows.is_static
        and columns.is_static
        and rows.get_length() % TILE == columns.get_length() % TILE == 0
        and min(inputs, outputs) >= FEWEST_CHANNELS
        and inputs * outputs * WINDOW**2 * 4 <= MOST_BYTES
    )


def transformed(weight: Array) -> Array:
    """A kernel [O, C, 3, 3] as 36 matrices, float32 [36, C, O]."""
    values = np.einsum("ai,bj,ocij->abco", _KERNEL, _KERNEL, weight.astype(np.float64))
    return np.ascontiguousarray(values.reshape(WINDOW**2, *values.shape[2:]), np.float32)


def _convolve(node: Any) -> Any:
    """The nodes of one convolution; channels stand last in between, so that all that moves is whole vectors."""
    from openvino import opset13 as ops

    weight = node.input_value(1).get_node().data
    outputs, inputs = weight.shape[:2]
    rows, columns = (side.get_length() // TILE for side in list(node.input_value(0).get_partial_shape())[2:])
    tiles = _tiles(node.input_value(0), inputs, rows, columns)
    forward, back = (np.kron(matrix, matrix).astype(np.float32) for matrix in (_INPUT, _OUTPUT))
    windows = _reshape(ops.matmul(ops.constant(forward), tiles, False, False), WINDOW**2, -1, inputs)
    products = ops.matmul(windows, ops.constant(transformed(weight)), False, False)
    pixels = ops.matmul(ops.constant(back), _reshape(products, WINDOW**2, -1), False, False)
    pixels = _transpose(_reshape(pixels, TILE, TILE, -1, rows, columns, outputs), 2, 3, 0, 4, 1, 5)
    return _transpose(_reshape(pixels, -1, rows * TILE, columns * TILE, outputs), 0, 3, 1, 2)


def _tiles(image: Any, channels: int, rows: int, columns: int) -> Any:
    """Overlapping 6×6 tiles of a map [B, C, H, W], as [36, B · rows · columns · C].

    The map is cut into 4×4 blocks; a tile is a block and the first two rows and columns of its neighbours.
    """
    from openvino import opset13 as ops

    before, after = np.array([0, 1, 1, 0]), np.array([0, TILE - 1, TILE - 1, 0])
    padded = ops.pad(_transpose(image, 0, 2, 3, 1), before, after, "constant", arg_pad_value=np.float32(0))
    blocks = _transpose(_reshape(padded, -1, rows + 1, TILE, columns + 1, TILE, channels), 2, 4, 0, 1, 3, 5)
    wide = _with_neighbour(blocks, inside=1, across=4, count=columns)  # [4, 6, B, rows + 1, columns, C]
    return _reshape(_with_neighbour(wide, inside=0, across=3, count=rows), WINDOW**2, -1)


def _with_neighbour(blocks: Any, inside: int, across: int, count: int) -> Any:
    """Lengthen blocks along an axis by the first values of the next block.

    Args:
        blocks: [4 or 6, 4 or 6, B, rows, columns, C].
        inside: Axis within a block.
        across: Axis that counts the blocks.
        count: How many blocks there are but for the last one, which is a neighbour only.
    """
    from openvino import opset13 as ops

    own = _slice(blocks, (across,), (0,), (count,))
    neighbours = _slice(blocks, (inside, across), (0, 1), (WINDOW - TILE, count + 1))
    return ops.concat([own, neighbours], inside)


def _slice(values: Any, axes: tuple[int, ...], starts: tuple[int, ...], ends: tuple[int, ...]) -> Any:
    from openvino import opset13 as ops

    return ops.slice(values, np.array(starts), np.array(ends), np.ones(len(axes), np.int64), np.array(axes))


def _reshape(values: Any, *shape: int) -> Any:
    from openvino import opset13 as ops

    return ops.reshape(values, np.array(shape, np.int64), False)


def _transpose(values: Any, *order: int) -> Any:
    from openvino import opset13 as ops

    return ops.transpose(values, np.array(order, np.int64))
