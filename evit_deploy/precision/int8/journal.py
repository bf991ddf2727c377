# SPDX-License-Identifier: Apache-2.0
"""What a search has judged so far, so that it goes on where it was interrupted: JSON lines, each written at once."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Collection
from dataclasses import asdict
from pathlib import Path
from typing import Any

from evit_deploy.precision.int8.curve import Score

Entry = tuple[tuple[str, ...], int]


class Journal:
    """Scores by assignment and number of frames.

    Args:
        path: The file; one of another key is begun anew, and damaged lines (a killed writer's) are left out.
        key: Content hash of what scores depend on: graph, scales, frames.
    """

    def __init__(self, path: Path, key: str) -> None:
        self._path, self._scores = path, dict[Entry, Score]()
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []
        if lines and _decoded(lines[0]).get("key") == key:
            for line in lines[1:]:
                with contextlib.suppress(KeyError, TypeError, ValueError):
                    entry = _decoded(line)
                    self._scores[tuple(entry["layers"]), int(entry["frames"])] = _score(entry["score"])
            if not path.read_bytes().endswith(b"\n"):
                self._append("")  # what comes next must not join a half line
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps({"key": key}) + "\n", encoding="utf-8")

    def get(self, layers: Collection[str], frames: int) -> Score | None:
        """The score of an assignment on so many frames, if it was judged."""
        return self._scores.get((tuple(sorted(layers)), frames))

    def add(self, layers: Collection[str], frames: int, score: Score) -> None:
        """Keep a score."""
        names = tuple(sorted(layers))
        self._scores[names, frames] = score
        self._append(json.dumps({"layers": names, "frames": frames, "score": asdict(score)}))

    def _append(self, line: str) -> None:
        with self._path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")


def _decoded(line: str) -> dict[str, Any]:
    with contextlib.suppress(ValueError):
        value = json.loads(line)
        if isinstance(value, dict):
            return value
    return {}


def _score(data: dict[str, Any]) -> Score:
    drop, agreement, error, spread = (float(data[name]) for name in ("drop", "agreement", "error", "spread"))
    return Score(drop, agreement, error, int(data["frames"]), spread)
