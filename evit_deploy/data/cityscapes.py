# SPDX-License-Identifier: Apache-2.0
"""Cityscapes: classes, label ids, and procedural scenes written and read in the data set's own directory format.

The files of one image are:

    leftImg8bit/<split>/<city>/<city>_<sequence>_<frame>_leftImg8bit.png
    gtFine/<split>/<city>/<city>_<sequence>_<frame>_gtFine_labelIds.png
    gtFine/<split>/<city>/<city>_<sequence>_<frame>_gtFine_labelTrainIds.png
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType

import numpy as np

from evit_deploy.data.classes import IGNORE, class_set
from evit_deploy.data.folders import files_of, folders_of
from evit_deploy.data.labelled import LabelledImage, UInt8Array, read_label_ids
from evit_deploy.errors import MissingExtraError, UsageError

SPLIT = "val"
"""The split that accuracies are published for."""

CLASSES = class_set("cityscapes").names
"""Class names by train id."""

PALETTE: UInt8Array = class_set("cityscapes").palette
"""RGB colours by train id, uint8 [19, 3]."""

LABEL_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
"""Label id (as in ``labelIds`` files) by train id."""

_IMAGE = "_leftimg8bit.png"  # in lower case
EGO_VEHICLE = 1  # label id written for pixels that are not judged


def _table(pairs: Iterable[tuple[int, int]], other: int) -> UInt8Array:
    table = np.full(256, other, dtype=np.uint8)
    for source, target in pairs:
        table[source] = target
    table.flags.writeable = False
    return table


TRAIN_ID_FROM_LABEL_ID: UInt8Array = _table(zip(LABEL_IDS, range(len(CLASSES)), strict=True), IGNORE)
"""Lookup table uint8 [256]: train id, or 255, of a label id."""

LABEL_ID_FROM_TRAIN_ID: UInt8Array = _table(zip(range(len(CLASSES)), LABEL_IDS, strict=True), EGO_VEHICLE)
"""Lookup table uint8 [256]: label id of a train id; 1 (ego vehicle) for everything that is not a class."""


def write_dataset(
    root: Path,
    split: str,
    seeds: Iterable[int],
    height: int = 1024,
    width: int = 2048,
    *,
    city: str = "procedural",
    train_ids: bool = True,
) -> list[Path]:
    """Render scenes into a directory tree that tools for Cityscapes can read.

    Args:
        root: Folder that receives ``leftImg8bit`` and ``gtFine``; made if missing.
        split: Name of the split, such as "val".
        seeds: Scene seeds; each becomes the frame number of its files.
        height: Image rows.
        width: Image columns.
        city: City name in folders and file names: letters, digits and "-".
        train_ids: Also write ``labelTrainIds`` files.

    Returns:
        Paths of the images written, in the order of `seeds`.

    Raises:
        UsageError: A name that does not fit the format, or a size or seed no scene can have.
        MissingExtraError: Pillow is not installed.
    """
    _check_name("city", city)
    _check_name("split", split)
    from evit_deploy.data.scenes import render_scene

    pillow = _pillow("Writing PNG files")
    written = []
    for seed in seeds:
        scene = render_scene(seed, height, width)
        image = _image_path(Path(root), split, city, seed)
        labels = _label_path(image)
        image.parent.mkdir(parents=True, exist_ok=True)
        labels.parent.mkdir(parents=True, exist_ok=True)
        # level 1: scenes are noisy, so a higher level costs minutes and gains a few per cent
        pillow.fromarray(scene.image).save(image, compress_level=1)
        pillow.fromarray(LABEL_ID_FROM_TRAIN_ID[scene.labels]).save(labels, compress_level=1)
        if train_ids:
            pillow.fromarray(scene.labels).save(_label_path(image, "labelTrainIds"), compress_level=1)
        written.append(image)
    return written


def read_dataset(root: Path, split: str) -> Iterator[tuple[Path, UInt8Array]]:
    """Iterate over a split of Cityscapes, or of a data set in its format.

    Args:
        root: Folder that holds ``leftImg8bit`` and ``gtFine``.
        split: Name of the split, such as "val".

    Yields:
        Path of the image and its labels, uint8 [H, W] train ids with 255 for ignore, sorted by path.

    Raises:
        UsageError: No such split, or no images in it.
        ArtifactError: An image without readable labels.
        MissingExtraError: Pillow is not installed.
    """
    return ((files.image, TRAIN_ID_FROM_LABEL_ID[read_label_ids(files.labels)]) for files in list_images(root, split))


def list_images(root: Path, split: str = SPLIT) -> list[LabelledImage]:
    """All images of a split, sorted by path; whether their labels exist is not looked up.

    Raises:
        UsageError: No such split, no images in it, or a folder that may not be read.
    """
    folder = Path(root) / "leftImg8bit" / split
    images = [path for city in folders_of(folder) for path in files_of(city, _IMAGE)]
    if not images:
        raise UsageError(
            f"no Cityscapes images in {folder}",
            expected=f"{folder}/<city>/<city>_<sequence>_<frame>_leftImg8bit.png",
            fix="pass the folder that holds leftImg8bit and gtFine",
        )
    return [LabelledImage(image.relative_to(root).as_posix(), image, _label_path(image)) for image in images]


def colourise(labels: UInt8Array) -> UInt8Array:
    """Colour train ids by `PALETTE`; everything else becomes black.

    Args:
        labels: uint8 [H, W].

    Returns:
        uint8 RGB [H, W, 3].
    """
    table = np.zeros((256, 3), dtype=np.uint8)
    table[: len(PALETTE)] = PALETTE
    coloured: UInt8Array = table[labels]
    return coloured


def _image_path(root: Path, split: str, city: str, seed: int) -> Path:
    return root / "leftImg8bit" / split / city / f"{city}_000000_{seed:06d}_leftImg8bit.png"


def _label_path(image: Path, kind: str = "labelIds") -> Path:
    """Label file of an image: same city and frame under ``gtFine``."""
    city, split = image.parent, image.parent.parent
    name = image.name.replace("_leftImg8bit.png", f"_gtFine_{kind}.png")
    return split.parent.parent / "gtFine" / split.name / city.name / name


def _check_name(what: str, name: str) -> None:
    if not name or not all(letter.isalnum() or letter == "-" for letter in name):
        raise UsageError(f"the {what} name does not fit file names", found=repr(name), expected="letters, digits, '-'")


def _pillow(purpose: str) -> ModuleType:
    try:
        return import_module("PIL.Image")
    except ImportError:
        raise MissingExtraError("pillow", "images", purpose) from None
