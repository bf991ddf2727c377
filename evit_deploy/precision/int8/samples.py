# SPDX-License-Identifier: Apache-2.0
"""Frames to calibrate with and frames to judge with, of one source, never the same.

A collection is dealt out evenly, every so many-th frame to judge with. Of a film the end is kept apart: neighbours show
nearly the same, and judging on them would judge what was calibrated. Drawn scenes have numbers of their own for each,
which the demo weights were neither trained nor evaluated on, and labels. Random noise is for those who ask for it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from evit_deploy.data.frames import FrameSource, open_frames
from evit_deploy.data.images import Frame
from evit_deploy.errors import UsageError
from evit_deploy.manifest import GraphInfo, Manifest, Preprocess
from evit_deploy.precision.probe import Feed
from evit_deploy.runtime.preprocess import check_frame, fit_frame, fitted_size, graph_inputs

FIRST_SCENE = {"calibrate": 4_000_000, "judge": 3_000_000}
"""Number of the first drawn scene: training and evaluation draw others."""

RANDOM_WORDS = "random noise says nothing of the ranges that real pictures give: expect an engine that is wrong"

_SHOWN = 3

UInt8 = npt.NDArray[np.uint8]


class _Source(Protocol):
    """Numbered frames."""

    words: str
    labelled: bool
    recorded: bool

    @property
    def notes(self) -> tuple[str, ...]: ...
    def name(self, index: int) -> str: ...
    def read(self, chosen: Sequence[int]) -> Iterator[Frame]: ...
    def content(self, chosen: Sequence[int]) -> str: ...
    def labels(self, index: int) -> UInt8 | None: ...


class Samples:
    """Frames of a source as feeds of a graph; they can be gone through again and again, and are read each time.

    Attributes:
        source: What they are, in words.
        key: Content hash of the frames and of how they are fitted.
        labelled: Whether `labels` knows the truth.
    """

    def __init__(self, source: _Source, chosen: Sequence[int], graph: GraphInfo, rules: Preprocess) -> None:
        self._source, self._chosen, self._graph, self._rules = source, list(chosen), graph, rules
        self.source, self.labelled = source.words, source.labelled
        content = f"{source.content(self._chosen)} {graph.resolution} {graph.input} {rules}"
        self.key = hashlib.sha256(content.encode()).hexdigest()
        self._flat: list[str] | None = None

    def __len__(self) -> int:
        """How many."""
        return len(self._chosen)

    @property
    def names(self) -> list[str]:
        """Their names."""
        return [self._source.name(index) for index in self._chosen]

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a user must know of the frames; recorded ones are gone through for it, unless they were already.

        Raises:
            UsageError: As `__iter__`.
        """
        flat = self._flat_names()
        shown = ", ".join(flat[:_SHOWN]) + (", …" if len(flat) > _SHOWN else "")
        words = [f"{len(flat)} of {len(self)} frames are of one colour: {shown}"] if flat else []
        return (*self._source.notes, *words)

    def __iter__(self) -> Iterator[Feed]:
        """Each frame as the graph takes it, in a batch of one.

        Raises:
            UsageError: A frame cannot be read, or all are of one colour.
        """
        flat = []
        for frame in self._source.read(self._chosen):
            image = check_frame(frame.image)
            if _is_flat(image):
                flat.append(frame.name)
            yield self._feed(image)
        self._keep(flat)

    def labels(self, index: int) -> UInt8 | None:
        """Train ids [H, W] of a frame; None where nobody knows them."""
        return self._source.labels(self._chosen[index]) if self.labelled else None

    def _flat_names(self) -> list[str]:
        """Names of the frames of one colour: of drawn ones there are none."""
        if self._flat is None:
            frames = self._source.read(self._chosen) if self._source.recorded else ()
            self._keep([frame.name for frame in frames if _is_flat(frame.image)])
        return self._flat or []

    def _keep(self, flat: list[str]) -> None:
        if flat and len(flat) == len(self):
            raise UsageError(
                f"all {len(self)} frames of {self.source} are of one colour", found=flat[0],
                expected="pictures of what the robot sees", fix="check the camera, or the folder",
            )  # fmt: skip
        self._flat = flat

    def _feed(self, image: UInt8) -> dict[str, npt.NDArray[Any]]:
        height, width = self._graph.resolution
        fitted = fit_frame(image, self._rules, height, width)
        whole = self._rules.resize != "longest-side"
        size = (height, width) if whole else fitted_size(image.shape[:2], height)
        return graph_inputs(fitted[None], np.array([size], np.int32), self._graph, self._rules)


def open_samples(source: str, manifest: Manifest, count: int, *, held_out: int) -> tuple[Samples, Samples]:
    """Frames to calibrate an export with, and others to judge it on.

    Args:
        source: A folder of images, a video, a recorded bag, "scenes", or "random".
        manifest: The export.
        count: How many to calibrate with.
        held_out: How many to judge on. Where there are fewer frames than both together, each gets its share.

    Returns:
        The two.

    Raises:
        UsageError: No frames, too few for both, or such that cannot be read.
    """
    graph, rules = manifest.graph, manifest.preprocess
    if graph.batch[0] != 1:
        raise UsageError(
            "INT8 is calibrated frame by frame", found=f"a graph of batch {graph.batch[0]}",
            expected="one that takes single frames", fix="export with --batch 1, or --batch 1..N",
        )  # fmt: skip
    if source in ("scenes", "random"):
        known = source == "scenes" and manifest.weights.source == "demo" and manifest.model.dataset == "cityscapes"
        made = [_Made(source, use, graph.resolution, known) for use in FIRST_SCENE]
        return Samples(made[0], range(count), graph, rules), Samples(made[1], range(held_out), graph, rules)
    frames = open_frames(source)
    calibrated, judged = _dealt(len(frames), frames.sequence, count, held_out)
    if not calibrated or not judged:
        raise UsageError(
            f"there are too few frames in {source}", found=f"{len(frames)}",
            expected="2 at least: one to calibrate with, one to judge on; hundreds are better",
        )  # fmt: skip
    notes: tuple[str, ...] = ()
    if len(calibrated) < count:
        notes = (
            f"{len(frames)} frames there: {len(calibrated)} to calibrate with where {count} were asked for, "
            f"{len(judged)} to judge on",
        )
    pair = [_Recorded(frames, note) for note in (notes, ())]
    return Samples(pair[0], calibrated, graph, rules), Samples(pair[1], judged, graph, rules)


def _is_flat(image: UInt8) -> bool:
    return bool((image == image[0, 0]).all())


def _dealt(there: int, sequence: bool, count: int, held_out: int) -> tuple[list[int], list[int]]:
    """Numbers of the frames to calibrate with, and of those to judge on."""
    judged = held_out if there >= count + held_out else max(round(there * held_out / (count + held_out)), 1)
    if sequence:
        border = there - max(round(there * judged / (min(count, there) + judged)), judged)
        return _spread(range(border), count), _spread(range(border, there), judged)
    kept = set(_spread(range(there), judged))
    return _spread([index for index in range(there) if index not in kept], count), sorted(kept)


def _spread(numbers: Sequence[int], count: int) -> list[int]:
    """At most so many of them, evenly."""
    count = min(count, len(numbers))
    return [numbers[(2 * step + 1) * len(numbers) // (2 * count)] for step in range(count)]


class _Recorded:
    """Recorded frames, whose truth nobody knows."""

    labelled = False
    recorded = True

    def __init__(self, frames: FrameSource, notes: tuple[str, ...]) -> None:
        self._frames, self._notes, self.words = frames, notes, frames.words

    @property
    def notes(self) -> tuple[str, ...]:
        return (*self._notes, *self._frames.notes)

    def name(self, index: int) -> str:
        return self._frames.name(index)

    def read(self, chosen: Sequence[int]) -> Iterator[Frame]:
        return self._frames.read(chosen)

    def content(self, chosen: Sequence[int]) -> str:
        return self._frames.content(chosen)

    def labels(self, index: int) -> UInt8 | None:
        return None


class _Made:
    """Drawn scenes, or random noise."""

    recorded = False

    def __init__(self, kind: str, use: str, size: tuple[int, int], labelled: bool) -> None:
        self._kind, self._first, self._size, self.labelled = kind, FIRST_SCENE[use], size, labelled
        self.words = "drawn street scenes" if kind == "scenes" else "random noise"
        self.notes: tuple[str, ...] = (RANDOM_WORDS,) if kind == "random" else ()

    def name(self, index: int) -> str:
        return f"{'scene' if self._kind == 'scenes' else 'random'}:{self._first + index}"

    def read(self, chosen: Sequence[int]) -> Iterator[Frame]:
        from evit_deploy.data.images import scene_frame

        for index in chosen:
            if self._kind == "scenes":
                yield scene_frame(self._first + index, self._size)
            else:
                noise = np.random.default_rng(self._first + index).integers(0, 256, (*self._size, 3), np.uint8)
                yield Frame(self.name(index), noise, real=False)

    def content(self, chosen: Sequence[int]) -> str:
        return f"{self._kind} {self._first} {list(chosen)}"

    def labels(self, index: int) -> UInt8 | None:
        from evit_deploy.data.scenes import render_scene

        return render_scene(self._first + index, *self._size).labels
