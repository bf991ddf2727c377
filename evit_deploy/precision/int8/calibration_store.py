# SPDX-License-Identifier: Apache-2.0
"""What a calibration has counted so far, on disk: it goes on where it was interrupted, and is not made twice.

Written to a temporary file and renamed. Everything is checked when it is read, each part of the archive to its end: a
file that is damaged, or of other frames or another graph, is no calibration of this one.
"""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from evit_deploy.manifest.store import replace_file
from evit_deploy.precision.int8.histogram import BINS, NOTHING, Histogram


@dataclass
class State:
    """Counts of all tensors.

    Attributes:
        histograms: By tensor.
        frames: Frames counted.
        half: What the histograms were after half of the frames; empty before.
    """

    histograms: dict[str, Histogram]
    frames: int = 0
    half: dict[str, Histogram] = field(default_factory=dict)


def write_state(path: Path, key: str, state: State) -> None:
    """Keep a state under a key."""
    arrays: dict[str, Any] = {"key": key, "frames": state.frames, "tensors": np.array(list(state.histograms))}
    for name, histograms in (("all", state.histograms), ("half", state.half)):
        arrays[f"{name}.ranges"] = np.array([(one.largest, one.limit) for one in histograms.values()], float)
        arrays[f"{name}.counts"] = np.array([one.counts for one in histograms.values()], np.int64)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, buffer.getvalue())


def read_state(path: Path, key: str, tensors: tuple[str, ...]) -> tuple[State | None, str | None]:
    """What was kept under a key.

    Returns:
        The state, and why there is none although there is a file.
    """
    if not path.is_file():
        return None, None
    try:
        with zipfile.ZipFile(path) as archive:
            if (damaged := archive.testzip()) is not None:  # numpy itself does not read as far as the checksum
                raise ValueError(f"{damaged} is damaged")
        with np.load(path, allow_pickle=False) as data:
            if str(data["key"]) != key or tuple(data["tensors"].tolist()) != tensors:
                return None, f"{path} is the calibration of another graph or of other frames"
            whole, half = (_histograms(tensors, data[f"{part}.ranges"], data[f"{part}.counts"])
                           for part in ("all", "half"))  # fmt: skip
            frames = int(data["frames"])
        if len(whole) != len(tensors) or frames < 1:
            raise ValueError("it counts nothing")
        return State(whole, frames, half), None
    except Exception as error:  # zipfile, zlib and numpy have many kinds
        return None, f"{path} is damaged ({error})"


def _histograms(tensors: tuple[str, ...], ranges: npt.NDArray[Any], counts: npt.NDArray[Any]) -> dict[str, Histogram]:
    """Raises ValueError where numbers are none that counting gives."""
    if not len(ranges):
        return {}
    if ranges.shape != (len(tensors), 2) or counts.shape != (len(tensors), BINS) or counts.dtype != np.int64:
        raise ValueError("counts of another form")
    largest, limits = ranges.T
    plausible = (
        np.isfinite(ranges).all()
        and ((largest >= 0) & ((largest <= limits) | (largest < NOTHING))).all()
        and np.isin(np.frexp(limits)[0], (0.0, 0.5)).all()  # powers of two
        and (counts.sum(axis=1) > 0).all()
    )
    if not plausible or (counts < 0).any() or (counts > 1 << 50).any():
        raise ValueError("counts that are none")
    return {
        name: Histogram(float(largest), float(limit), each.copy())
        for name, (largest, limit), each in zip(tensors, ranges, counts, strict=True)
    }
