# SPDX-License-Identifier: Apache-2.0
"""Any number of prompts through decoders that take some: split, filled up, and put together again.

A CPU's decoder is one graph for any number of prompts; they go through it a few at a time, while what they compute
fits the caches. A GPU has decoders for fixed numbers of prompts and slots: those whose runs cost least together are
chosen, and what is left of the last one is filled with empty slots.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from evit_deploy.data.masks import LOW_RES, LowRes
from evit_deploy.errors import ArtifactError, UsageError
from evit_deploy.runtime.engine import Engine
from evit_deploy.runtime.sam.embedding import Embedding
from evit_deploy.runtime.sam.prompts import Prompts
from evit_deploy.runtime.sam.verify import fit_slots

Array = npt.NDArray[Any]

CHUNK = 8
"""Prompts of one run on a CPU."""

RUN_COST = 4
"""What a run costs beside its prompts, in prompts: used to choose between many small runs and a large one half full."""

MULTIMASK, SINGLE = ("masks", "iou", "pixels"), ("single_mask", "single_iou", "single_pixels")


@dataclass(frozen=True)
class Run:
    """One run of a decoder.

    Attributes:
        engine: Which decoder.
        start: First prompt.
        stop: Behind the last prompt.
        size: Prompts that the graph is given, empty ones included.
    """

    engine: int
    start: int
    stop: int
    size: int


class Decoder:
    """The mask decoders of one model, for any number of threads: each run is guarded by a lock.

    Args:
        engines: One for any number of prompts, or several for fixed numbers.

    Raises:
        ArtifactError: Not decoders of prompts.
    """

    def __init__(self, engines: Sequence[Engine]) -> None:
        if not engines or any(one.manifest.graph.input != "prompts" for one in engines):
            raise ArtifactError("the engine has no mask decoder", fix="build it again: evit-deploy build MODEL")
        self.engines = tuple(sorted(engines, key=lambda one: one.manifest.graph.batch[1]))
        self._lock = threading.Lock()
        self._tensors = [{tensor.name: tensor for tensor in one.inputs} for one in self.engines]
        self._sizes = tuple(one.manifest.graph.batch for one in self.engines)
        pixels = {tensor.shape[-2:] for tensor in self.engines[0].outputs if tensor.name == MULTIMASK[2]}
        self._camera = next(iter(pixels), None)
        self._no_mask = [
            np.zeros((1, 1, LOW_RES, LOW_RES), self._dtype(index, "mask")) for index in range(len(engines))
        ]

    @property
    def slots(self) -> int | None:
        """Slots for points and corners of a box that each prompt has; None: as many as it takes."""
        fixed = [int(tensors["coords"].shape[1]) for tensors in self._tensors if tensors["coords"].shape[1] != -1]
        return min(fixed, default=None)

    def answer(self, embedding: Embedding, prompts: Prompts, multimask: bool) -> tuple[LowRes, Array | None]:
        """Masks for all prompts.

        Args:
            embedding: The picture's.
            prompts: P prompts.
            multimask: Three masks each, or one.

        Returns:
            float32 [P, M, 256, 256] and [P, M]; and bool [P, M, H, W] if the engine computes pixels of just this size.

        Raises:
            UsageError: A prompt of more points than the engine has slots for.
        """
        names, each = (MULTIMASK, 3) if multimask else (SINGLE, 1)
        found = LowRes(
            np.empty((len(prompts), each, LOW_RES, LOW_RES), np.float32), np.empty((len(prompts), each), np.float32)
        )
        frame = embedding.frame
        pixels = None
        if self._camera == (frame.height, frame.width):
            pixels = np.empty((len(prompts), each, frame.height, frame.width), np.bool_)
        for run in self._plan(prompts):
            place = slice(run.start, run.stop)
            into = [found.masks[place], found.iou[place]] + ([] if pixels is None else [pixels[place]])
            self._do(run, embedding, prompts, dict(zip(names, into, strict=False)))
        return found, pixels

    def stream(self, embedding: Embedding, prompts: Prompts) -> Iterator[LowRes]:
        """Masks of multimask for all prompts, batch by batch, in order.

        Yields:
            float32 [b, 3, 256, 256], valid until the next batch, and [b, 3].
        """
        plan = self._plan(prompts)
        masks = np.empty((max((run.size for run in plan), default=0), 3, LOW_RES, LOW_RES), np.float32)
        for run in plan:
            count = run.stop - run.start
            found = LowRes(masks[:count], np.empty((count, 3), np.float32))
            self._do(run, embedding, prompts, {"masks": found.masks, "iou": found.iou})
            yield found

    def close(self) -> None:
        """Free the engines."""
        for one in self.engines:
            one.close()

    def _plan(self, prompts: Prompts) -> list[Run]:
        """The runs for all prompts, in order."""
        self._require_slots(prompts)
        count = len(prompts)
        if prompts.mask is not None and self._tensors[0]["mask"].shape[0] == 1:  # one mask for a whole run
            return [Run(0, index, index + 1, self._sizes[0][0]) for index in range(count)]
        runs, start = [], 0
        for engine, size in plan_sizes(count, self._sizes):
            runs.append(Run(engine, start, min(start + size, count), size))
            start += size
        return runs

    def _require_slots(self, prompts: Prompts) -> None:
        slots = self.slots
        if slots is not None and prompts.labels.shape[1] > slots:
            boxed = bool((prompts.labels >= 2).any())
            raise UsageError(
                "the prompt has more points than the engine has room for",
                found=f"{prompts.labels.shape[1] - 2 * boxed} points" + (" and a box" if boxed else ""),
                expected=f"at most {slots - 2} points and a box",
                fix="build the engine with --points N, or run it on a CPU, where prompts have any size",
            )

    def _do(self, run: Run, embedding: Embedding, prompts: Prompts, into: dict[str, Array]) -> None:
        """Do a run and copy some of its outputs, without those of empty prompts."""
        inputs = self._inputs(run, embedding, prompts)
        with self._lock:  # until the outputs are copied: they are the engine's own buffers
            outputs = self.engines[run.engine].infer(inputs)
            for name, array in into.items():
                np.copyto(array, outputs[name][: len(array)], casting="unsafe")

    def _inputs(self, run: Run, embedding: Embedding, prompts: Prompts) -> dict[str, Array]:
        slots = self._tensors[run.engine]["coords"].shape[1]
        coords, labels = fit_slots(
            prompts.coords[run.start : run.stop],
            prompts.labels[run.start : run.stop],
            None if slots == -1 else slots,
            run.size,
        )
        masked = prompts.mask is not None
        mask = prompts.mask[run.start : run.stop] if prompts.mask is not None else self._no_mask[run.engine]
        arrays = {
            "coords": coords,
            "labels": labels,
            "embedding": embedding.array,
            "mask": mask,
            "has_mask": np.full(len(mask), masked, np.float32),
        }
        tensors = self._tensors[run.engine]
        return {name: np.ascontiguousarray(arrays[name], tensor.dtype) for name, tensor in tensors.items()}

    def _dtype(self, index: int, name: str) -> str:
        return self._tensors[index][name].dtype


def plan_sizes(count: int, sizes: tuple[tuple[int, int], ...]) -> list[tuple[int, int]]:
    """Choose runs for a number of prompts.

    Args:
        count: How many prompts.
        sizes: (smallest, largest) batch of every decoder, by rising largest.

    Returns:
        Which decoder, and prompts that it is given; largest runs first. The last one may have room to spare.
    """
    if sizes[0][0] != sizes[0][1]:
        step = min(max(CHUNK, sizes[0][0]), sizes[0][1])
        return [(0, max(min(step, count - start), sizes[0][0])) for start in range(0, count, step)]
    fixed = tuple(high for _, high in sizes)
    whole = max(count // fixed[-1] - 1, 0)  # the last two runs of the largest may be worth other ones
    chosen = [len(fixed) - 1] * whole + sorted(_cheapest(count - whole * fixed[-1], fixed), reverse=True)
    return [(index, fixed[index]) for index in chosen]


@lru_cache(maxsize=512)
def _cheapest(count: int, sizes: tuple[int, ...]) -> tuple[int, ...]:
    """The decoders of the cheapest runs for a number of prompts."""
    best: list[tuple[int, tuple[int, ...]]] = [(0, ())]
    for some in range(1, count + 1):
        options = ((best[max(some - size, 0)], index, size) for index, size in enumerate(sizes))
        best.append(min((cost + RUN_COST + size, (index, *rest)) for (cost, rest), index, size in options))
    return best[count][1]
