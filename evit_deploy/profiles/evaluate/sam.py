# SPDX-License-Identifier: Apache-2.0
"""Segment Anything on COCO: every picture is embedded once and asked for all its objects.

As the reference does: three masks of each prompt, of which the one counts that the decoder itself thinks best, at the
picture's own pixels.

Source: mit-han-lab/efficientvit at commit de7d773, applications/efficientvit_sam/eval_efficientvit_sam_model.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from evit_deploy.data.coco_dataset import Picture
from evit_deploy.data.images import read_image
from evit_deploy.data.masks import LOW_RES
from evit_deploy.errors import ArtifactError
from evit_deploy.profiles.evaluate.task import Item, Outcome, Score
from evit_deploy.runtime.sam import SegmentAnything
from evit_deploy.runtime.sam.embedding import Fitted

Bool = npt.NDArray[np.bool_]
Float32 = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Asked:
    """P prompts about a picture.

    Attributes:
        coords: float64 [P, N, 2], (x, y) in pixels of the picture.
        labels: int32 [P, N]: 1 a point on the object, 2 and 3 the corners of a box.
        about: What each prompt was made of.
    """

    coords: npt.NDArray[np.float64]
    labels: npt.NDArray[np.int32]
    about: Sequence[Any]


class Questions(Protocol):
    """What is asked about the pictures of a data set, and how the answers are judged.

    Attributes:
        split: Part of the data set.
        pictures: All its pictures.
        options: Whatever else outcomes depend on, as JSON values.
    """

    @property
    def split(self) -> str: ...  # noqa: D102  said above

    @property
    def pictures(self) -> Sequence[Picture]: ...  # noqa: D102

    @property
    def options(self) -> Mapping[str, Any]: ...  # noqa: D102

    def ask(self, picture: Picture) -> Asked:
        """The prompts about a picture. For several threads.

        Raises:
            ArtifactError: What is known of the picture is damaged.
        """

    def judge(self, about: Sequence[Any], masks: Iterable[Bool]) -> Outcome:
        """Judge the answers [H, W] to all prompts about a picture, which come one by one. For several threads."""

    def finish(self, outcomes: Iterable[tuple[Picture, Outcome]]) -> Score:
        """Add up."""


@dataclass(frozen=True, eq=False)
class LoadedPicture:
    """A picture as the encoder takes it, and the prompts about it."""

    fitted: Fitted
    asked: Asked


class SamTask:
    """Evaluates Segment Anything on pictures with prompts; a `Task`."""

    batch = 1

    def __init__(self, sam: SegmentAnything, questions: Questions) -> None:
        self._sam, self._questions = sam, questions
        self._pictures = {picture.name: picture for picture in questions.pictures}
        self.split, self.options = questions.split, questions.options

    def items(self) -> list[Item]:
        """All pictures, those without objects as well."""
        return [Item(picture.name, (picture.path,)) for picture in self._pictures.values()]

    def load(self, item: Item) -> LoadedPicture:
        """Read a picture, fit it to the encoder and make its prompts."""
        picture = self._pictures[item.name]
        image = read_image(picture.path, upright=False)
        if image.shape[:2] != (picture.height, picture.width):
            raise ArtifactError(
                f"the image {item.name} has another size than its annotations say",
                found=f"{image.shape[0]}x{image.shape[1]}",
                expected=f"{picture.height}x{picture.width}",
            )
        return LoadedPicture(self._sam.fit(image), self._questions.ask(picture))

    def infer(self, batch: Sequence[LoadedPicture]) -> list[Float32]:
        """Logits [P, 256, 256] of the best mask of each prompt."""
        return [self._answers(loaded) for loaded in batch]

    def judge(self, loaded: LoadedPicture, result: Float32) -> Outcome:
        """Compare masks with the truth, at the picture's own pixels."""
        broken = int((~np.isfinite(result)).any(axis=(1, 2)).sum())
        return {**self._questions.judge(loaded.asked.about, self._pixels(loaded, result)), "not_finite": broken}

    def finish(self, outcomes: Iterable[tuple[str, Outcome]]) -> Score:
        """Add up."""
        broken = 0

        def sound() -> Iterator[tuple[Picture, Outcome]]:
            nonlocal broken
            for name, outcome in outcomes:
                broken += outcome["not_finite"]
                yield self._pictures[name], outcome

        score = self._questions.finish(sound())
        if not broken:
            return score
        return replace(score, warnings=(*score.warnings, f"the answers to {broken} prompts are not finite"))

    def _answers(self, loaded: LoadedPicture) -> Float32:
        embedding, asked = self._sam.encode(loaded.fitted), loaded.asked
        best = np.empty((len(asked.about), LOW_RES, LOW_RES), np.float32)
        done = 0
        for found in self._sam.decode(embedding, asked.coords, asked.labels):
            count = len(found.iou)
            best[done : done + count] = found.masks[np.arange(count), found.iou.argmax(axis=1)]
            done += count
        return best

    def _pixels(self, loaded: LoadedPicture, logits: Float32) -> Iterator[Bool]:
        """One by one: pixels of all would take hundreds of megabytes."""
        for one in logits:
            yield loaded.fitted.frame.pixels(one[None])[0]
