# SPDX-License-Identifier: Apache-2.0
"""A data set in COCO's format, with the kinds of objects that the real one has."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from evit_deploy.data.images import write_image
from evit_deploy.data.rle import encode

SIZES = {"000000000009.jpg": (60, 90), "000000000025.jpg": (200, 130), "000000000030.jpg": (40, 40)}
NUMBERS = (9, 25, 30)
HOLE = np.zeros((200, 130), bool)
HOLE[20:150, 10:120], HOLE[60:90, 40:70] = True, False
OBJECTS = (
    {"image_id": 9, "category_id": 3, "bbox": [10, 5, 20, 30], "area": 600.0, "iscrowd": 0,
     "segmentation": [[10, 5, 30, 5, 30, 35, 10, 35]]},
    {"image_id": 9, "category_id": 7, "bbox": [40, 10, 40, 40], "area": 1600.0, "iscrowd": 0,
     "segmentation": [[40, 10, 80, 10, 80, 30, 40, 30], [40, 30, 60, 30, 60, 50, 40, 50]]},
    {"image_id": 9, "category_id": 7, "bbox": [1, 1, 0.5, 0.5], "area": 0.2, "iscrowd": 0,
     "segmentation": [[1, 1, 1.5, 1, 1.5, 1.5]]},
    {"image_id": 25, "category_id": 3, "bbox": [10, 20, 110, 130], "area": float(HOLE.sum()), "iscrowd": 1,
     "segmentation": encode(HOLE).to_dict()},
    {"image_id": 25, "category_id": 3, "bbox": [10, 20, 110, 130], "area": float(HOLE.sum()), "iscrowd": 0,
     "segmentation": encode(HOLE).to_coco()},
)  # fmt: skip


def write_coco(root: Path, objects: tuple[dict, ...] = OBJECTS) -> Path:
    """Write three pictures, the last of them without objects."""
    draw = np.random.default_rng(0)
    for name, size in SIZES.items():
        write_image(root / "val2017" / name, draw.integers(0, 256, (*size, 3), np.uint8))
    images = [
        {"id": number, "file_name": name, "height": height, "width": width, "license": 1}
        for number, (name, (height, width)) in zip(NUMBERS, SIZES.items(), strict=True)
    ]
    document = {
        "images": images,
        "annotations": [{"id": index, **one} for index, one in enumerate(objects)],
        "categories": [{"id": 3, "name": "car"}, {"id": 7, "name": "train"}, {"id": 8, "name": "truck"}],
    }
    (root / "annotations").mkdir()
    annotations(root).write_text(json.dumps(document))
    return root


def annotations(root: Path) -> Path:
    """The file of annotations."""
    return root / "annotations" / "instances_val2017.json"


def write_detections(path: Path, scores: tuple[float, ...] = (0.9, 0.8, 0.7)) -> Path:
    """Write the true boxes of some objects as a detector's, the last of them in the wrong category."""
    found = [
        {"image_id": one["image_id"], "category_id": category, "bbox": one["bbox"], "score": score}
        for one, category, score in zip((OBJECTS[0], OBJECTS[1], OBJECTS[4]), (3, 7, 8), scores, strict=True)
    ]
    path.write_text(json.dumps(found))
    return path
