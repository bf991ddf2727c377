# SPDX-License-Identifier: Apache-2.0
"""``evit-deploy predict``: from a question to predictions, and to the same question with one thing changed."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from evit_deploy.errors import UsageError
from evit_deploy.profiles.predict.machine import conditions
from evit_deploy.profiles.predict.predict import predict_plan
from evit_deploy.profiles.predict.prediction import PREDICTED, Copies, Prediction
from evit_deploy.profiles.predict.sources import find_subjects
from evit_deploy.profiles.predict.subject import Subject
from evit_deploy.progress import Progress, silent

CHANGES = ("cuda-graph", "zero-copy", "mode=NAME", "variant=NAME", "resolution=HxW", "output=NAME", "batch=N")
"""What can be asked with ``--what-if``."""


@dataclass(frozen=True)
class Asked:
    """What to predict for.

    Attributes:
        target: Name of the target.
        mode: Power mode; None for the unlimited one.
        variant: Size it is sold in; None for the largest.
        resolution: (height, width); None for the model's, or the artifact's.
        output: What the graph gives; None for the model's, or the artifact's.
        batch: Frames per run; None for 1, or the artifact's.
        plain: The graph as the reference exports it, in place of this package's.
        cuda_graph: Kernels launched as one CUDA graph.
        copies: How inputs and outputs move.
    """

    target: str
    mode: str | None = None
    variant: str | None = None
    resolution: tuple[int, int] | None = None
    output: str | None = None
    batch: int | None = None
    plain: bool = False
    cuda_graph: bool = False
    copies: Copies = "pinned"


@dataclass(frozen=True)
class Whole:
    """Predictions of all graphs that answer one frame, which run one after the other.

    Attributes:
        parts: One prediction; for Segment Anything those of the image encoder and of the mask decoder.
    """

    parts: tuple[Prediction, ...]

    @property
    def ms(self) -> float:
        """Milliseconds of all of them."""
        return sum(part.ms for part in self.parts)

    @property
    def low_ms(self) -> float:
        """Lower end of the interval."""
        return sum(part.low_ms for part in self.parts)

    @property
    def high_ms(self) -> float:
        """Upper end of the interval."""
        return sum(part.high_ms for part in self.parts)

    def to_json(self) -> dict[str, Any]:
        """The sums as JSON values, with `PREDICTED` under "kind"."""
        return {"kind": PREDICTED, "total_ms": self.ms, "low_ms": self.low_ms, "high_ms": self.high_ms}


@dataclass(frozen=True)
class WhatIf:
    """The same question with one thing changed.

    Attributes:
        change: What, in the words of `CHANGES`.
        whole: The predictions then.
    """

    change: str
    whole: Whole


def predict(what: str | Path, workspace: Path, asked: Asked, progress: Progress = silent) -> Whole:
    """Predict the latency of a model, an export or an engine.

    Args:
        what: Name of a model, or folder or name of an export or engine.
        workspace: Folder that holds export/ and engines/.
        asked: The machine, and what to change about the graph.
        progress: Told about every step.

    Raises:
        UsageError: Nothing of that name, no such machine or mode, or a change that an artifact does not allow.
        ArtifactError: A damaged artifact.
        UnavailableError: What makes the graph is not installed.
    """
    return predict_changes(what, workspace, asked, (), progress)[0]


def predict_changes(
    what: str | Path, workspace: Path, asked: Asked, changes: Sequence[str], progress: Progress = silent
) -> tuple[Whole, tuple[WhatIf, ...]]:
    """Predict, and predict again with one thing changed at a time; see `CHANGES`.

    A graph that several questions share is made once, and none before all questions make sense.

    Raises:
        UsageError: An unknown change, or one that makes no sense here; and as `predict`.
    """
    questions = [asked, *(change_of(asked, change) for change in changes)]
    machines = [
        conditions(one.target, one.mode, one.variant, cuda_graph=one.cuda_graph, copies=one.copies) for one in questions
    ]

    @cache
    def subjects(
        resolution: tuple[int, int] | None, output: str | None, batch: int | None, plain: bool
    ) -> tuple[Subject, ...]:
        return find_subjects(
            what, workspace, resolution=resolution, output=output, batch=batch, plain=plain, progress=progress
        )

    found = [
        Whole(tuple(predict_plan(item, machine) for item in subjects(one.resolution, one.output, one.batch, one.plain)))
        for one, machine in zip(questions, machines, strict=True)
    ]
    return found[0], tuple(WhatIf(change, whole) for change, whole in zip(changes, found[1:], strict=True))


def change_of(asked: Asked, change: str) -> Asked:
    """A question with one thing changed.

    Raises:
        UsageError: Not one of `CHANGES`.
    """
    name, _, value = change.partition("=")
    changes: dict[str, Callable[[str], Asked]] = {
        "cuda-graph": lambda _: replace(asked, cuda_graph=True),
        "zero-copy": lambda _: replace(asked, copies="zero-copy"),
        "mode": lambda mode: replace(asked, mode=mode),
        "variant": lambda variant: replace(asked, variant=variant),
        "output": lambda output: replace(asked, output=output),
        "batch": lambda batch: replace(asked, batch=int(batch)),
        "resolution": lambda size: replace(asked, resolution=_size(size)),
    }
    if name in changes and bool(value) == (name not in ("cuda-graph", "zero-copy")):
        with contextlib.suppress(ValueError):
            return changes[name](value)
    raise UsageError(f"'{change}' is nothing to change", expected=f"one of {', '.join(CHANGES)}")


def _size(text: str) -> tuple[int, int]:
    height, width = (int(side) for side in text.lower().split("x"))
    return height, width
