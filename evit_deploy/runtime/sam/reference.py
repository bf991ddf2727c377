# SPDX-License-Identifier: Apache-2.0
"""The reference that travels with a mask decoder: prompts on real pictures, and what PyTorch answered."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from evit_deploy.data.masks import LOW_RES, LowRes, PromptFrame
from evit_deploy.errors import ArtifactError, first_line
from evit_deploy.runtime.reference import REFERENCE, differences, fixed_point, numbers, planes

Float32 = npt.NDArray[np.float32]
Int32 = npt.NDArray[np.int32]

EMPTY_SLOT = -2
"""Label of a slot that holds no point: the decoder ignores it exactly."""


@dataclass(frozen=True)
class PromptReference:
    """Prompts and PyTorch's masks for them.

    Attributes:
        names: One name per prompt, which begins with that of its picture.
        frames: Size of each picture.
        embeddings: float32 [K, 256, 64, 64], PyTorch's embedding of each picture.
        of: int [Q], which picture a prompt is for.
        coords: float32 [Q, N, 2], (x, y) in the 1024 frame; box corners behind the points.
        labels: int32 [Q, N]: 1 object, 0 background, 2 and 3 corners of a box, -2 an empty slot.
        mask: float32 [Q, 1, 256, 256], logits of an earlier answer; zeros without.
        has_mask: float32 [Q], 1 where the mask counts.
        masks: float32 [Q, 4, 256, 256], PyTorch's logits: the single mask, then the three of multimask.
        iou: float32 [Q, 4], PyTorch's predicted IoU of each.
    """

    names: tuple[str, ...]
    frames: tuple[PromptFrame, ...]
    embeddings: Float32
    of: npt.NDArray[np.intp]
    coords: Float32
    labels: Int32
    mask: Float32
    has_mask: Float32
    masks: Float32
    iou: Float32

    def answer(self, index: int) -> LowRes:
        """PyTorch's four masks for a prompt."""
        return LowRes(self.masks[index], self.iou[index])

    def save(self, folder: Path, bits: int | None = None) -> None:
        """Write ``reference.npz``.

        Args:
            folder: Where to.
            bits: Bits of the largest embedding and logit, at most 14, where so many suffice; None keeps all of them.
        """
        masked = np.flatnonzero(self.has_mask)
        stored: dict[str, Any] = {
            "prompts": np.array(self.names),
            "frames": np.array([(frame.height, frame.width) for frame in self.frames], np.int64),
            "of": self.of.astype(np.int64),
            "coords": self.coords,
            "labels": self.labels,
            "has_mask": self.has_mask,
            "iou": self.iou,
        }
        arrays = {"embeddings": self.embeddings, "masks": self.masks, "mask": self.mask[masked]}
        for name, values in arrays.items():
            stored |= _packed(name, values, bits)
        np.savez_compressed(folder / REFERENCE, **stored)

    @classmethod
    def load(cls, folder: Path) -> PromptReference:
        """Read ``reference.npz``.

        Raises:
            ArtifactError: Missing or damaged.
        """
        try:
            with np.load(folder / REFERENCE, allow_pickle=False) as data:
                has_mask = data["has_mask"]
                mask = np.zeros((len(has_mask), 1, LOW_RES, LOW_RES), np.float32)
                mask[has_mask != 0] = _unpacked("mask", data)
                return cls(
                    tuple(str(name) for name in data["prompts"]),
                    tuple(PromptFrame(int(height), int(width)) for height, width in data["frames"]),
                    _unpacked("embeddings", data), data["of"].astype(np.intp), data["coords"], data["labels"],
                    mask, has_mask, _unpacked("masks", data), data["iou"],
                )  # fmt: skip
        except Exception as error:  # zipfile, zlib and numpy have many kinds
            raise ArtifactError(
                f"{folder / REFERENCE} cannot be read", found=first_line(error), fix="write the artifact again"
            ) from error


def _packed(name: str, values: Float32, bits: int | None) -> dict[str, Any]:
    """Arrays that `_unpacked` reads, of values that may be in fixed point."""
    packed: dict[str, Any] = {f"{name}.shape": np.array(values.shape)}
    if bits is None or not values.size or not np.isfinite(values).all():
        return packed | {name: planes(values.astype("<f4"))}
    packed[f"{name}.step"], fixed = fixed_point(values, bits)
    return packed | {name: planes(differences(fixed, -1).astype("<i2"))}


def _unpacked(name: str, data: Any) -> Float32:
    return numbers(data[name], tuple(data[f"{name}.shape"]), data.get(f"{name}.step"))
