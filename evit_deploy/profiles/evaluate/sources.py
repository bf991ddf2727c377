# SPDX-License-Identifier: Apache-2.0
"""Where images with label maps come from: the folders of a data set, or street scenes drawn on the spot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from evit_deploy.data.labelled import LabelledImage, read_labelled
from evit_deploy.profiles.evaluate.task import Item

UInt8 = npt.NDArray[np.uint8]

FIRST_SCENE = 1_000_000
"""Seed of the first scene: the demo weights were trained on lower ones, and evaluated from here on."""

SCENES = 60


class Folders:
    """Images and label maps in the files of a data set."""

    def __init__(
        self,
        images: Sequence[LabelledImage],
        split: str,
        table: UInt8,
        published: dict[str, float] | None,
        notes: tuple[str, ...] = (),
    ) -> None:
        self.split, self.table, self.published, self.notes = split, table, published, notes
        self._images = {files.name: files for files in images}

    def items(self) -> list[Item]:
        """All images of the split."""
        return [Item(files.name, (files.image, files.labels)) for files in self._images.values()]

    def read(self, item: Item) -> tuple[UInt8, UInt8]:
        """Read an image and its labels."""
        return read_labelled(self._images[item.name])


@dataclass(frozen=True)
class Scenes:
    """Drawn street scenes, which the demo weights have not seen, of the graph's size.

    Attributes:
        size: (height, width) in pixels.
        published: What the training of the demo weights recorded, 0..1, or None.
    """

    size: tuple[int, int]
    published: dict[str, float] | None
    split: None = None
    notes: tuple[str, ...] = ()
    table: UInt8 = field(default_factory=lambda: np.arange(256, dtype=np.uint8))

    def items(self) -> list[Item]:
        """The scenes."""
        return [Item(f"scene:{FIRST_SCENE + index}") for index in range(SCENES)]

    def read(self, item: Item) -> tuple[UInt8, UInt8]:
        """Draw a scene."""
        from evit_deploy.data.scenes import render_scene

        scene = render_scene(int(item.name.partition(":")[2]), *self.size)
        return scene.image, scene.labels
