# SPDX-License-Identifier: Apache-2.0
"""Masks in plain PyTorch, for `sam_baseline`: stability, boxes, suppression, small regions, run lengths."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Bool = npt.NDArray[np.bool_]


def stability_of(logits: Tensor, offset: float) -> Tensor:
    """IoU [K] of masks with a raised and a lowered threshold, from logits [K, H, W]; NaN where both are empty."""
    return (logits > offset).sum((1, 2)) / (logits > -offset).sum((1, 2))


def boxes_of(masks: Tensor) -> Tensor:
    """Smallest and largest index of the pixels that are set, int64 [K, 4], from bool [K, H, W]; zeros if none is."""
    _, height, width = masks.shape
    rows, columns = masks.any(2), masks.any(1)
    y, x = torch.arange(height), torch.arange(width)
    low = [torch.where(line, place, place[-1]).amin(1) for line, place in ((columns, x), (rows, y))]
    high = [torch.where(line, place, 0).amax(1) for line, place in ((columns, x), (rows, y))]
    return torch.stack([*low, *high], dim=1) * rows.any(1, keepdim=True)


def suppress(boxes: Tensor, scores: Tensor, threshold: float) -> Tensor:
    """Greedy non-maximum suppression: indices of the boxes [K, 4] that stay, best first; ties keep the earlier one."""
    order = scores.argsort(descending=True, stable=True)
    corners = boxes[order].double()
    area = (corners[:, 2:] - corners[:, :2]).prod(1)
    gone, kept = torch.zeros(len(order), dtype=torch.bool), []
    for index in range(len(order)):
        if gone[index]:
            continue
        kept.append(index)
        low, high = torch.max(corners[:, :2], corners[index, :2]), torch.min(corners[:, 2:], corners[index, 2:])
        common = (high - low).clamp(min=0).prod(1)
        gone |= common / (area + area[index] - common) > threshold  # 0 / 0 is not greater
    return order[torch.tensor(kept, dtype=torch.int64)]


def without_small_regions(mask: Bool, least: int) -> tuple[Bool, bool]:
    """Fill holes, then drop islands of fewer than `least` pixels; the largest island stays.

    Returns:
        The mask, and whether there was any small region (a small island that stays counts, too).
    """
    touched = False
    for holes in (True, False):
        _, labels, stats, _ = cv2.connectedComponentsWithStats((mask ^ holes).astype(np.uint8), connectivity=8)
        sizes = stats[1:, cv2.CC_STAT_AREA]
        small = np.flatnonzero(sizes < least) + 1
        if not len(small):
            continue
        touched = True
        if holes:
            mask = mask | np.isin(labels, small)
        else:
            large = np.setdiff1d(np.arange(1, len(sizes) + 1), small)
            mask = np.isin(labels, large if len(large) else [int(sizes.argmax()) + 1])
    return mask, touched


def encode_all(masks: Tensor) -> list[list[int]]:
    """Run lengths of masks [K, H, W], column by column."""
    flat = masks.transpose(1, 2).flatten(1)
    changes = flat[:, 1:] ^ flat[:, :-1]
    rows, places = changes.nonzero(as_tuple=True)
    runs = []
    for index, starts_set in enumerate(flat[:, 0].tolist()):
        edges = torch.cat([torch.tensor([0]), places[rows == index] + 1, torch.tensor([flat.shape[1]])])
        runs.append([0] * starts_set + edges.diff().tolist())
    return runs


def encode(mask: Bool) -> list[int]:
    """Run lengths of one mask [H, W]."""
    return encode_all(torch.from_numpy(mask)[None])[0]


def decode(runs: list[int], size: tuple[int, ...]) -> Bool:
    """The mask [H, W] of run lengths."""
    flat = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    mask: Bool = flat.reshape(size[1], size[0]).T
    return mask
