# SPDX-License-Identifier: Apache-2.0
"""Segment Anything asked by the boxes of a detector: average precision of the masks, as COCO defines it.

Each mask takes category and score of the detection whose box it was asked by.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from evit_deploy.data.coco_dataset import CocoDataset, Detection, Picture, read_detections
from evit_deploy.data.rle import encode
from evit_deploy.errors import UsageError, extra
from evit_deploy.manifest.store import sha256_of
from evit_deploy.profiles.evaluate.sam import Asked, Bool
from evit_deploy.profiles.evaluate.sam_objects import box_prompts
from evit_deploy.profiles.evaluate.task import Outcome, Score

DETECTIONS = "detections"

METRICS = ("COCO mAP", "AP50", "AP75", "AP small", "AP medium", "AP large")
"""The first six of COCO's numbers, in its order: the mean over IoU 0.5 to 0.95, at 0.5, at 0.75, by objects' sizes."""

_NOTE = "the published COCO mAP was measured with the boxes of ViTDet; with those of another detector it is another one"


class DetectionQuestions:
    """Questions by the boxes of a detector; a `Questions`."""

    def __init__(self, dataset: CocoDataset, split: str, file: Path, published: dict[str, float] | None) -> None:
        """Ask by the boxes in a file in COCO's format of results.

        Raises:
            UsageError: There is no such file.
            ArtifactError: It is damaged, or of another data set.
        """
        self._dataset, self._published = dataset, published
        self._detections = read_detections(file, dataset)
        self.split, self.pictures = split, dataset.pictures
        self.options: Mapping[str, Any] = {
            "prompts": DETECTIONS,
            "annotations": dataset.sha256,
            "detections": {"file": file.name, "sha256": sha256_of(file)},
        }

    def ask(self, picture: Picture) -> Asked:
        """One prompt for each detection."""
        about = self._detections.get(picture.id, [])
        return Asked(*box_prompts([one.box for one in about]), about)

    def judge(self, about: Sequence[Detection], masks: Iterable[Bool]) -> Outcome:
        """The masks, as run lengths: precision is a matter of all pictures together."""
        found = [
            {"category_id": one.category, "score": one.score, "segmentation": encode(mask).to_coco()}
            for mask, one in zip(masks, about, strict=True)
        ]
        return {"found": found}

    def finish(self, outcomes: Iterable[tuple[Picture, Outcome]]) -> Score:
        """Average precisions."""
        pictures, results = [], []
        for picture, outcome in outcomes:
            pictures.append(picture.id)
            results += [{"image_id": picture.id, **one} for one in outcome["found"]]
        if not results:
            raise UsageError("the detector found nothing in these images", fix="evaluate on more images")
        metrics = average_precision(self._dataset.document, results, pictures)
        return Score(metrics, self._published, warnings=(_NOTE,) if self._published else ())


def average_precision(
    truth: Mapping[str, Any], results: Sequence[dict[str, Any]], pictures: Sequence[int]
) -> dict[str, float]:
    """COCO's average precisions of masks, `METRICS` by name, 0..1; those that are defined.

    Args:
        truth: COCO's document of annotations.
        results: Masks in COCO's format of results.
        pictures: Numbers of the pictures that count.

    Raises:
        UsageError: No object in these pictures.
        MissingExtraError: pycocotools is not installed.
    """
    with extra("eval", "Scoring masks"):
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval
    with contextlib.redirect_stdout(io.StringIO()):  # the library prints what it does
        objects = COCO()
        objects.dataset = _document(truth)
        objects.createIndex()
        scores = COCOeval(objects, objects.loadRes([dict(one) for one in results]), "segm")
        scores.params.imgIds = list(pictures)
        scores.evaluate()
        scores.accumulate()
        scores.summarize()
    found = {name: float(value) for name, value in zip(METRICS, scores.stats, strict=False) if value >= 0}
    if not found:
        raise UsageError("there are no objects in these images", fix="evaluate on more images")
    return found


def _document(truth: Mapping[str, Any]) -> dict[str, Any]:
    """A copy that the library may change, numbered from 1: it takes an object numbered 0 for none."""
    annotations = [{"iscrowd": 0, **one, "id": number} for number, one in enumerate(truth["annotations"], 1)]
    return {"info": {}, **truth, "annotations": annotations}
