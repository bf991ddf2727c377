# SPDX-License-Identifier: Apache-2.0
"""``--dataset coco:DIR --prompts …``: how Segment Anything is asked, and what was published for it."""

from __future__ import annotations

from pathlib import Path

from evit_deploy.data import coco_dataset
from evit_deploy.errors import UsageError
from evit_deploy.manifest import Manifest
from evit_deploy.profiles.evaluate.published import published_accuracy
from evit_deploy.profiles.evaluate.sam import Questions, SamTask
from evit_deploy.profiles.evaluate.sam_detections import DETECTIONS, DetectionQuestions
from evit_deploy.profiles.evaluate.sam_objects import BOXES, CLICK, ObjectQuestions
from evit_deploy.profiles.evaluate.task import Request
from evit_deploy.runtime.sam import SegmentAnything

_PUBLISHED = {
    "xl1-sam": {
        BOXES: {"mIoU": 0.79927, "mIoU large": 0.83748, "mIoU medium": 0.82210, "mIoU small": 0.75833},
        CLICK: {"mIoU": 0.59757, "mIoU large": 0.62132, "mIoU medium": 0.63837, "mIoU small": 0.55029},
    }
}
"""Mean IoU on COCO val2017. Source: applications/efficientvit_sam/README.md of the reference at commit de7d773."""


def open_coco(sam: SegmentAnything, request: Request) -> SamTask:
    """Make the task of Segment Anything on COCO.

    Raises:
        UsageError: No such prompts, or this is no such data set.
        ArtifactError: Its annotations, or the detections, are damaged.
    """
    assert request.root is not None, "of a kind that has files"
    split, prompts = request.split or coco_dataset.SPLIT, request.prompts or BOXES
    name, _, file = prompts.partition(":")
    if prompts not in (BOXES, CLICK) and not (name == DETECTIONS and file):
        raise UsageError(
            f"'{prompts}' names no prompts",
            expected=f"{BOXES}, those of the annotations; {CLICK}, one on each object; or {DETECTIONS}:FILE",
        )
    dataset = coco_dataset.read_dataset(request.root, split)
    published = published_scores(sam.encoder.manifest, name) if split == coco_dataset.SPLIT else None
    questions: Questions
    if name == DETECTIONS:
        questions = DetectionQuestions(dataset, split, Path(file), published)
    else:
        questions = ObjectQuestions(dataset, split, prompts, published)
    return SamTask(sam, questions)


def published_scores(encoder: Manifest, prompts: str) -> dict[str, float] | None:
    """What the reference's authors published for the weights of an engine on COCO, 0..1; None if nothing."""
    if prompts == DETECTIONS:
        return published_accuracy(encoder)
    return _PUBLISHED.get(encoder.model.name, {}).get(prompts) if encoder.weights.source == "official" else None
