# SPDX-License-Identifier: Apache-2.0
"""ImageNet-1K folders: a folder per synset, or one folder and a text file that says each image's class.

    <split>/n01440764/*.JPEG          classes by the order of the 1000 synsets, a part of them will do
    <split>/*.JPEG, <split>.txt       lines "ILSVRC2012_val_00000001.JPEG 65", classes 0..999

The synsets are those of ILSVRC 2012, in ascending order, which is that of the classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from evit_deploy.data.classes import FOLDER
from evit_deploy.data.folders import files_of, folders_of
from evit_deploy.data.images import SUFFIXES
from evit_deploy.errors import ArtifactError, UsageError

SPLIT = "val"
"""The split that accuracies are published for."""

CLASSES = 1000


@dataclass(frozen=True)
class Photo:
    """An image and its class.

    Attributes:
        name: Path below the data set's folder, with "/" between its parts; of a text file, the name it says.
        path: The image's file.
        label: Its class, 0..999.
    """

    name: str
    path: Path
    label: int


@lru_cache(maxsize=1)
def synsets() -> dict[str, int]:
    """The class of every synset: 1000 WordNet ids, such as "n01440764"."""
    text = (FOLDER / "imagenet_synsets.txt").read_text(encoding="ascii")
    return {name: label for label, name in enumerate(text.split())}


def list_photos(root: Path, split: str = SPLIT) -> list[Photo]:
    """All images of a split, sorted by path; those of a text file in its order.

    Raises:
        UsageError: No such split, no images in it, folders that are no synsets, or what may not be read.
        ArtifactError: A line of the text file is no name and class.
    """
    folder = root / split
    for listing in (root / f"{split}.txt", folder / f"{split}.txt"):
        if listing.is_file():
            return _listed(root, folder, listing)
    photos = _in_folders(root, folder)
    if not photos:
        raise UsageError(
            f"no ImageNet images in {folder}",
            expected=f"{folder}/<synset>/<name>.JPEG, or {folder}/<name>.JPEG and {root / f'{split}.txt'}",
            fix=f"pass the folder that holds {split}, or name another split",
        )
    return photos


def _in_folders(root: Path, folder: Path) -> list[Photo]:
    known, names = synsets(), [path.name for path in folders_of(folder)]
    unknown = [name for name in names if name not in known]
    if unknown:
        raise UsageError(
            f"{len(unknown)} folders in {folder} are no synsets of ImageNet-1K",
            found=", ".join(unknown[:3]),
            expected="names such as n01440764",
        )
    return [
        Photo(path.relative_to(root).as_posix(), path, known[name])
        for name in names
        for path in files_of(folder / name, SUFFIXES)
    ]


def _listed(root: Path, folder: Path, listing: Path) -> list[Photo]:
    photos: dict[str, Photo] = {}
    try:
        text = listing.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise UsageError(f"{listing} cannot be read", found=error.strerror) from error
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        name, _, label = line.strip().rpartition(" ")
        if not name or not label.isdecimal() or int(label) >= CLASSES or name in photos:
            raise ArtifactError(
                f"line {number} of {listing} is no image and class, or names an image again",
                found=line[:80],
                expected="such as 'ILSVRC2012_val_00000001.JPEG 65', classes 0 to 999",
            )
        path = root / name if (root / name).is_file() else folder / name
        photos[name] = Photo(name, path, int(label))
    return list(photos.values())
