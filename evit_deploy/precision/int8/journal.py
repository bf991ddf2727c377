# SPDX-License-Identifier: Apache-2.0
"""What a search has judged so far, so that it goes on where it was interrupted: JSON lines, each written at once."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Collection, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from evit_deploy.errors import UsageError
from evit_deploy.precision.int8.curve import Score

Entry = tuple[tuple[str, ...], int]

_DAMAGED = (KeyError, TypeError, ValueError, OverflowError, RecursionError)


class Journal:
    """Scores by assignment and number of frames.

    Args:
        path: The file; one of another key is begun anew, and damaged lines (a killed writer's) are left out.
        key: Content hash of what scores depend on: graph, scales, frames.

    Raises:
        UsageError: The file cannot be read or written.
    """

    def __init__(self, path: Path, key: str) -> None:
        self._path, self._scores = path, dict[Entry, Score]()
        with self._in_words():
            data = path.read_bytes() if path.exists() else b""
            head, *lines = data.decode("utf-8", errors="replace").split("\n")
            if _decoded(head).get("key") != key:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(json.dumps({"key": key}) + "\n", encoding="utf-8")
                return
        for line in lines:
            with contextlib.suppress(*_DAMAGED):
                entry = _decoded(line)
                self._scores[tuple(map(str, entry["layers"])), int(entry["frames"])] = _score(entry["score"])
        if not data.endswith(b"\n"):
            self._append("")  # what comes next must not join a half line

    def get(self, layers: Collection[str], frames: int) -> Score | None:
        """The score of an assignment on so many frames (0: on all), if it was judged."""
        return self._scores.get((tuple(sorted(layers)), frames))

    def add(self, layers: Collection[str], frames: int, score: Score) -> None:
        """Keep a score.

        Raises:
            UsageError: The file cannot be written any more.
        """
        names = tuple(sorted(layers))
        self._scores[names, frames] = score
        self._append(json.dumps({"layers": names, "frames": frames, "score": asdict(score)}))

    def _append(self, line: str) -> None:
        with self._in_words(), self._path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")

    @contextlib.contextmanager
    def _in_words(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise UsageError(
                f"cannot keep what the search judged in {self._path}", found=error.strerror,
                expected="a writable folder with free space",
            ) from error  # fmt: skip


def _decoded(line: str) -> dict[str, Any]:
    with contextlib.suppress(*_DAMAGED):
        value = json.loads(line)
        if isinstance(value, dict):
            return value
    return {}


def _score(data: dict[str, Any]) -> Score:
    drop, agreement, error, spread = (float(data[name]) for name in ("drop", "agreement", "error", "spread"))
    return Score(drop, agreement, error, int(data["frames"]), spread)
