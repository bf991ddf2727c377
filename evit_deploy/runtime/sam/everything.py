# SPDX-License-Identifier: Apache-2.0
"""Segment everything: masks of all objects of a frame, asked for by a grid of points.

The algorithm, its order and its rounding are those of `SamAutomaticMaskGenerator` of Segment Anything (Kirillov et al.,
2023, arXiv:2304.02643): three masks for each point; those of low predicted IoU, low stability or cut by a crop go; then
non-maximum suppression in each crop, between crops, and after small regions were cleaned up.

Masks are handled as they stream out of the decoder. Held at once are one batch of the decoder, the logits of `_AT_ONCE`
masks that passed the predicted IoU (16 MiB), their border tiles (32 MiB, or one mask), one mask of the frame's size,
and all masks that passed so far as run lengths. Logits of the frame's size exist for a few tiles only.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from evit_deploy.data.components import remove_small
from evit_deploy.data.masks import LOW_RES, LowRes, PromptFrame
from evit_deploy.data.rle import Rle, encode
from evit_deploy.progress import Progress, Step, silent
from evit_deploy.runtime.preprocess import check_frame
from evit_deploy.runtime.sam.filters import near_crop_edge, suppress
from evit_deploy.runtime.sam.grid import Crop, EverythingOptions, crops_of
from evit_deploy.runtime.sam.records import MaskRecord
from evit_deploy.runtime.sam.tiles import tile_masks

UInt8 = npt.NDArray[np.uint8]
Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Index = npt.NDArray[np.intp]

_AT_ONCE = 64  # masks


class Promptable(Protocol):
    """What is asked of a `SegmentAnything`."""

    def embed(self, frame: UInt8) -> Any:
        """The embedding of a frame, uint8 [H, W, 3] RGB."""

    def decode(self, embedding: Any, coords: npt.NDArray[Any], labels: npt.NDArray[Any]) -> Iterator[LowRes]:
        """Masks for P prompts, [P, N, 2] in the frame's pixels and [P, N], as batches [b, 3, 256, 256] in order."""


@dataclass(frozen=True, eq=False)
class _Found:
    """K masks under way.

    Attributes:
        rles: The masks.
        boxes: int64 [K, 4], (x0, y0, x1, y1), inclusive.
        iou: float64 [K], predicted.
        stability: float64 [K].
        points: float64 [K, 2], (x, y).
        crops: Where each was looked for.
    """

    rles: list[Rle]
    boxes: npt.NDArray[np.int64]
    iou: Float64
    stability: Float64
    points: Float64
    crops: list[Crop]

    def take(self, which: Index) -> _Found:
        """Some of them, in this order."""
        chosen = which.tolist()
        return _Found(
            [self.rles[index] for index in chosen],
            self.boxes[which],
            self.iou[which],
            self.stability[which],
            self.points[which],
            [self.crops[index] for index in chosen],
        )

    @staticmethod
    def join(parts: list[_Found]) -> _Found:
        """All of several, in their order."""
        return _Found(
            [rle for part in parts for rle in part.rles],
            np.concatenate([np.empty((0, 4), np.int64), *(part.boxes for part in parts)]),
            np.concatenate([np.empty(0), *(part.iou for part in parts)]),
            np.concatenate([np.empty(0), *(part.stability for part in parts)]),
            np.concatenate([np.empty((0, 2)), *(part.points for part in parts)]),
            [crop for part in parts for crop in part.crops],
        )

    def records(self) -> list[MaskRecord]:
        """The results."""
        corners, points = self.boxes.tolist(), self.points.tolist()
        return [
            MaskRecord(
                rle,
                (x0, y0, x1 - x0, y1 - y0),
                float(iou),
                float(stability),
                (x, y),
                (crop.x0, crop.y0, crop.width, crop.height),
            )
            for rle, (x0, y0, x1, y1), iou, stability, (x, y), crop in zip(
                self.rles, corners, self.iou, self.stability, points, self.crops, strict=True
            )
        ]


def generate_masks(
    sam: Promptable, frame: UInt8, options: EverythingOptions | None = None, progress: Progress = silent
) -> list[MaskRecord]:
    """Find the masks of all objects of a frame.

    Args:
        sam: Embeds crops and decodes prompts.
        frame: uint8 [H, W, 3] RGB.
        options: What to look for and what to keep; Segment Anything's defaults where not given.
        progress: Hears of each point.

    Returns:
        The masks, in the order of the last suppression: of one crop, by falling predicted IoU. Empty where none passed.

    Raises:
        UsageError: Not such a frame.
    """
    frame, options = check_frame(frame), options or EverythingOptions()
    size = (frame.shape[0], frame.shape[1])
    crops = crops_of(*size, options)
    total = sum(options.points_of_layer(crop.layer) ** 2 for crop in crops)
    with progress("segment everything", total) as step:
        found = _Found.join([_search(sam, frame, crop, options, step) for crop in crops])
    if len(crops) > 1:
        areas = np.array([crop.area for crop in found.crops], np.float64)
        found = found.take(suppress(found.boxes, 1 / areas, options.crop_nms_thresh))
    if options.min_mask_region_area:
        found = _clean(found, options)
    return found.records()


def _search(sam: Promptable, frame: UInt8, crop: Crop, options: EverythingOptions, step: Step) -> _Found:
    """The masks of one crop after its own suppression, in the frame's pixels."""
    size = (frame.shape[0], frame.shape[1])
    embedding = sam.embed(np.ascontiguousarray(frame[crop.y0 : crop.y1, crop.x0 : crop.x1]))
    points = crop.points(options.points_of_layer(crop.layer))
    part = PromptFrame(crop.height, crop.width)
    kept = []
    for logits, iou, asked in _promising(_decode(sam, embedding, points, options, step), options.pred_iou_thresh):
        kept.append(_judge(part, logits, iou, points[asked], crop, size, options))
    found = _Found.join(kept)
    found = found.take(suppress(found.boxes, found.iou, options.box_nms_thresh))
    offset = np.array((crop.x0, crop.y0))
    rles = [_uncrop(rle, crop, size) for rle in found.rles]
    return _Found(
        rles, found.boxes + np.tile(offset, 2), found.iou, found.stability, found.points + offset, found.crops
    )


def _decode(
    sam: Promptable, embedding: Any, points: Float64, options: EverythingOptions, step: Step
) -> Iterator[tuple[int, LowRes]]:
    """Ask for each point; the index of the first one of a batch, and the batch."""
    done = 0
    for start in range(0, len(points), options.points_per_batch):
        coords = points[start : start + options.points_per_batch, None]
        for batch in sam.decode(embedding, coords, np.ones(coords.shape[:2], np.int32)):
            yield done, batch
            done += len(batch.iou)
            for _ in batch.iou:
                step.advance()


def _promising(batches: Iterator[tuple[int, LowRes]], threshold: float) -> Iterator[tuple[Float32, Float64, Index]]:
    """Masks whose predicted IoU passes, collected over batches.

    Yields:
        Logits float32 [K, 256, 256], valid until the next; predicted IoU float64 [K]; the point of each, intp [K].
    """
    logits = np.empty((_AT_ONCE, LOW_RES, LOW_RES), np.float32)
    iou, point, filled = np.empty(_AT_ONCE), np.empty(_AT_ONCE, np.intp), 0
    for first, batch in batches:
        scores, answers = batch.iou.reshape(-1), batch.iou.shape[1]
        passed = np.flatnonzero(scores > threshold) if threshold > 0 else np.arange(len(scores))
        while len(passed):
            now, passed = passed[: _AT_ONCE - filled], passed[_AT_ONCE - filled :]
            rows = slice(filled, filled + len(now))
            logits[rows] = batch.masks[now // answers, now % answers]
            iou[rows], point[rows] = scores[now], first + now // answers
            filled = rows.stop
            if filled == _AT_ONCE:
                yield logits, iou.copy(), point.copy()
                filled = 0
    if filled:
        yield logits[:filled], iou[:filled], point[:filled]


def _judge(
    part: PromptFrame,
    logits: Float32,
    iou: Float64,
    points: Float64,
    crop: Crop,
    size: tuple[int, int],
    options: EverythingOptions,
) -> _Found:
    """Keep stable masks that the crop does not cut, in the crop's pixels."""
    stability, rles, stable = [], [], []
    for tiled in tile_masks(part, logits, options.stability_score_offset):
        enough = options.stability_score_thresh
        passed = tiled.stability >= enough if enough > 0 else np.ones(len(tiled.stability), np.bool_)
        rles += [tiled.rle(index) for index in np.flatnonzero(passed).tolist()]
        stability.append(tiled.stability)
        stable.append(passed)
    which = np.flatnonzero(np.concatenate(stable))
    boxes = np.array([rle.box() for rle in rles], np.int64).reshape(-1, 4)
    found = _Found(rles, boxes, iou[which], np.concatenate(stability)[which], points[which], [crop] * len(rles))
    cut = near_crop_edge(boxes, (crop.x0, crop.y0, crop.x1, crop.y1), (0, 0, size[1], size[0]))
    return found.take(np.flatnonzero(~cut)) if cut.any() else found


def _uncrop(rle: Rle, crop: Crop, size: tuple[int, int]) -> Rle:
    """A crop's mask as one of the whole frame, zeros around it."""
    if (rle.height, rle.width) == size:
        return rle
    whole = np.zeros(size, np.bool_, order="F")
    whole[crop.y0 : crop.y1, crop.x0 : crop.x1] = rle.decode()
    return encode(whole)


def _clean(found: _Found, options: EverythingOptions) -> _Found:
    """Fill small holes, remove small islands, and suppress again; masks that needed nothing come first."""
    rles, untouched = [], np.ones(len(found.rles))
    for index, rle in enumerate(found.rles):
        mask, filled = remove_small(rle.decode(), options.min_mask_region_area, holes=True)
        mask, removed = remove_small(mask, options.min_mask_region_area, holes=False)
        if filled or removed:
            untouched[index] = 0
        rles.append(encode(mask) if filled or removed else rle)
    boxes = np.array([rle.box() for rle in rles], np.int64).reshape(-1, 4)
    stays = suppress(boxes, untouched, max(options.box_nms_thresh, options.crop_nms_thresh))
    return _Found(rles, boxes, found.iou, found.stability, found.points, found.crops).take(stays)
