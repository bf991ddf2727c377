# SPDX-License-Identifier: Apache-2.0
"""The reference that travels with every artifact: real frames, and what PyTorch answered.

It is kept small, because it travels: a frame is stored as it came where the graph's size is larger, and fitted again
when it is read, in the fixed-point arithmetic of `evit_deploy.data.resize`, which gives the same pixels everywhere.
Pixels are stored as differences to their left neighbours and numbers byte by byte, as PNG and HDF5's shuffle filter do,
because that compresses better. Where an engine has few bits, its logits' reference is kept in fixed point.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from evit_deploy.errors import ArtifactError, EvitError, first_line
from evit_deploy.manifest import Preprocess
from evit_deploy.runtime.preprocess import fit_frame, fitted_size

REFERENCE = "reference.npz"
FIXED_POINT = {"fp16": 13, "int8": 13}
"""Bits that the largest logit of a reference needs to judge an engine of a precision: an FP16 value has 11."""

_Integer = TypeVar("_Integer", np.uint8, np.int16)
UInt8 = npt.NDArray[np.uint8]
Float32 = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Reference:
    """Frames and what PyTorch answered.

    Attributes:
        names: One name per frame.
        images: uint8 [K, H, W, 3] RGB, already fitted to the graph's size.
        logits: float32 [K, classes] or [K, classes, h, w]; of an image encoder its embeddings [K, C, h, w].
        frames: uint8 [h, w, 3] each, of any size: the frames before they were fitted. Empty: the images themselves.
        rules: How they were fitted.
    """

    names: tuple[str, ...]
    images: UInt8
    logits: Float32
    frames: tuple[UInt8, ...] = ()
    rules: Preprocess | None = None

    @property
    def sizes(self) -> npt.NDArray[np.int32]:
        """(height, width) in pixels that each picture fills of its image, from the top left, int32 [K, 2]."""
        size = (int(self.images.shape[1]), int(self.images.shape[2]))
        frames = self.frames or tuple(self.images)
        if self.rules is None or self.rules.resize != "longest-side":
            return np.array([size] * len(frames), np.int32)
        return np.array([fitted_size(frame.shape[:2], size[0]) for frame in frames], np.int32)

    def save(self, folder: Path, bits: int | None = None) -> None:
        """Write ``reference.npz``.

        Args:
            folder: Where to.
            bits: Bits of the largest logit, at most 14, where so many suffice; None keeps all logits as they are.
        """
        stored: dict[str, Any] = {"names": np.array(self.names), "shape": np.array(self.logits.shape)}
        for index, (image, (height, width)) in enumerate(zip(self.images, self.sizes, strict=True)):
            fitted = image[:height, :width]
            frame = self.frames[index] if self.frames else fitted
            stored[f"frame_{index}"] = differences(frame if frame.size < fitted.size else fitted)
        fitting = {"size": self.images.shape[1:3], "rules": asdict(self.rules) if self.rules else None}
        stored["fitting"] = np.array(json.dumps(fitting))
        if bits is None or not np.isfinite(self.logits).all():
            stored["logits"] = planes(self.logits.astype("<f4"))
        else:
            stored["step"], fixed = fixed_point(self.logits, bits)
            stored["logits"] = planes(differences(fixed, -1).astype("<i2"))
        np.savez_compressed(folder / REFERENCE, **stored)

    @classmethod
    def load(cls, folder: Path) -> Reference:
        """Read ``reference.npz``.

        Raises:
            ArtifactError: Missing or damaged.
        """
        try:
            with np.load(folder / REFERENCE, allow_pickle=False) as data:
                names = tuple(str(name) for name in data["names"])
                if "images" in data:  # as written until version 0.1
                    return cls(names, data["images"], data["logits"])
                frames = tuple(sums(data[f"frame_{index}"]) for index in range(len(names)))
                logits = numbers(data["logits"], tuple(data["shape"]), data.get("step"))
                fitting = json.loads(str(data["fitting"]))
            rules = Preprocess(**fitting["rules"]) if fitting["rules"] else None
            height, width = fitting["size"]
            images = np.stack([fit_exactly(frame, rules, (height, width)) for frame in frames])
            return cls(names, images, logits, frames, rules)
        except EvitError:
            raise
        except Exception as error:  # zipfile, zlib and numpy have many kinds
            raise ArtifactError(
                f"{folder / REFERENCE} cannot be read", found=first_line(error), fix="write the artifact again"
            ) from error


def fit_exactly(frame: UInt8, rules: Preprocess | None, size: tuple[int, int]) -> UInt8:
    """Fit a frame to a graph's (height, width), with the same pixels on every machine.

    Raises:
        ValueError: It has another size and there are no rules.
    """
    if frame.shape[:2] == size:
        return frame
    if rules is None:
        raise ValueError(f"a frame of {frame.shape[:2]} where {size} is expected")
    return fit_frame(frame, rules, *size, use_libraries=False)


def differences(values: npt.NDArray[_Integer], axis: int = 1) -> npt.NDArray[_Integer]:
    """Every value minus its neighbour before it along an axis, modulo the type's range."""
    return np.diff(values, axis=axis, prepend=np.zeros_like(np.take(values, [0], axis)))


def sums(differences: npt.NDArray[_Integer], axis: int = 1) -> npt.NDArray[_Integer]:
    """What `differences` came from."""
    return np.cumsum(differences, axis=axis, dtype=differences.dtype)


def fixed_point(values: Float32, bits: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int16]]:
    """A step and whole multiples of it, the largest of about 2^bits."""
    step = np.float32(np.abs(values).max() * 2.0**-bits or 1.0)
    return np.asarray(step), np.rint(values / step).astype(np.int16)


def numbers(stored: UInt8, shape: tuple[int, ...], step: npt.NDArray[np.float32] | None) -> Float32:
    """What `planes` stored: of FP32 numbers, or of the differences of `fixed_point` ones."""
    if step is None:
        return _values(stored, "<f4").reshape(shape).astype(np.float32)
    fixed = sums(_values(stored, "<i2").reshape(shape).astype(np.int16), -1)
    return np.asarray(fixed * np.float32(step), np.float32)


def planes(values: npt.NDArray[Any]) -> UInt8:
    """The bytes of values, [bytes of one, K]: of all values the first one first."""
    return np.ascontiguousarray(values.reshape(-1, 1).view(np.uint8).T)


def _values(stored: UInt8, dtype: str) -> npt.NDArray[Any]:
    return np.ascontiguousarray(stored.T).view(dtype)[:, 0]
