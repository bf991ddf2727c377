# SPDX-License-Identifier: Apache-2.0
"""ADE20K, the 150 classes of the scene-parsing benchmark, as its archive ADEChallengeData2016 unpacks.

The files of one image are:

    images/<split>/<name>.jpg
    annotations/<split>/<name>.png    ids: 0 for everything else, then the classes from 1
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from evit_deploy.data.classes import IGNORE
from evit_deploy.data.folders import files_of, folders_of
from evit_deploy.data.labelled import LabelledImage, UInt8Array
from evit_deploy.errors import UsageError

SPLIT = "validation"
"""The split that accuracies are published for."""

CLASSES = 150


def _table() -> UInt8Array:
    table = np.full(256, IGNORE, np.uint8)
    table[1 : CLASSES + 1] = np.arange(CLASSES)
    table.flags.writeable = False
    return table


CLASS_FROM_LABEL: UInt8Array = _table()
"""Lookup table uint8 [256]: class 0..149, or 255, of an id in a label file."""


def list_images(root: Path, split: str = SPLIT) -> list[LabelledImage]:
    """All images of a split, sorted by name; whether their labels exist is not looked up.

    Raises:
        UsageError: No such split, no images in it, or a folder that may not be read.
    """
    folder = root / "images" / split
    images = files_of(folder, ".jpg")
    if not images:
        there = [path.name for path in folders_of(root / "images")]
        raise UsageError(
            f"no ADE20K images in {folder}",
            found=f"the splits {', '.join(there)}" if there else None,
            expected=f"{folder}/<name>.jpg, as ADEChallengeData2016 has them",
            fix="pass the folder that holds images and annotations",
        )
    labels = root / "annotations" / split
    return [LabelledImage(image.relative_to(root).as_posix(), image, labels / f"{image.stem}.png") for image in images]
