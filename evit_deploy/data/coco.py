# SPDX-License-Identifier: Apache-2.0
"""Masks as a COCO file: what `evit-deploy run` writes, and pycocotools and labelling tools read.

Format: https://cocodataset.org/#format-data, with compressed run lengths, which COCO's own API takes in annotations.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from evit_deploy.data.rle import Rle

if TYPE_CHECKING:
    from evit_deploy.runtime.sam.records import MaskRecord

_CATEGORY = {"id": 1, "name": "object", "supercategory": ""}


def coco_box(rle: Rle) -> list[int]:
    """Box of a mask, [x, y, width, height] as COCO counts: a row of pixels is 1 high, an empty mask is all zeros."""
    if not rle.area:
        return [0, 0, 0, 0]
    x0, y0, x1, y1 = rle.box()
    return [x0, y0, x1 - x0 + 1, y1 - y0 + 1]


def record_annotation(record: MaskRecord) -> dict[str, Any]:
    """A mask of "segment everything" as an annotation; only the box is COCO's, one larger than Segment Anything's."""
    return {**record.to_json(), "bbox": coco_box(record.rle)}


class CocoFile:
    """A COCO file in the making; images and annotations are numbered in the order they come."""

    def __init__(self, about: str) -> None:
        self._about = about
        self._images: list[dict[str, Any]] = []
        self._annotations: list[dict[str, Any]] = []

    def __len__(self) -> int:
        """How many images it has."""
        return len(self._images)

    def add(self, name: str, height: int, width: int, annotations: Iterable[Mapping[str, Any]]) -> None:
        """Add a picture and its masks, each as `record_annotation` or `Masks.coco` gives it."""
        image = len(self._images) + 1
        self._images.append({"id": image, "file_name": name, "height": height, "width": width})
        for annotation in annotations:
            number = len(self._annotations) + 1
            head = {"id": number, "image_id": image, "category_id": 1, "iscrowd": 0}
            self._annotations.append({**head, **annotation})

    def to_json(self) -> dict[str, Any]:
        """The whole file."""
        return {
            "info": {"description": self._about},
            "images": self._images,
            "annotations": self._annotations,
            "categories": [_CATEGORY],
        }
