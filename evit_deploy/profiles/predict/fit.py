# SPDX-License-Identifier: Apache-2.0
"""Fitting the model to published latencies, and telling how well it predicts what it was not fitted to.

Published numbers of Segment Anything are taken as image encoder and mask decoder with one prompt, one after the other:
their table says "end-to-end", the published commands time the encoder alone, and only with the decoder do other models
predict them (docs/prediction.md). `scope` chooses.
"""

from __future__ import annotations

import json
import lzma
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from evit_deploy.profiles.predict.cost import Constants, Work, run_ms
from evit_deploy.profiles.predict.machine import conditions
from evit_deploy.profiles.predict.prediction import Conditions

PLANS = Path(__file__).with_name("published_plans.json.xz")
DECODER = "sam decoder"
FITTED = ("memory_efficiency", "light_bytes", "dense_bytes", "arithmetic_efficiency", "launch_us")
START = Constants(0.85, 3.0, 4.3, 0.8, 7.0, graph_launch_us=1.5, discrete_launch_us=3.0, pcie_gbs=22.0)
"""Where the search begins; what is not in `FITTED` stays."""


@dataclass(frozen=True)
class Row:
    """A published latency and the plan of the graph it is of.

    Attributes:
        name: Model and resolution.
        family: What is held out together: models that share blocks, task and data set.
        ms: Published milliseconds per frame.
        batch: Frames per run.
        work: Kernels at that batch.
        io_bytes: Inputs and outputs at that batch.
    """

    name: str
    family: str
    ms: float
    batch: int
    work: Work
    io_bytes: float


def family(model: str) -> str:
    """Classifiers; B and L segmenters of Cityscapes and of ADE20K; Segment Anything."""
    _, _, rest = model.partition("-")
    return rest if rest in ("cls", "sam") else f"{model[0]} {rest}"


@lru_cache(maxsize=1)
def plans() -> dict[str, Any]:
    """Kernels of the published graphs: by model and resolution, [activation bytes, weight bytes, FLOP] of each."""
    data: dict[str, Any] = json.loads(lzma.decompress(PLANS.read_bytes()))
    return data


def make_row(model: str, resolution: str, ms: float, batch: int = 1, scope: str = "end-to-end") -> Row:
    """A published latency with its plan.

    Args:
        model: Name of the model.
        resolution: "HxW".
        ms: Published milliseconds per frame.
        batch: Frames per run; activations and operations grow with it, weights do not.
        scope: "end-to-end" or "encoder": what a latency of Segment Anything holds.
    """
    names = [f"{model} {resolution}", *([DECODER] if model.endswith("-sam") and scope == "end-to-end" else [])]
    found = [plans()["plans"][name] for name in names]
    table = np.array([kernel for plan in found for kernel in plan["kernels"]], float)
    work = Work(table[:, 0] * batch, table[:, 1], table[:, 2] * batch)
    return Row(names[0], family(model), ms, batch, work, batch * sum(plan["io_bytes"] for plan in found))


def predicted(row: Row, machine: Conditions, constants: Constants) -> float:
    """Milliseconds per frame."""
    return run_ms(row.work, row.io_bytes, machine, constants) / row.batch


def fit(rows: Sequence[Row], machine: Conditions, names: Sequence[str] = FITTED, start: Constants = START) -> Constants:
    """Fit constants to published latencies: relative errors, large ones weighing less than squared.

    Raises:
        ImportError: scipy is not installed.
    """
    from scipy.optimize import least_squares

    first = np.array([getattr(start, name) for name in names])

    def constants(scales: npt.NDArray[np.float64]) -> Constants:
        return Constants(**{**asdict(start), **dict(zip(names, np.abs(scales) * first, strict=True))})

    def errors(scales: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        found = constants(scales)
        return np.array([predicted(row, machine, found) / row.ms - 1 for row in rows])

    return constants(least_squares(errors, np.ones(len(names)), loss="soft_l1", f_scale=0.05).x)


def held_out(
    rows: Sequence[Row], machine: Conditions, groups: Callable[[Row], str], fitter: Callable[[list[Row]], Constants]
) -> npt.NDArray[np.float64]:
    """Predict each row from a fit to the rows of all other groups.

    Returns:
        Predicted over published, one for each row.
    """
    ratios = np.zeros(len(rows))
    for group in dict.fromkeys(map(groups, rows)):
        found = fitter([row for row in rows if groups(row) != group])
        for index, row in enumerate(rows):
            if groups(row) == group:
                ratios[index] = predicted(row, machine, found) / row.ms
    return ratios


@dataclass(frozen=True)
class Errors:
    """How far predictions are off, relative to what was published."""

    median: float
    worst: float

    @classmethod
    def of(cls, ratios: Iterable[float]) -> Errors:
        """From predicted over published."""
        off = np.abs(np.array(list(ratios)) - 1)
        return cls(float(np.median(off)), float(off.max()))


def margin(ratios: Iterable[float], coverage: float) -> float:
    """The factor within which a share of predictions lies."""
    return float(np.exp(np.quantile(np.abs(np.log(np.array(list(ratios)))), coverage, method="higher")))


def orin() -> Conditions:
    """What the published latencies are taken to hold for: AGX Orin 64 GB, all multiprocessors, highest clocks."""
    return conditions("orin", "MAXN")
