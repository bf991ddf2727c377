# SPDX-License-Identifier: Apache-2.0
"""Class names and colours of the datasets the models were trained on.

Sources: Cityscapes and ADE20K (150 classes of the scene-parsing benchmark) as listed by mit-han-lab/efficientvit,
applications/efficientvit_seg/eval_efficientvit_seg_model.py; ImageNet-1K names in the order of the labels, as in
torchvision's weight metadata. In ADE20K, road and skyscraper share a colour.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

FOLDER = Path(__file__).parent
IGNORE = 255
"""Label of pixels that are not judged."""


@dataclass(frozen=True)
class ClassSet:
    """The classes of one dataset.

    Attributes:
        names: One name per class.
        colours: uint8 [classes, 3] RGB, read-only; None for classification.
    """

    names: tuple[str, ...]
    colours: npt.NDArray[np.uint8] | None = None

    @property
    def palette(self) -> npt.NDArray[np.uint8]:
        """The colours of a dataset that has some."""
        assert self.colours is not None, "classification has no colours"
        return self.colours


@lru_cache(maxsize=3)
def class_set(dataset: str) -> ClassSet:
    """The classes of "imagenet", "cityscapes" or "ade20k"."""
    lines = (FOLDER / f"{dataset}_classes.txt").read_text(encoding="utf-8").splitlines()
    if dataset == "imagenet":
        return ClassSet(tuple(lines))
    rows = [line.split(" ", 1) for line in lines]
    colours = np.array([list(bytes.fromhex(colour)) for colour, _ in rows], np.uint8)
    colours.flags.writeable = False
    return ClassSet(tuple(name for _, name in rows), colours)
