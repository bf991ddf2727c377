# SPDX-License-Identifier: Apache-2.0
"""What an evaluation is: items of a data set that are loaded, put through the engine, judged and added up.

`Task` is the seam between the data sets, which know files and metrics, and the loop (`run.py`, `stream.py`), which
knows threads, journals and progress.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

from evit_deploy.errors import ArtifactError, UsageError

Loaded = TypeVar("Loaded")
Result = TypeVar("Result")
Outcome = dict[str, Any]
"""What one item adds to the score, as JSON values: it is written to the journal, and read from there again."""

FAILURES = (UsageError, ArtifactError)
"""Errors of `Task.load` and `Task.judge` that are failures of one item."""


@dataclass(frozen=True)
class Request:
    """What to evaluate on.

    Attributes:
        kind: Kind of data set: a key of `evit_deploy.profiles.evaluate.kinds.KINDS`.
        root: Its folder; None of a kind that needs no files.
        split: Part of it, such as "train"; None for the kind's own.
        prompts: How Segment Anything is asked, in the words of its kind of data set; None for the kind's own.
    """

    kind: str
    root: Path | None = None
    split: str | None = None
    prompts: str | None = None

    @property
    def name(self) -> str:
        """What tells its record from others: the kind, and split and prompts where they are not the kind's own."""
        way, _, file = (self.prompts or "").partition(":")
        words = (self.kind, self.split, way, Path(file).stem)
        return "-".join(re.sub(r"[^A-Za-z0-9_]+", "-", word) for word in words if word)


@dataclass(frozen=True)
class Item:
    """One image of a data set.

    Attributes:
        name: Its name in journal and messages, unlike all others: a path relative to the data set.
        files: What is read of it: that these exist is checked before the evaluation begins.
    """

    name: str
    files: tuple[Path, ...] = ()


@dataclass(frozen=True)
class ClassScore:
    """How a class fared.

    Attributes:
        name: Name of the class.
        count: Pixels, images or objects of the class in the labels.
        iou: Intersection over union, 0..1; None where it is not what is measured, or the class does not occur.
        accuracy: Part of the class's images that is recognised, 0..1; None as for `iou`.
    """

    name: str
    count: int
    iou: float | None = None
    accuracy: float | None = None

    @property
    def value(self) -> float | None:
        """Whichever is measured."""
        return self.accuracy if self.iou is None else self.iou


@dataclass(frozen=True)
class Mistake:
    """A pair of classes that are taken for each other.

    Attributes:
        truth: Name of the class in the labels.
        predicted: Name of the class that the engine gives instead.
        count: Pixels or images.
    """

    truth: str
    predicted: str
    count: int


@dataclass(frozen=True)
class Score:
    """What an evaluation found.

    Attributes:
        metrics: By name, such as "mIoU"; 0..1.
        published: What the reference's authors published for this model and data set, by the same names, 0..1; None
            where nothing was published that compares.
        classes: How each class fared; empty where there are no classes.
        confusion: Counts, one row per true class, one column per predicted class; None where there are no classes, or
            too many to be looked at.
        mistakes: The pairs of classes that are confused most, worst first.
        warnings: What a reader must know before comparing the numbers with others.
    """

    metrics: dict[str, float]
    published: dict[str, float] | None = None
    classes: tuple[ClassScore, ...] = ()
    confusion: list[list[int]] | None = None
    mistakes: tuple[Mistake, ...] = ()
    warnings: tuple[str, ...] = ()


class Task(Protocol[Loaded, Result]):
    """A data set and the engine that is evaluated on it.

    A `UsageError` or `ArtifactError` of `load` or `judge` is a failure of that one item; any other error, and all of
    `infer`, end the evaluation.

    Attributes:
        batch: Items that `infer` takes at once, at most.
        split: Part of the data set, such as "val"; None where it has none.
        options: Whatever else changes outcomes, as JSON values: an evaluation is only continued with the same.
    """

    @property
    def batch(self) -> int: ...  # noqa: D102  said above

    @property
    def split(self) -> str | None: ...  # noqa: D102

    @property
    def options(self) -> Mapping[str, Any]: ...  # noqa: D102

    def items(self) -> Sequence[Item]:
        """All images, always in the same order.

        Raises:
            UsageError: This is no such data set, or there are no images.
        """

    def load(self, item: Item) -> Loaded:
        """Read an image and what is known of it, and fit it to the graph. Called by several threads.

        Raises:
            UsageError: A file is missing, or is no image.
            ArtifactError: A file is damaged, or does not fit the others.
        """

    def infer(self, batch: Sequence[Loaded]) -> Sequence[Result]:
        """Put 1 to `batch` items through the engine. Called by one thread.

        Returns:
            One result per item, in memory of their own: the engine's next run must not overwrite them.
        """

    def judge(self, loaded: Loaded, result: Result) -> Outcome:
        """Compare a result with the truth. Called by several threads."""

    def finish(self, outcomes: Iterable[tuple[str, Outcome]]) -> Score:
        """Add up the outcomes, each with its item's name; in any order, and passed over once."""
