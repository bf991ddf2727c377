# SPDX-License-Identifier: Apache-2.0
"""What an evaluation leaves behind: ``profiles/<engine's name>/evaluation.<kind>.json``."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import evit_deploy
from evit_deploy.manifest import utc_now
from evit_deploy.profiles.evaluate.task import Score
from evit_deploy.profiles.files import write_json
from evit_deploy.targets.machine import describe

VERSION = 1


@dataclass(frozen=True)
class DatasetInfo:
    """What was evaluated on.

    Attributes:
        kind: Kind of data set; with split, prompts and limit where they are not the usual ones: "coco-click-limit-50".
        path: Its folder; None of a kind that needs no files.
        split: Part of it; None where it has none.
        images: Images of the split.
        sha256: Hash of the names and sizes of the files that were to be evaluated.
    """

    kind: str
    path: str | None
    split: str | None
    images: int
    sha256: str


@dataclass(frozen=True)
class Skipped:
    """An image that was left out, and why."""

    file: str
    why: str


@dataclass(frozen=True)
class Speed:
    """How fast an evaluation ran, from its last start to its end.

    Attributes:
        images: Images evaluated since then; the others came from its journal.
        seconds: Time they took.
        frames_per_second: Images per second, reading and judging included; None where there were none.
        bare_frames_per_second: Images per second of the engine alone, timed just before; None likewise.
    """

    images: int
    seconds: float
    frames_per_second: float | None
    bare_frames_per_second: float | None


@dataclass(frozen=True)
class Evaluation:
    """The accuracy of an engine on a data set.

    Attributes:
        engine: Name of the engine's folder.
        key: Key of the engine.
        dataset: What was evaluated on.
        options: Whatever else outcomes depend on.
        score: What was found.
        images: Images that count.
        skipped: Images that were left out because they failed.
        speed: How fast it ran.
        warnings: What a reader must know, of the engine and of the score.
    """

    engine: str
    key: str
    dataset: DatasetInfo
    options: dict[str, Any]
    score: Score
    images: int
    skipped: tuple[Skipped, ...]
    speed: Speed
    warnings: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """The record, with when and where it was made."""
        score = asdict(self.score)
        return {
            "evaluation": VERSION,
            "engine": self.engine,
            "key": self.key,
            "dataset": asdict(self.dataset),
            "options": self.options,
            **{name: score[name] for name in ("metrics", "published", "classes", "confusion", "mistakes")},
            "images": self.images,
            "skipped": [asdict(item) for item in self.skipped],
            "continued": self.images - self.speed.images,
            **{name: value for name, value in asdict(self.speed).items() if name != "images"},
            "created": utc_now(),
            "tool": evit_deploy.__version__,
            "machine": describe(),
            "warnings": list(self.warnings),
        }

    def write(self, path: Path) -> None:
        """Write the record, all or nothing.

        Raises:
            UsageError: The place cannot be written.
        """
        write_json(path, self.to_json())
