# SPDX-License-Identifier: Apache-2.0
"""What PyTorch and the engine see in the reference frames, as pictures and tables for the page."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from evit_deploy.agreement import class_map
from evit_deploy.data.classes import ClassSet, class_set
from evit_deploy.data.resize import resize_image, resize_nearest
from evit_deploy.manifest import Manifest
from evit_deploy.profiles.words import scientific
from evit_deploy.runtime.verify import Reference

UInt8 = npt.NDArray[np.uint8]
Outputs = Mapping[str, npt.NDArray[Any]]

WIDTH = 512  # pixels; larger pictures are reduced, so that the page stays light
TOP = 5
LEGEND = 24
_MARK = (229, 28, 60)


@dataclass(frozen=True)
class Picture:
    """One picture: its title, a data URI, and what it shows for those who do not see it."""

    title: str
    uri: str
    alt: str


@dataclass(frozen=True)
class Ranking:
    """The best classes of a classifier as (name, probability), best first."""

    title: str
    rows: tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class FrameRow:
    """One reference frame: its pictures, for classifiers the rankings, and the difference in words."""

    frame: str
    difference: str
    pictures: tuple[Picture, ...]
    rankings: tuple[Ranking, ...] = ()


@dataclass(frozen=True)
class Swatch:
    """One class of the legend; the colour as #rrggbb."""

    name: str
    colour: str


def frame_rows(manifest: Manifest, reference: Reference, outputs: Sequence[Outputs]) -> list[FrameRow]:
    """A row for every frame whose outputs are given.

    Args:
        manifest: The engine's manifest.
        reference: Frames and PyTorch's logits.
        outputs: The engine's outputs of the first frames, without batch axis.
    """
    classes = class_set(manifest.model.dataset)
    make = _classified if manifest.model.task == "cls" else _segmented
    frames = zip(reference.names, reference.images, reference.logits, outputs, strict=False)
    return [make(name, image, logits, found, classes) for name, image, logits, found in frames]


def legend(manifest: Manifest, reference: Reference, shown: int) -> list[Swatch]:
    """The classes PyTorch sees in the first `shown` frames, most frequent first; empty for classifiers."""
    classes = class_set(manifest.model.dataset)
    if classes.colours is None:
        return []
    best = reference.logits[:shown].argmax(axis=1)
    counts = np.bincount(best.ravel(), minlength=len(classes.names))
    order = [index for index in np.argsort(-counts, kind="stable") if counts[index]][:LEGEND]
    return [Swatch(classes.names[index], "#" + classes.colours[index].tobytes().hex()) for index in order]


def _segmented(name: str, image: UInt8, logits: npt.NDArray[Any], found: Outputs, classes: ClassSet) -> FrameRow:
    height, width = image.shape[:2]
    ours = class_map(logits, height, width)
    theirs = found["classes"] if "classes" in found else class_map(np.nan_to_num(found["logits"]), height, width)
    differ = ours != theirs
    count = int(differ.sum())
    share = f"{count:,} of {differ.size:,} pixels differ ({count / differ.size:.4%})" if count else "no pixel differs"
    pictures = (
        Picture("Input", _png(_shrink(image)), f"The frame {name} as the graph receives it"),
        Picture("PyTorch", _png(_colour(ours, classes)), f"Class map of {name} by PyTorch, in the dataset's colours"),
        Picture("Engine", _png(_colour(theirs, classes)), f"Class map of {name} by the engine, in the same colours"),
        Picture("Difference", _png(marked(image, differ)), f"{name} in grey, differing pixels in red: {share}"),
    )
    return FrameRow(name, share, pictures)


def _classified(name: str, image: UInt8, logits: npt.NDArray[Any], found: Outputs, classes: ClassSet) -> FrameRow:
    ours, theirs = _ranking("PyTorch", logits, classes), _ranking("Engine", found["logits"], classes)
    same = [row[0] for row in ours.rows] == [row[0] for row in theirs.rows]
    gap = max(abs(one[1] - other[1]) for one, other in zip(ours.rows, theirs.rows, strict=True))
    words = f"the same top {TOP}, probabilities within {scientific(gap)}" if same else f"another top {TOP}"
    picture = Picture("Input", _png(_shrink(image)), f"The frame {name} as the graph receives it")
    return FrameRow(name, words, (picture,), (ours, theirs))


def _ranking(title: str, logits: npt.NDArray[Any], classes: ClassSet) -> Ranking:
    values = np.nan_to_num(logits.astype(np.float64))
    scores = np.exp(values - values.max())
    best = np.argsort(-scores, kind="stable")[:TOP]
    return Ranking(title, tuple((classes.names[index], float(scores[index] / scores.sum())) for index in best))


def size_on_page(shape: tuple[int, ...]) -> tuple[int, int]:
    """Size of a picture on the page: at most `WIDTH` wide."""
    height, width = shape[:2]
    return (max(1, round(height * WIDTH / width)), WIDTH) if width > WIDTH else (height, width)


def _shrink(image: UInt8) -> UInt8:
    return resize_image(image, *size_on_page(image.shape), "pillow-bicubic")


def _colour(classes_found: UInt8, classes: ClassSet) -> UInt8:
    assert classes.colours is not None
    # A broken engine may answer with a class number that does not exist; it must still be drawn.
    known = np.minimum(classes_found, len(classes.colours) - 1)
    return np.asarray(classes.colours[resize_nearest(known, *size_on_page(known.shape))], np.uint8)


def marked(image: UInt8, differ: npt.NDArray[np.bool_]) -> UInt8:
    """The frame in faint grey, differing pixels in red and enlarged, so that a single one is seen."""
    grey = 96 + 0.5 * _shrink(image).mean(axis=2)
    picture = np.repeat(grey.astype(np.uint8)[..., None], 3, axis=2)
    marks = _grow(differ, radius=max(1, differ.shape[1] // WIDTH)).astype(np.uint8)
    picture[resize_nearest(marks, *picture.shape[:2]) > 0] = _MARK
    return picture


def _grow(mask: npt.NDArray[np.bool_], radius: int) -> npt.NDArray[np.bool_]:
    """Enlarge every set pixel to a square of 2 · radius + 1."""
    for axis in (0, 1):
        grown = mask.copy()
        for step in range(1, min(radius, mask.shape[axis] - 1) + 1):
            for source, place in ((slice(step, None), slice(None, -step)), (slice(None, -step), slice(step, None))):
                index = [slice(None), slice(None)]
                index[axis] = place
                other = [slice(None), slice(None)]
                other[axis] = source
                grown[tuple(index)] |= mask[tuple(other)]
        mask = grown
    return mask


def _png(image: UInt8) -> str:
    return data_uri(image, "png")


def data_uri(image: UInt8, kind: str) -> str:
    """A picture as a data URI, "png" for few colours or "jpeg" for photos."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, kind.upper(), optimize=True)
    return f"data:image/{kind};base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
