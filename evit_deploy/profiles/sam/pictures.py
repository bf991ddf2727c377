# SPDX-License-Identifier: Apache-2.0
"""Masks of PyTorch and of the engine for some of the reference's prompts, as pictures for the page."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from evit_deploy.data.masks import PromptFrame
from evit_deploy.data.overlay import draw_boxes, draw_points, paint_labels
from evit_deploy.data.resize import resize_image, resize_nearest
from evit_deploy.profiles.pages.pictures import FrameRow, Picture, data_uri, marked, size_on_page
from evit_deploy.profiles.sam.verify import Opened
from evit_deploy.runtime.reference import Reference
from evit_deploy.runtime.sam.reference import PromptReference
from evit_deploy.runtime.sam.verify import prompt_inputs
from evit_deploy.runtime.verify import reference_inputs

UInt8 = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]

PROMPTS = 3  # of each picture
_COLOUR = np.array([[0, 158, 115]], np.uint8)


@dataclass(frozen=True)
class Pair:
    """One mask of a prompt at its frame's own pixels, bool [H, W], by PyTorch and by the engine."""

    index: int
    ours: Mask
    theirs: Mask

    @property
    def difference(self) -> float:
        """Share of the frame's pixels that only one of the two has."""
        return float((self.ours ^ self.theirs).mean())


def mask_rows(encoder: Opened, decoder: Opened) -> list[FrameRow]:
    """Run the prompts of the reference from picture to mask, and draw those that differ most from PyTorch's answers."""
    pictures, prompts = Reference.load(encoder.folder), PromptReference.load(decoder.folder)
    return [draw(pictures, prompts, pair) for pair in pairs(encoder, decoder, pictures, prompts)]


def pairs(encoder: Opened, decoder: Opened, pictures: Reference, prompts: PromptReference) -> list[Pair]:
    """The best of multimask, as PyTorch thinks, for the `PROMPTS` of each picture that differ most; those first."""
    chosen: list[Pair] = []
    for picture in range(len(prompts.frames)):
        of_picture = _pairs_of(picture, encoder, decoder, pictures, prompts)
        chosen += sorted(of_picture, key=lambda pair: -pair.difference)[:PROMPTS]
    return sorted(chosen, key=lambda pair: -pair.difference)


def _pairs_of(
    picture: int, encoder: Opened, decoder: Opened, pictures: Reference, prompts: PromptReference
) -> Iterator[Pair]:
    """Both masks for every prompt of a picture that is no mask."""
    embedding = _embedding(encoder, pictures, picture)
    own = replace(prompts, embeddings=np.repeat(embedding, len(prompts.frames), axis=0))
    for index in np.flatnonzero((prompts.of == picture) & (prompts.has_mask == 0)).tolist():
        batch = [index] * decoder.manifest.graph.batch[0]
        masks = decoder.infer(prompt_inputs(own, decoder.manifest, batch))["masks"][0]
        best = int(prompts.iou[index, 1:].argmax())
        both = np.stack([prompts.masks[index, 1 + best], np.nan_to_num(np.asarray(masks[best], np.float32))])
        yield Pair(index, *prompts.frames[picture].pixels(both))


def draw(pictures: Reference, prompts: PromptReference, pair: Pair) -> FrameRow:
    """A row of three pictures: PyTorch's mask, the engine's, and where they differ."""
    name, picture = prompts.names[pair.index], int(prompts.of[pair.index])
    photo = _photo(pictures, picture)
    differ = pair.ours ^ pair.theirs
    count = int(differ.sum())
    share = f"{count:,} of {differ.size:,} pixels differ ({count / differ.size:.4%})" if count else "no pixel differs"

    def shown(title: str, mask: Mask) -> Picture:
        labels = resize_nearest(mask.astype(np.uint8), *photo.shape[:2]).astype(np.int32)
        painted = paint_labels(photo, labels, _COLOUR)
        _draw_prompt(painted, prompts.frames[picture], prompts, pair.index)
        return Picture(
            title, data_uri(painted, "jpeg"), f"Mask by {title} for {name}: {mask.mean():.1%} of the picture"
        )

    difference = Picture(
        "Difference", data_uri(marked(photo, differ), "jpeg"), f"{name} in grey, differing pixels in red: {share}"
    )
    return FrameRow(name, share, (shown("PyTorch", pair.ours), shown("Engine", pair.theirs), difference))


def _draw_prompt(painted: UInt8, frame: PromptFrame, prompts: PromptReference, index: int) -> None:
    """Draw points and box into a picture of any size."""
    scale = np.array(painted.shape[1::-1]) / np.array(frame.fitted[::-1])
    coords, labels = prompts.coords[index] * scale, prompts.labels[index]
    corners = coords[(labels == 2) | (labels == 3)]
    draw_boxes(painted, corners.reshape(-1, 4))
    points = (labels == 0) | (labels == 1)
    draw_points(painted, coords[points], labels[points])


def _photo(pictures: Reference, picture: int) -> UInt8:
    """A reference picture, at most as wide as the page shows it."""
    height, width = pictures.sizes[picture]
    photo = pictures.frames[picture] if pictures.frames else pictures.images[picture][:height, :width]
    return resize_image(photo, *size_on_page(photo.shape), "pillow-bicubic")


def _embedding(encoder: Opened, pictures: Reference, picture: int) -> npt.NDArray[Any]:
    """The engine's own embedding of one picture, float32 [1, 256, 64, 64]."""
    batch = [picture] * encoder.manifest.graph.batch[0]
    outputs = encoder.infer(reference_inputs(pictures, encoder.manifest, batch))
    return np.array(outputs["embedding"][:1], np.float32)
