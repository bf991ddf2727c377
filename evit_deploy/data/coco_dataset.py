# SPDX-License-Identifier: Apache-2.0
"""COCO's instance segmentation, and what a detector found in its pictures.

    <split>/<file_name>                      the pictures
    annotations/instances_<split>.json       their objects: category, box, area, and polygons or run lengths
    any file.json                            [{"image_id", "category_id", "bbox", "score"}, …], of a detector

Format: https://cocodataset.org/#format-data and #format-results.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

from evit_deploy.data.rle import Rle, from_dict
from evit_deploy.errors import ArtifactError, UsageError, extra
from evit_deploy.manifest.store import sha256_of

SPLIT = "val2017"
"""The split that scores are published for."""

LARGEST = 1e8
"""No coordinate, in pixels, and no area is as large."""

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Picture:
    """A picture of the data set.

    Attributes:
        id: Its number.
        name: File name, unlike that of any other picture.
        path: Its file.
        height: In pixels.
        width: In pixels.
    """

    id: int
    name: str
    path: Path
    height: int
    width: int


@dataclass(frozen=True)
class Object:
    """An object that people have outlined.

    Attributes:
        category: Number of its category.
        box: (x0, y0, x1, y1) in pixels of the picture.
        area: In pixels, as the file says.
        segmentation: Its outline, for `outline`.
    """

    category: int
    box: Box
    area: float
    segmentation: Any


@dataclass(frozen=True)
class Detection:
    """An object that a detector has found.

    Attributes:
        category: Number of its category.
        box: (x0, y0, x1, y1) in pixels of the picture.
        score: The detector's.
    """

    category: int
    box: Box
    score: float


@dataclass(frozen=True)
class CocoDataset:
    """A split.

    Attributes:
        file: The file of annotations.
        sha256: Its hash.
        pictures: All pictures, in the order of the file.
        objects: Of pictures that have any, by the picture's number.
        categories: Names, by number.
        document: The file as it is, for COCO's own tools.
    """

    file: Path
    sha256: str
    pictures: tuple[Picture, ...]
    objects: Mapping[int, Sequence[Object]]
    categories: Mapping[int, str]
    document: Mapping[str, Any]


def read_dataset(root: Path, split: str = SPLIT) -> CocoDataset:
    """Read a split's annotations; whether the pictures exist is not looked up.

    Raises:
        UsageError: There are no annotations for this split.
        ArtifactError: They are damaged.
    """
    file = root / "annotations" / f"instances_{split}.json"
    if not file.is_file():
        there = sorted(path.stem.removeprefix("instances_") for path in file.parent.glob("instances_*.json"))
        raise UsageError(
            f"there is no {file}",
            found=f"the splits {', '.join(there)}" if there else None,
            expected="COCO's folder, with annotations/ and a folder of images for each split",
            fix="pass the folder that holds annotations, or name another split",
        )
    document = _read_json(file)
    if not isinstance(document, dict) or not all(
        isinstance(document.get(key), list) for key in ("images", "annotations", "categories")
    ):
        raise ArtifactError(f"{file} holds no annotations", expected="lists named images, annotations and categories")
    entry: Any = None
    try:
        pictures: dict[int, Picture] = {}
        for entry in document["images"]:
            picture = _picture(entry, root / split)
            if pictures.setdefault(picture.id, picture) is not picture:
                raise ValueError("this number is another picture's as well")
        objects: dict[int, list[Object]] = {}
        for entry in document["annotations"]:
            one = Object(_whole(entry["category_id"]), _box(entry), _number(entry["area"]), entry["segmentation"])
            objects.setdefault(pictures[_whole(entry["image_id"])].id, []).append(one)
        categories = {}
        for entry in document["categories"]:
            categories[_whole(entry["id"])] = str(entry["name"])
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged(file, entry, error) from error
    if not pictures:
        raise UsageError(f"{file} names no images", fix="name another split")
    names = {picture.name for picture in pictures.values()}
    if len(names) < len(pictures):
        raise ArtifactError(f"{len(pictures) - len(names)} images in {file} have the name of another one")
    return CocoDataset(file, sha256_of(file), tuple(pictures.values()), objects, categories, document)


def read_detections(file: Path, dataset: CocoDataset) -> dict[int, list[Detection]]:
    """Read what a detector found, by the picture's number.

    Raises:
        UsageError: No such file, or none of it is of this split.
        ArtifactError: It is damaged, or of a picture or category that the split does not have.
    """
    if not file.is_file():
        raise UsageError(f"there is no file {file}", expected="a detector's boxes in COCO's format of results")
    document = _read_json(file)
    if not isinstance(document, list) or not document:
        raise ArtifactError(f"{file} holds no detections", expected='[{"image_id", "category_id", "bbox", "score"}, …]')
    known, found = {picture.id for picture in dataset.pictures}, dict[int, list[Detection]]()
    entry: Any = None
    try:
        for entry in document:
            picture, category = _whole(entry["image_id"]), _whole(entry["category_id"])
            if picture not in known or category not in dataset.categories:
                raise ValueError(f"no such image or category in {dataset.file.name}")
            found.setdefault(picture, []).append(Detection(category, _box(entry), _number(entry["score"])))
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged(file, entry, error) from error
    return found


def outline(segmentation: Any, height: int, width: int) -> Rle:
    """The mask of an object, of polygons or of run lengths.

    Raises:
        ArtifactError: Neither, or of another size than the picture.
        MissingExtraError: pycocotools is not installed.
    """
    try:
        mask = from_dict(_fill(segmentation, height, width) if isinstance(segmentation, list) else segmentation)
    except (UsageError, TypeError, ValueError) as error:
        raise ArtifactError("the outline of an object is damaged", found=str(segmentation)[:80]) from error
    if (mask.height, mask.width) != (height, width):
        raise ArtifactError(
            "the outline of an object has another size than its image",
            found=f"{mask.height}x{mask.width}",
            expected=f"{height}x{width}",
        )
    return mask


def _fill(polygons: list[Any], height: int, width: int) -> dict[str, Any]:
    """The pixels inside polygons, as COCO counts them: its own rule, of its own library."""
    with extra("eval", "Reading outlines of objects"):
        from pycocotools import mask
    corners = [[_number(value) for value in polygon] for polygon in polygons]
    if not corners or any(len(values) < 6 or len(values) % 2 for values in corners):
        raise ValueError("a polygon has three corners or more")
    filled: dict[str, Any] = mask.merge(mask.frPyObjects(corners, height, width))
    return filled


def _read_json(file: Path) -> Any:
    try:
        return json.loads(file.read_bytes())
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{file} cannot be read as JSON", found=str(error)[:120]) from error


def _picture(entry: Any, folder: Path) -> Picture:
    name = str(entry["file_name"])
    height, width = _whole(entry["height"]), _whole(entry["width"])
    if height < 1 or width < 1:
        raise ValueError(f"no size of a picture: {height}x{width}")
    return Picture(_whole(entry["id"]), name, folder / name, height, width)


def _box(entry: Any) -> Box:
    x, y, width, height = (_number(value) for value in entry["bbox"])
    if width < 0 or height < 0:
        raise ValueError("a box of negative size")
    return x, y, x + width, y + height


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not isfinite(value) or abs(value) >= LARGEST:
        raise ValueError(f"{value!r} is no number, or too large")
    return float(value)


def _whole(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"{value!r} is no whole number")
    return value


def _damaged(file: Path, entry: Any, error: Exception) -> ArtifactError:
    why = f"{error.args[0]!r} is missing, or names nothing" if isinstance(error, KeyError) else str(error)
    return ArtifactError(f"an entry of {file} is damaged: {why}", found=str(entry)[:120])
