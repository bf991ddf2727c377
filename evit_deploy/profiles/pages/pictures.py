# SPDX-License-Identifier: Apache-2.0
"""What PyTorch and the engine see where they disagree most, as pictures and tables for the page.

They are kept beside the report, so that the page can be made again where the engine is not.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from evit_deploy.agreement import class_map
from evit_deploy.data.classes import ClassSet, class_set
from evit_deploy.data.resize import resize_image, resize_nearest
from evit_deploy.errors import ArtifactError
from evit_deploy.manifest import Manifest
from evit_deploy.profiles.decode import decode
from evit_deploy.profiles.files import write_json
from evit_deploy.profiles.pages.words import scientific
from evit_deploy.runtime.verify import Reference

UInt8 = npt.NDArray[np.uint8]
Outputs = Mapping[str, npt.NDArray[Any]]

PICTURES = "pictures.json"
FRAMES = 3

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


@dataclass(frozen=True)
class Pictures:
    """All pictures of a page, and what their colours mean."""

    rows: tuple[FrameRow, ...] = ()
    legend: tuple[Swatch, ...] = ()


def write_pictures(folder: Path, pictures: Pictures) -> None:
    """Keep pictures beside a report."""
    write_json(folder / PICTURES, asdict(pictures))


def read_pictures(folder: Path) -> Pictures:
    """The pictures beside a report; none where none were kept.

    Raises:
        ArtifactError: The file is damaged.
    """
    path = folder / PICTURES
    try:
        return decode(Pictures, json.loads(path.read_bytes()))
    except FileNotFoundError:
        return Pictures()
    except (OSError, ValueError, RecursionError) as error:
        raise ArtifactError(
            f"{path} is damaged", found=str(error), fix="evit-deploy profile writes it again"
        ) from error


def frame_pictures(manifest: Manifest, reference: Reference, outputs: Sequence[Outputs]) -> Pictures:
    """Pictures of the `FRAMES` frames in which PyTorch and the engine disagree most, the worst first.

    Args:
        manifest: The engine's manifest.
        reference: Frames and PyTorch's logits.
        outputs: The engine's outputs of the first frames, without batch axis.
    """
    classes = class_set(manifest.model.dataset)
    compare = _classified if manifest.model.task == "cls" else _segmented
    amounts = [_disagreement(logits, found) for logits, found in zip(reference.logits, outputs, strict=False)]
    chosen = np.argsort(-np.array(amounts), kind="stable")[:FRAMES].tolist()
    rows = (
        compare(reference.names[index], reference.images[index], reference.logits[index], outputs[index], classes)
        for index in chosen
    )
    return Pictures(tuple(rows), _legend(reference.logits[chosen], classes))


def _disagreement(logits: npt.NDArray[Any], found: Outputs) -> float:
    """Part of the pixels with another class; of classifiers, the largest difference of a logit."""
    if logits.ndim == 1:
        return float(np.abs(np.nan_to_num(found["logits"]) - logits).max())
    theirs = _engine_classes(found, *_map_size(found, logits))
    return float((class_map(logits, *theirs.shape) != theirs).mean())


def _map_size(found: Outputs, logits: npt.NDArray[Any]) -> tuple[int, ...]:
    """Size of the engine's class map; of its logits where it gives those."""
    return found["classes"].shape if "classes" in found else logits.shape[-2:]


def _engine_classes(found: Outputs, height: int, width: int) -> UInt8:
    return found["classes"] if "classes" in found else class_map(np.nan_to_num(found["logits"]), height, width)


def _legend(logits: npt.NDArray[Any], classes: ClassSet) -> tuple[Swatch, ...]:
    """The classes PyTorch sees, most frequent first; none for classifiers."""
    if classes.colours is None or not len(logits):
        return ()
    counts = np.bincount(logits.argmax(axis=1).ravel(), minlength=len(classes.names))
    order = [index for index in np.argsort(-counts, kind="stable") if counts[index]][:LEGEND]
    return tuple(Swatch(classes.names[index], "#" + classes.colours[index].tobytes().hex()) for index in order)


def _segmented(name: str, image: UInt8, logits: npt.NDArray[Any], found: Outputs, classes: ClassSet) -> FrameRow:
    height, width = image.shape[:2]
    ours = class_map(logits, height, width)
    theirs = _engine_classes(found, height, width)
    differ = ours != theirs
    count = int(differ.sum())
    share = f"{count:,} of {differ.size:,} pixels differ ({count / differ.size:.4%})" if count else "no pixel differs"
    pictures = (
        Picture("Input", data_uri(_shrink(image), "jpeg"), f"The frame {name} as the graph receives it"),
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
    picture = Picture("Input", data_uri(_shrink(image), "jpeg"), f"The frame {name} as the graph receives it")
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
