# SPDX-License-Identifier: Apache-2.0
"""What there is to choose from: models at resolutions, with what is known of their accuracy."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from evit_deploy.errors import UsageError
from evit_deploy.models.zoo import MODELS, ModelSpec
from evit_deploy.profiles.predict.prediction import PREDICTED
from evit_deploy.profiles.predict.published import published

METRICS = {"imagenet": "ImageNet top-1", "cityscapes": "Cityscapes mIoU", "ade20k": "ADE20K mIoU", "sa-1b": "COCO mAP"}
"""By the data set a model was trained on: what its accuracy is of. Accuracies of different metrics do not compare."""

_STEP = 32  # every graph's sides are multiples of it
_SMALLER = (0.5, 0.75)

Fit = Literal["fits", "may fit", "too slow"]


@dataclass(frozen=True)
class Timing:
    """Milliseconds per frame, one frame at a time.

    Attributes:
        ms: The predicted value, or the measured median.
        low_ms: Lower end of the prediction's interval, or the first percentile measured.
        high_ms: Upper end of it, or the 99th percentile measured.
        source: `PREDICTED`, or the name of the profile that measured it.
    """

    ms: float
    low_ms: float
    high_ms: float
    source: str = PREDICTED

    @property
    def is_predicted(self) -> bool:
        """Whether nobody measured it."""
        return self.source == PREDICTED


@dataclass(frozen=True)
class Candidate:
    """A model at a resolution.

    Attributes:
        model: Name of the model.
        resolution: (height, width) in pixels.
        metric: Name of its accuracy.
        accuracy: In percent; None where nobody published it for this resolution.
    """

    model: str
    resolution: tuple[int, int]
    metric: str
    accuracy: float | None


@dataclass(frozen=True)
class Choice(Candidate):
    """A candidate in a precision, with its latency.

    Attributes:
        precision: Precision of the engine.
        timing: How long it takes.
        accuracy_source: "published", or the name of the profile whose evaluation measured it.
    """

    precision: str
    timing: Timing
    accuracy_source: str = "published"

    @property
    def size(self) -> str:
        """Resolution as "HxW"."""
        return "{}x{}".format(*self.resolution)

    @property
    def title(self) -> str:
        """The model, and its resolution where that is not the model's own."""
        return self.model if self._is_own_size else f"{self.model} {self.size}"

    @property
    def _is_own_size(self) -> bool:
        return self.resolution == MODELS[self.model].resolution

    def fit(self, budget_ms: float) -> Fit:
        """Whether it stays within a budget with all of its interval, with its middle, or not."""
        if self.timing.high_ms <= budget_ms:
            return "fits"
        return "may fit" if self.timing.ms <= budget_ms else "too slow"

    def commands(self, target: str) -> tuple[str, ...]:
        """What exports, builds and measures it."""
        name = self.model if self._is_own_size else f"{self.model}-{self.size}"
        lines = (
            ["export", self.model, *([] if self._is_own_size else ["--resolution", self.size, "--name", name])],
            ["build", name, "--target", target, f"--{self.precision}"],
            ["profile", f"{name}.{target}.{self.precision}"],
        )
        return tuple(shlex.join(["evit-deploy", *line]) for line in lines)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


def candidates(task: str | None = None, dataset: str | None = None) -> tuple[Candidate, ...]:
    """All models of a task and a data set, at their published resolutions and, for segmenters, at smaller ones.

    Args:
        task: "cls", "seg" or "sam"; None for all.
        dataset: "imagenet", "cityscapes", "ade20k" or "sa-1b"; None for all.

    Raises:
        UsageError: No such task or data set, or no model of both.
    """
    _require_known("task", task, [spec.task for spec in MODELS.values()])
    _require_known("data set", dataset, METRICS)
    specs = [spec for spec in MODELS.values() if task in (None, spec.task) and dataset in (None, spec.dataset)]
    if not specs:
        raise UsageError(f"there is no model for the task '{task}' trained on '{dataset}'", fix="evit-deploy models")
    return tuple(candidate for spec in specs for candidate in _of_model(spec))


def frontier(choices: Iterable[Choice]) -> tuple[Choice, ...]:
    """Those that no other one beats in both accuracy and latency, fastest first; without those of unknown accuracy."""
    best: list[Choice] = []
    known = (choice for choice in choices if choice.accuracy is not None)
    for choice in sorted(known, key=lambda one: (one.timing.ms, -(one.accuracy or 0))):
        if not best or (choice.accuracy or 0) > (best[-1].accuracy or 0):
            best.append(choice)
    return tuple(best)


def best_within(choices: Sequence[Choice], budget_ms: float) -> Choice | None:
    """The most accurate one that fits a budget; else the most accurate one that may fit; None where none does."""
    for wanted in ("fits", "may fit"):
        fitting = [choice for choice in choices if choice.accuracy is not None and choice.fit(budget_ms) == wanted]
        if fitting:
            return max(fitting, key=lambda one: (one.accuracy or 0, -one.timing.ms))
    return None


def _of_model(spec: ModelSpec) -> Iterator[Candidate]:
    known = {row.resolution: row.accuracy for row in published() if row.model == spec.name}
    for size in dict.fromkeys((*_smaller(spec), spec.resolution, *known)):
        yield Candidate(spec.name, size, METRICS[spec.dataset], known.get(size))


def _smaller(spec: ModelSpec) -> Iterator[tuple[int, int]]:
    """Fractions of a segmenter's resolution; Segment Anything has one only, and classifiers lose their training's."""
    if spec.task == "seg":
        height, width = spec.resolution
        for part in _SMALLER:
            yield int(height * part) // _STEP * _STEP, int(width * part) // _STEP * _STEP


def _require_known(what: str, name: str | None, known: Iterable[str]) -> None:
    if name is not None and name not in known:
        raise UsageError(f"there is no {what} '{name}'", expected=f"one of {', '.join(dict.fromkeys(known))}")
