# SPDX-License-Identifier: Apache-2.0
"""Shapes of a graph's tensors where axes are open: the batch, and a mask decoder's slots for points and its masks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from evit_deploy.errors import UsageError
from evit_deploy.manifest import GraphInfo, TensorInfo

_SHARED = ("mask", "has_mask")
"""Inputs of a mask decoder that one batch of prompts may share."""


def batch_of(graph: GraphInfo, inputs: Mapping[str, Any]) -> int:
    """Batch of checked inputs; the first axis of an input that is not open may be anything."""
    low, high = graph.batch
    if low == high:
        return low
    return int(next(inputs[tensor.name].shape[0] for tensor in graph.inputs if tensor.shape[0] == -1))


def fits(tensor: TensorInfo, batch: tuple[int, int], shape: tuple[int, ...]) -> bool:
    """Whether an array's shape is one that a graph of a range of batches takes."""
    if len(shape) != len(tensor.shape) or not all(
        found == size or (size == -1 and found > 0) for size, found in zip(tensor.shape, shape, strict=True)
    ):
        return False
    return tensor.shape[0] != -1 or batch[0] <= shape[0] <= batch[1]


def shown(tensor: TensorInfo, batch: tuple[int, int]) -> str:
    """Type and shape of a tensor in words."""
    sizes = [str(size) if size != -1 else "any" if axis else f"{batch[0]}..{batch[1]}"
             for axis, size in enumerate(tensor.shape)]  # fmt: skip
    return f"{tensor.dtype} [{', '.join(sizes)}]"


def require_together(graph: GraphInfo, inputs: Mapping[str, Any]) -> None:
    """Refuse inputs that fit one by one but not each other: fewer labels than points, masks for half of the prompts.

    Raises:
        UsageError: An open axis has another size than the same axis of the first input that has it open. Masks may be
            one for each prompt, or one for all.
    """
    sizes: dict[int, tuple[str, int]] = {}
    for tensor in graph.inputs:
        shape = inputs[tensor.name].shape
        for axis, size in enumerate(tensor.shape):
            if size != -1:
                continue
            name, expected = sizes.setdefault(axis, (tensor.name, shape[axis]))
            shared = tensor.name in _SHARED and axis == 0 and graph.input == "prompts"
            if shape[axis] != expected and not (shared and shape[0] == 1):
                raise UsageError(
                    f"the inputs '{name}' and '{tensor.name}' do not belong together",
                    found=f"{expected} and {shape[axis]} along axis {axis}",
                    expected="1, or as many" if shared else "as many",
                )
    if graph.input == "prompts" and len({inputs[name].shape[0] for name in _SHARED}) > 1:
        raise UsageError("the inputs 'mask' and 'has_mask' do not belong together", expected="one number per mask")
