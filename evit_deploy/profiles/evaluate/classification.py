# SPDX-License-Identifier: Apache-2.0
"""Classification: top-1 and top-5 accuracy.

An image counts for top-k where the logit of its class is among the k largest. An output that is not finite counts for
nothing: every comparison with NaN is false, which would make the true class the best one.

Source: mit-han-lab/efficientvit at commit de7d773, applications/efficientvit_cls/eval_efficientvit_cls_model.py.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from evit_deploy.data.classes import ClassSet
from evit_deploy.data.imagenet import Photo
from evit_deploy.data.images import read_image
from evit_deploy.profiles.evaluate.feed import Array, Feed
from evit_deploy.profiles.evaluate.mistakes import not_finite, worst_mistakes
from evit_deploy.profiles.evaluate.task import ClassScore, Item, Outcome, Score
from evit_deploy.runtime.classify import Classifier


@dataclass(frozen=True)
class LoadedPhoto:
    """An image as the graph takes it, and its class."""

    fitted: Array
    label: int


def _fingerprint(photos: Sequence[Photo]) -> str:
    """SHA-256 of every image's class: outcomes hold it, and a list of classes may be mended between two runs."""
    pairs = (f"{photo.name}\0{photo.label}\n" for photo in photos)
    return hashlib.sha256("".join(pairs).encode()).hexdigest()


class ClassificationTask:
    """Evaluates a classifier on images of which each has one class; a `Task`."""

    def __init__(
        self, classifier: Classifier, photos: Sequence[Photo], split: str, published: dict[str, float] | None
    ) -> None:
        self._classes: ClassSet = classifier.classes
        self._feed, self._published = Feed(classifier.engine, "logits"), published
        self._photos = {photo.name: photo for photo in photos}
        self.batch, self.split = self._feed.batch, split
        self.options: dict[str, Any] = {"labels": _fingerprint(photos)}

    def items(self) -> list[Item]:
        """All images."""
        return [Item(photo.name, (photo.path,)) for photo in self._photos.values()]

    def load(self, item: Item) -> LoadedPhoto:
        """Read an image and fit it to the graph."""
        photo = self._photos[item.name]
        return LoadedPhoto(self._feed.fit(read_image(photo.path, upright=False)), photo.label)

    def infer(self, batch: Sequence[LoadedPhoto]) -> list[Array]:
        """Logits [classes]."""
        return self._feed.run([loaded.fitted for loaded in batch])

    def judge(self, loaded: LoadedPhoto, result: Array) -> Outcome:
        """The predicted class, and how many classes stand before the true one."""
        if not np.isfinite(result).all():
            return {"label": loaded.label, "predicted": None, "before": len(result)}
        order = np.argsort(-result, kind="stable")
        before = int(np.flatnonzero(order == loaded.label)[0])
        return {"label": loaded.label, "predicted": int(order[0]), "before": before}

    def finish(self, outcomes: Iterable[tuple[str, Outcome]]) -> Score:
        """Top-1 and top-5 accuracy, and the top-1 accuracy of every class that occurs."""
        classes = len(self._classes.names)
        counts, among_five, broken = np.zeros((classes, classes + 1), np.int64), 0, 0
        for _, outcome in outcomes:
            predicted = outcome["predicted"]
            counts[outcome["label"], classes if predicted is None else predicted] += 1
            among_five += outcome["before"] < 5
            broken += predicted is None
        images, hits, total = counts.sum(axis=1), np.diagonal(counts), int(counts.sum())
        return Score(
            metrics={"top-1": int(hits.sum()) / total, "top-5": among_five / total},
            published=self._published,
            classes=tuple(
                ClassScore(name, int(count), accuracy=int(hit) / int(count))
                for name, count, hit in zip(self._classes.names, images, hits, strict=True)
                if count
            ),
            mistakes=worst_mistakes(counts[:, :classes], self._classes.names),
            warnings=not_finite(broken, total),
        )
