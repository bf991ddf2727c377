# SPDX-License-Identifier: Apache-2.0
"""Segment Anything in plain PyTorch: what `measure_sam.py` measures engines against.

    from sam_baseline import embed, predict, segment_everything

    result = segment_everything(create_model("l0-sam", weights="random").requires_grad_(False), image)

"Segment everything" follows `SamAutomaticMaskGenerator` (Kirillov et al., arXiv 2304.02643, appendix B) step by step:
batches of 64 points; all masks are brought to the frame's size before any is dropped; masks that stay are kept as run
lengths. Nothing here is clever, and nothing is slower than it has to be: no gradients, no copies for their own sake.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from PIL import Image
from sam_masks import Bool, boxes_of, decode, encode, encode_all, stability_of, suppress, without_small_regions
from torch import Tensor

from evit_deploy.models.sam import SegmentAnything
from evit_deploy.runtime.sam.grid import Crop, EverythingOptions, crops_of

UInt8 = npt.NDArray[np.uint8]

FRAME = 1024
"""Longest side of the frame of prompts, in pixels."""
EDGE = 20
"""Pixels from a crop's side within which a mask counts as cut by it."""
MEAN = torch.tensor([123.675, 116.28, 103.53])[:, None, None]
STD = torch.tensor([58.395, 57.12, 57.375])[:, None, None]


@dataclass
class Masks:
    """K masks under way, in the pixels of a crop or of the image.

    Attributes:
        runs: Each mask's run lengths, background first, column by column.
        boxes: int64 [K, 4], (x0, y0, x1, y1), inclusive.
        iou: [K], predicted.
        stability: [K].
        points: float64 [K, 2].
        crops: float64 [K, 4], where each was looked for, (x0, y0, x1, y1).
    """

    runs: list[list[int]]
    boxes: Tensor
    iou: Tensor
    stability: Tensor
    points: Tensor
    crops: Tensor

    def take(self, which: Tensor) -> Masks:
        """Some of them, in this order."""
        return Masks(
            [self.runs[index] for index in which.tolist()],
            self.boxes[which],
            self.iou[which],
            self.stability[which],
            self.points[which],
            self.crops[which],
        )


@dataclass
class Everything:
    """The masks of an image.

    Attributes:
        masks: bool [K, H, W].
        boxes: int64 [K, 4], (x, y, width, height).
        iou: [K], predicted.
        stability: [K].
        points: float64 [K, 2].
        crops: float64 [K, 4], (x, y, width, height).
        counts: Masks left after every step, crop by crop where the step is one of a crop.
    """

    masks: Bool
    boxes: Tensor
    iou: Tensor
    stability: Tensor
    points: Tensor
    crops: Tensor
    counts: dict[str, list[int]] = field(default_factory=dict)


def scaled(size: tuple[int, int], longest: int) -> tuple[int, int]:
    """(height, width) whose longest side is `longest`."""
    scale = longest / max(size)
    return int(size[0] * scale + 0.5), int(size[1] * scale + 0.5)


def embed(model: SegmentAnything, image: UInt8) -> Tensor:
    """The embedding [1, 256, 64, 64] of a uint8 RGB image [H, W, 3]."""
    side = model.image_size
    height, width = scaled((image.shape[0], image.shape[1]), side)
    resized = np.array(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR))
    tensor = (torch.from_numpy(resized).permute(2, 0, 1) - MEAN) / STD
    return model(F.pad(tensor, (0, side - width, 0, side - height))[None])  # type: ignore[no-any-return]


def upscale(low_res: Tensor, size: tuple[int, int]) -> Tensor:
    """Logits [P, K, 256, 256] at the image's (height, width): to 1024x1024, cropped, to the image, all bilinear."""
    height, width = scaled(size, FRAME)
    large = F.interpolate(low_res, (FRAME, FRAME), mode="bilinear", align_corners=False)
    return F.interpolate(large[..., :height, :width], size, mode="bilinear", align_corners=False)


def predict(
    model: SegmentAnything, embedding: Tensor, size: tuple[int, int], points: Tensor, labels: Tensor
) -> tuple[Tensor, Tensor]:
    """Three masks for each prompt, as logits of the image's size.

    Args:
        model: The model.
        embedding: Of an image of `size`, [1, 256, 64, 64].
        size: (height, width) of the image.
        points: float64 [P, N, 2], (x, y) in px of the image.
        labels: [P, N].

    Returns:
        Logits [P, 3, H, W] and predicted IoU [P, 3].
    """
    height, width = scaled(size, FRAME)
    coords = points * torch.tensor([width / size[1], height / size[0]], dtype=torch.float64)
    low_res, iou = model.decode(embedding, coords.float(), labels)
    return upscale(low_res[:, 1:], size), iou[:, 1:]


def segment_everything(
    model: SegmentAnything,
    image: UInt8,
    options: EverythingOptions | None = None,
    advance: Callable[[], None] = lambda: None,
) -> Everything:
    """All masks of an image.

    Args:
        model: The model, in eval mode.
        image: uint8 [H, W, 3] RGB.
        options: Grid, crops and thresholds; the original's if not given.
        advance: Called after every batch of points.
    """
    options = options or EverythingOptions()
    size = image.shape[0], image.shape[1]
    counts: dict[str, list[int]] = defaultdict(list)
    with torch.inference_mode():
        crops = crops_of(*size, options)
        found = _concat([_of_crop(model, image, crop, options, counts, advance) for crop in crops])
        if len(crops) > 1:  # masks of smaller crops win
            x0, y0, x1, y1 = found.crops.unbind(1)
            found = found.take(suppress(found.boxes, 1 / ((x1 - x0) * (y1 - y0)), options.crop_nms_thresh))
            counts["after_crop_nms"].append(len(found.runs))
        masks = np.stack([decode(runs, size) for runs in found.runs]) if found.runs else np.zeros((0, *size), bool)
        if options.min_mask_region_area > 0:
            found, masks = _clean(found, masks, options)
            counts["after_small_region_nms"].append(len(masks))
        return Everything(
            masks, _xywh(found.boxes), found.iou, found.stability, found.points, _xywh(found.crops), dict(counts)
        )


def _of_crop(
    model: SegmentAnything,
    image: UInt8,
    crop: Crop,
    options: EverythingOptions,
    counts: dict[str, list[int]],
    advance: Callable[[], None],
) -> Masks:
    part = np.ascontiguousarray(image[crop.y0 : crop.y1, crop.x0 : crop.x1])
    embedding = embed(model, part)
    points = torch.from_numpy(crop.points(options.points_of_layer(crop.layer)))
    left = dict.fromkeys(("candidates", "after_pred_iou", "after_stability", "after_crop_edge"), 0)
    batches = []
    for batch in torch.split(points, options.points_per_batch):
        batches.append(_of_batch(model, embedding, batch, crop, (image.shape[0], image.shape[1]), options, left))
        advance()
    found = _concat(batches)
    found = found.take(suppress(found.boxes, found.iou, options.box_nms_thresh))
    for step, count in (*left.items(), ("after_box_nms", len(found.runs))):
        counts[step].append(count)
    corner = torch.tensor([crop.x0, crop.y0])
    found.boxes, found.points = found.boxes + corner.repeat(2), found.points + corner
    found.runs = [encode(_place(decode(runs, part.shape[:2]), crop, image.shape[:2])) for runs in found.runs]
    return found


def _of_batch(
    model: SegmentAnything,
    embedding: Tensor,
    points: Tensor,
    crop: Crop,
    size: tuple[int, int],
    options: EverythingOptions,
    left: dict[str, int],
) -> Masks:
    labels = torch.ones(len(points), 1, dtype=torch.int64)
    batched, scores = predict(model, embedding, (crop.height, crop.width), points[:, None], labels)
    logits, iou, points = batched.flatten(0, 1), scores.flatten(), points.repeat_interleave(3, dim=0)
    left["candidates"] += len(iou)
    if options.pred_iou_thresh > 0:
        keep = iou > options.pred_iou_thresh
        logits, iou, points = logits[keep], iou[keep], points[keep]
    left["after_pred_iou"] += len(iou)
    stability = stability_of(logits, options.stability_score_offset)
    if options.stability_score_thresh > 0:
        keep = stability >= options.stability_score_thresh
        logits, iou, points, stability = logits[keep], iou[keep], points[keep], stability[keep]
    left["after_stability"] += len(iou)
    masks = logits > 0
    boxes = boxes_of(masks)
    keep = ~_cut_by_crop(boxes, crop, size)
    left["after_crop_edge"] += int(keep.sum())
    where = torch.tensor([crop.x0, crop.y0, crop.x1, crop.y1], dtype=torch.float64).expand(int(keep.sum()), 4)
    return Masks(encode_all(masks[keep]), boxes[keep], iou[keep], stability[keep], points[keep], where)


def _cut_by_crop(boxes: Tensor, crop: Crop, size: tuple[int, int]) -> Tensor:
    placed = boxes + torch.tensor([crop.x0, crop.y0, crop.x0, crop.y0])
    at_crop = (placed - torch.tensor([crop.x0, crop.y0, crop.x1, crop.y1])).abs() <= EDGE
    at_image = (placed - torch.tensor([0, 0, size[1], size[0]])).abs() <= EDGE
    return (at_crop & ~at_image).any(1)


def _clean(found: Masks, masks: Bool, options: EverythingOptions) -> tuple[Masks, Bool]:
    if not len(masks):
        return found, masks
    pairs = [without_small_regions(mask, options.min_mask_region_area) for mask in masks]
    cleaned, touched = np.stack([mask for mask, _ in pairs]), torch.tensor([any_small for _, any_small in pairs])
    found.boxes = boxes_of(torch.from_numpy(cleaned))
    keep = suppress(found.boxes, (~touched).float(), max(options.box_nms_thresh, options.crop_nms_thresh))
    return found.take(keep), cleaned[keep.numpy()]


def _place(mask: Bool, crop: Crop, size: tuple[int, ...]) -> Bool:
    whole = np.zeros(size, bool)
    whole[crop.y0 : crop.y1, crop.x0 : crop.x1] = mask
    return whole


def _concat(parts: list[Masks]) -> Masks:
    return Masks(
        [runs for part in parts for runs in part.runs],
        *(
            torch.cat([getattr(part, name) for part in parts])
            for name in ("boxes", "iou", "stability", "points", "crops")
        ),
    )


def _xywh(boxes: Tensor) -> Tensor:
    return torch.cat([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], dim=1)
