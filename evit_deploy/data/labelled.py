# SPDX-License-Identifier: Apache-2.0
"""Images with label maps in files, read as the reference implementation reads them.

Pixels are taken as they are stored: an EXIF tag turns nothing here, because labels were drawn on the stored pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from evit_deploy.data.images import read_image
from evit_deploy.errors import ArtifactError, extra, first_line

UInt8Array = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class LabelledImage:
    """The files of one image.

    Attributes:
        name: Path of the image below the data set's folder, with "/" between its parts.
        image: The image's file.
        labels: The file of its label map.
    """

    name: str
    image: Path
    labels: Path


def read_labelled(files: LabelledImage) -> tuple[UInt8Array, UInt8Array]:
    """Read an image and its labels.

    Returns:
        The image, uint8 [H, W, 3] RGB, and the ids of its labels as they are in the file, uint8 [H, W].

    Raises:
        UsageError: The image is missing or cannot be read.
        ArtifactError: Its labels are missing, cannot be read, or have another size.
        MissingExtraError: Pillow is not installed.
    """
    image, ids = read_image(files.image, upright=False), read_label_ids(files.labels)
    if ids.shape != image.shape[:2]:
        raise ArtifactError(
            f"the image {files.name} and its labels differ in size",
            found=f"labels of {ids.shape[0]}x{ids.shape[1]} in {files.labels}",
            expected=f"{image.shape[0]}x{image.shape[1]}",
        )
    return image, ids


def read_label_ids(path: Path) -> UInt8Array:
    """Read a label map: the ids in a grey or palette image of 8 bits, uint8 [H, W].

    Raises:
        ArtifactError: Missing, damaged, or no such image.
        MissingExtraError: Pillow is not installed.
    """
    with extra("images", "Reading label files"):
        from PIL import Image
    try:
        with Image.open(path) as file:
            ids = np.asarray(file)
    except FileNotFoundError:
        raise ArtifactError("an image has no labels", expected=str(path)) from None
    except (OSError, ValueError, TypeError, SyntaxError, Image.DecompressionBombError) as error:
        raise ArtifactError(f"the label file {path} cannot be read", found=first_line(error)) from error
    if ids.ndim != 2 or ids.dtype != np.uint8:
        raise ArtifactError(
            f"the label file {path} is no image of label ids", found=f"{ids.dtype} {ids.shape}", expected="uint8 [H, W]"
        )
    return ids
