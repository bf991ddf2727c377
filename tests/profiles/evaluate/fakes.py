# SPDX-License-Identifier: Apache-2.0
"""A task that counts, for tests of the loop."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from evit_deploy.errors import ArtifactError
from evit_deploy.profiles.evaluate.task import Item, Outcome, Score


class CountingTask:
    """Every item is a number; its outcome is its square. Some are broken, some stop everything."""

    def __init__(self, count: int, batch: int = 1, broken: Iterable[int] = (), stop_at: int | None = None) -> None:
        self.count, self.batch, self.broken, self.stop_at = count, batch, set(broken), stop_at
        self.split, self.options = "val", {"power": 2}
        self.files: dict[int, tuple[Path, ...]] = {}
        self.loaded: list[int] = []
        self.judged: list[int] = []
        self.batches: list[int] = []
        self.held = self.most_held = 0
        self.load_seconds = self.infer_seconds = 0.0
        self._lock = threading.Lock()

    def items(self) -> list[Item]:
        return [Item(f"{number}", self.files.get(number, ())) for number in range(self.count)]

    def load(self, item: Item) -> int:
        time.sleep(self.load_seconds)
        number = int(item.name)
        with self._lock:
            self.loaded.append(number)
        if number in self.broken:
            raise ArtifactError(f"{number} is broken", found="nonsense", expected="sense")
        with self._lock:
            self.held += 1
            self.most_held = max(self.most_held, self.held)
        return number

    def infer(self, batch: Sequence[int]) -> list[int]:
        time.sleep(self.infer_seconds)
        if self.stop_at in batch:
            raise KeyboardInterrupt
        self.batches.append(len(batch))
        return [number * number for number in batch]

    def judge(self, loaded: int, result: int) -> Outcome:
        with self._lock:
            self.held -= 1
            self.judged.append(loaded)
        return {"square": result}

    def finish(self, outcomes: Iterable[tuple[str, Outcome]]) -> Score:
        pairs = list(outcomes)
        assert all(outcome["square"] == int(name) ** 2 for name, outcome in pairs)
        return Score({"sum": float(sum(outcome["square"] for _, outcome in pairs)), "count": float(len(pairs))})
