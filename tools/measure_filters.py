# SPDX-License-Identifier: Apache-2.0
"""Measure what "segment everything" does after the mask decoder, at several sizes of frame.

``python tools/measure_filters.py ENGINE`` decodes a grid of 32×32 points once, and then filters the same low-res masks
for frames of several sizes, the decoder left out. Thresholds are chosen so that many masks stay. Beside it, in PyTorch,
the least of what the original does with each mask: scale it up twice, and count. The table is in docs/performance.md.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

import evit_deploy
from evit_deploy.data.masks import LowRes, PromptFrame
from evit_deploy.data.scenes import render_scene
from evit_deploy.runtime import SegmentAnything
from evit_deploy.runtime.sam import EverythingOptions
from evit_deploy.runtime.sam.everything import generate_masks
from evit_deploy.runtime.sam.grid import crops_of

SIZES = ((480, 640), (720, 1280), (1080, 1920), (3000, 4000))
OFFSET, SHARE, ROUNDS, COMPARED = 0.5, 0.68, 3, 16


class Replay:
    """Answers like a mask decoder, with masks that it was given."""

    def __init__(self, batches: list[LowRes]) -> None:
        self._batches = batches
        self._next = 0

    def embed(self, _frame: Any) -> None:
        """Begin again."""
        self._next = 0

    def decode(self, _embedding: None, coords: Any, _labels: Any) -> Iterator[LowRes]:
        """The masks of the next points."""
        done = 0
        while done < len(coords):
            batch = self._batches[self._next]
            self._next += 1
            done += len(batch.iou)
            yield batch


def fastest(call: Callable[[], object]) -> float:
    """Seconds of the fastest of some calls."""
    times = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)


def original(masks: torch.Tensor, size: tuple[int, int]) -> None:
    """Scale low-res masks up to a frame, and count what stability and boxes need."""
    height, width = PromptFrame(*size).fitted
    square = F.interpolate(masks[None], (1024, 1024), mode="bilinear", align_corners=False)[..., :height, :width]
    full = F.interpolate(square, size, mode="bilinear", align_corners=False)[0]
    for threshold in (OFFSET, -OFFSET):
        (full > threshold).sum(-1, dtype=torch.int16).sum(-1, dtype=torch.int32)
    inside = full > 0
    inside.any(1)
    inside.any(2)


def main() -> None:
    """Print a row for each size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("engine", type=Path)
    frame = render_scene(5, 720, 1280).image
    with evit_deploy.load(parser.parse_args().engine) as sam:
        assert isinstance(sam, SegmentAnything), "not an engine of a segment-anything model"
        height, width, _ = frame.shape
        points = crops_of(height, width, EverythingOptions())[0].points(32)
        ones = np.ones((len(points), 1), np.int32)
        batches = [
            LowRes(one.masks.copy(), one.iou.copy()) for one in sam.decode(sam.embed(frame), points[:, None], ones)
        ]
    iou = np.concatenate([batch.iou.ravel() for batch in batches])
    threshold = float(np.quantile(iou, 1 - SHARE))
    options = EverythingOptions(pred_iou_thresh=threshold, stability_score_thresh=0.27, stability_score_offset=OFFSET)
    judged = int((iou > threshold).sum())
    some = np.concatenate([batch.masks.reshape(-1, 256, 256) for batch in batches[:4]])[:COMPARED]
    tensor = torch.from_numpy(some)
    print(f"{len(iou)} masks, {judged} past the predicted IoU")
    for height, width in SIZES:
        blank = np.zeros((height, width, 3), np.uint8)
        replay = Replay(batches)
        found = generate_masks(replay, blank, options)
        ours = fastest(partial(generate_masks, replay, blank, options))
        theirs = fastest(partial(original, tensor, (height, width))) / len(tensor)
        print(
            f"| {width}x{height} | {len(found)} | {ours:.2f} | {1e3 * ours / judged:.2f} | {1e3 * theirs:.1f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
