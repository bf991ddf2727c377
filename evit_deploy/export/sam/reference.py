# SPDX-License-Identifier: Apache-2.0
"""The references that travel with a model of Segment Anything: pictures, prompts, and what PyTorch answered."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from evit_deploy.data.images import Frame, installed_photos, read_image, scene_frame
from evit_deploy.data.masks import LOW_RES, PromptFrame
from evit_deploy.errors import UsageError
from evit_deploy.export.reference import HELD_OUT_SEED, choose_frames, settle_vector_library
from evit_deploy.manifest import Preprocess
from evit_deploy.models.sam import SegmentAnything
from evit_deploy.runtime.preprocess import check_frame, normalise
from evit_deploy.runtime.reference import Reference, fit_exactly
from evit_deploy.runtime.sam.reference import EMPTY_SLOT, PromptReference

MOST_FRAMES = 16
"""Pictures of the user's: each one travels with 4 MB of embedding and 5 MB of masks."""

_SCENES = ((360, 480), (480, 360))
_SLOTS = 3  # a point and two corners of a box
_BACKGROUND, _FOREGROUND, _TOP_LEFT, _BOTTOM_RIGHT = 0, 1, 2, 3


@dataclass(frozen=True)
class _Prompt:
    """A prompt in parts of the picture's width and height.

    Attributes:
        name: What it is.
        points: (x, y) of each point.
        labels: 1 object, 0 background.
        box: (x0, y0, x1, y1), or None.
        masked: The best mask of the prompt before is given as well.
    """

    name: str
    points: tuple[tuple[float, float], ...] = ()
    labels: tuple[int, ...] = ()
    box: tuple[float, float, float, float] | None = None
    masked: bool = False


_PROMPTS = (
    _Prompt("point", ((0.45, 0.55),), (_FOREGROUND,)),
    _Prompt("point and mask", ((0.45, 0.55),), (_FOREGROUND,), masked=True),
    _Prompt("two points", ((0.3, 0.4), (0.8, 0.15)), (_FOREGROUND, _BACKGROUND)),
    _Prompt("box", box=(0.2, 0.25, 0.75, 0.9)),
    _Prompt("point and box", ((0.6, 0.7),), (_FOREGROUND,), (0.35, 0.3, 0.95, 0.95)),
)


def choose_pictures(images: Path | None) -> list[Frame]:
    """The pictures to prove agreement on: a wide one and a tall one, so that padding at both sides is seen.

    Args:
        images: A folder of the user's, all of it; None takes photos that installed packages ship, and drawn scenes.

    Raises:
        UsageError: No image there, or too many.
    """
    if images is not None:
        frames = choose_frames(images, (1, 1))
        if len(frames) > MOST_FRAMES:
            raise UsageError(
                f"{images} holds too many images for a model of Segment Anything",
                found=str(len(frames)),
                expected=f"at most {MOST_FRAMES}: PyTorch's answers to each travel with every engine",
            )
        return frames
    photos = [Frame(path.name, read_image(path)) for path in installed_photos()]
    wide = [photo for photo in photos if photo.image.shape[0] < photo.image.shape[1]]
    tall = [photo for photo in photos if photo.image.shape[0] > photo.image.shape[1]]
    scenes = [scene_frame(HELD_OUT_SEED + index, size) for index, size in enumerate(_SCENES)]
    return [(found or [scene])[0] for found, scene in zip((wide, tall), scenes, strict=True)]


def make_picture_reference(
    model: SegmentAnything, frames: Sequence[Frame], rules: Preprocess, advance: Callable[[], None] = lambda: None
) -> Reference:
    """Let PyTorch embed pictures.

    Args:
        model: The model in eval mode, FP32, on the CPU.
        frames: Frames of any size.
        rules: Preprocessing.
        advance: Called after every picture.
    """
    settle_vector_library()
    side = model.image_size
    whole = tuple(check_frame(frame.image) for frame in frames)
    canvases = np.stack([fit_exactly(frame, rules, (side, side)) for frame in whole])
    empty = Reference(tuple(frame.name for frame in frames), canvases, np.empty(0, np.float32), whole, rules)
    embeddings = []
    for canvas, size in zip(canvases, empty.sizes, strict=True):
        with torch.inference_mode():
            embeddings.append(model(padded(canvas, size, rules)).numpy()[0])
        advance()
    return Reference(empty.names, canvases, np.stack(embeddings), whole, rules)


def padded(canvas: npt.NDArray[np.uint8], size: npt.NDArray[np.int32], rules: Preprocess) -> Tensor:
    """A canvas as the reference implementation prepares it: normalised, then zeros right of and below the picture.

    Args:
        canvas: uint8 [S, S, 3].
        size: (height, width) of the picture at its top left, in px.
        rules: Preprocessing.

    Returns:
        float32 [1, 3, S, S].
    """
    values = normalise(canvas[None], rules)
    height, width = size
    values[:, :, height:] = 0
    values[:, :, :, width:] = 0
    return torch.from_numpy(values)


def make_prompt_reference(
    model: SegmentAnything, pictures: Reference, advance: Callable[[], None] = lambda: None
) -> PromptReference:
    """Let PyTorch answer prompts of every kind on every picture, one by one.

    Args:
        model: The model in eval mode, FP32, on the CPU.
        pictures: Pictures and their embeddings.
        advance: Called after every prompt.
    """
    settle_vector_library()
    rows: list[tuple[npt.NDArray[np.float32], ...]] = []
    frames = tuple(PromptFrame(*picture.shape[:2]) for picture in pictures.frames)
    for frame, embedding in zip(frames, pictures.logits, strict=True):
        best = np.zeros((1, LOW_RES, LOW_RES), np.float32)
        for prompt in _PROMPTS:
            given = best if prompt.masked else np.zeros_like(best)
            coords, labels = _slots(prompt, frame)
            masks, iou = _ask(model, embedding, prompt, coords, given)
            best = masks[1 + iou[1:].argmax()][None]
            rows.append((coords, labels, given, np.asarray(prompt.masked, np.float32), masks, iou))
            advance()
    coords, labels, mask, has_mask, masks, iou = (np.stack(column) for column in zip(*rows, strict=True))
    return PromptReference(
        names=tuple(f"{name}: {prompt.name}" for name in pictures.names for prompt in _PROMPTS),
        frames=frames,
        embeddings=pictures.logits,
        of=np.repeat(np.arange(len(frames), dtype=np.intp), len(_PROMPTS)),
        coords=coords,
        labels=labels.astype(np.int32),
        mask=mask,
        has_mask=has_mask,
        masks=masks,
        iou=iou,
    )


def prompts_of(pictures: int) -> int:
    """How many prompts a number of pictures has."""
    return pictures * len(_PROMPTS)


def _slots(prompt: _Prompt, frame: PromptFrame) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Coordinates [3, 2] in the 1024 frame and labels [3], empty slots last."""
    corners = [prompt.box[:2], prompt.box[2:]] if prompt.box else []
    places = np.array([*prompt.points, *corners]) * (frame.width, frame.height)
    labels = [*prompt.labels, *([_TOP_LEFT, _BOTTOM_RIGHT] if prompt.box else [])]
    empty = _SLOTS - len(labels)
    coords = np.concatenate([frame.to_frame(places), np.zeros((empty, 2), np.float32)])
    return coords, np.array([*labels, *[EMPTY_SLOT] * empty], np.float32)


def _ask(
    model: SegmentAnything,
    embedding: npt.NDArray[np.float32],
    prompt: _Prompt,
    coords: npt.NDArray[np.float32],
    mask: npt.NDArray[np.float32],
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """PyTorch's logits [4, 256, 256] and predicted IoU [4] for one prompt."""
    count = len(prompt.points)
    points = torch.from_numpy(coords[None])
    with torch.inference_mode():
        masks, iou = model.decode(
            torch.from_numpy(embedding[None]),
            points[:, :count] if count else None,
            torch.tensor([prompt.labels], dtype=torch.int32) if count else None,
            points[:, count : count + 2].reshape(1, 4) if prompt.box else None,
            torch.from_numpy(mask[None]) if prompt.masked else None,
        )
    return masks.numpy()[0], iou.numpy()[0]
