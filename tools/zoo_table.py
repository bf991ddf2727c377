# SPDX-License-Identifier: Apache-2.0
"""Predict the whole zoo on a Jetson AGX Orin: as the reference exports it, and as this package does.

``python tools/zoo_table.py`` writes ``profiles/reference/orin-zoo.json`` and ``orin-zoo.md``, published latencies
beside the predictions. Nothing in it was measured by this project. Plans of the reference's graphs are those that the
model was fitted with (tools/make_plans.py).
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from evit_deploy.cli.bars import Bars
from evit_deploy.manifest import replace_file
from evit_deploy.models.zoo import MODELS, find_model
from evit_deploy.profiles.advise.choice import METRICS
from evit_deploy.profiles.files import write_json
from evit_deploy.profiles.predict.ask import Whole
from evit_deploy.profiles.predict.cost import Work, calibration
from evit_deploy.profiles.predict.fit import make_row, predicted
from evit_deploy.profiles.predict.machine import conditions
from evit_deploy.profiles.predict.plans import maker
from evit_deploy.profiles.predict.predict import predict_plan
from evit_deploy.profiles.predict.prediction import PREDICTED, Conditions
from evit_deploy.profiles.predict.published import Published, published
from evit_deploy.profiles.predict.sources import model_subjects

FOLDER = Path(__file__).parents[1] / "profiles" / "reference"

WORDS = """\
# The zoo on a Jetson AGX Orin, predicted

Predicted, not measured, by tools/zoo_table.py with the model of docs/prediction.md; constants fitted on {fitted}, plans
by {maker}. AGX Orin {machine}, FP16, batch 1, inputs and outputs copied.

*Published*: what the authors measured, under conditions that they do not state in full. *Plain*: the graph as the
reference exports it, FP32 in and out. *Ours*: the graph that `export` and `build` make: camera frame in, class map out
for segmentation, attention rearranged. Segment Anything is image encoder and mask decoder for one prompt.

The constants were fitted to the published column, so that the plain one agrees with it proves little;
docs/prediction.md shows how well models are predicted that were left out of the fit. In brackets: the interval that
holds {coverage:.0%} of those.

Ours is predicted to be slower than plain in {slower} of {both} rows, for two reasons: a class map over 150 classes,
which plain does not make, takes 0.9 ms of b1-seg-ade20k; and on the small maps of classifiers, where tokens are fewer
than channels, folding the projection into the averages of the values and merging the aggregation (docs/attention.md)
both move more weights than they save activations.
In b3-cls at 288x288 that is {example}.

| model | resolution | accuracy | published ms | plain ms | ours ms | ours / plain |
|---|---|---|---|---|---|---|
"""


@dataclass(frozen=True)
class Figure:
    """A predicted latency in milliseconds, and the number of kernels."""

    ms: float
    low_ms: float
    high_ms: float
    kernels: int

    def __str__(self) -> str:
        """As it stands in the table."""
        return f"{self.ms:.2f} ({self.low_ms:.2f} to {self.high_ms:.2f})"


@dataclass(frozen=True)
class Line:
    """One line of the table; `plain` is None for a model that nothing was published of."""

    row: Published
    plain: Figure | None
    ours: Figure


def main() -> None:
    """Predict and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder to write to")
    out: Path = parser.parse_args().out
    start, machine, rows, lines = time.perf_counter(), conditions("orin", "MAXN"), list(all_rows()), []
    with Bars()("predict the zoo", len(rows)) as step:
        for row in rows:
            lines.append(Line(row, plain(row, machine), ours(row, machine)))
            step.advance()
    write_json(out / "orin-zoo.json", record(lines, machine))
    replace_file(out / "orin-zoo.md", markdown(lines, machine).encode())
    print(f"{len(rows)} rows in {time.perf_counter() - start:.0f} s: {out / 'orin-zoo.md'}")


def all_rows() -> Iterator[Published]:
    """Everything that was published, and models that nothing was published of, at their own resolution."""
    rows = published()
    yield from rows
    known = {row.model for row in rows}
    for spec in (spec for spec in MODELS.values() if spec.name not in known):
        yield Published(spec.name, spec.resolution, METRICS[spec.dataset], spec.accuracy, None, None, None, None)


def plain(row: Published, machine: Conditions) -> Figure | None:
    """Predict the reference's graph."""
    if row.orin_ms is None and row.a100_img_s is None:
        return None
    graph, fitted = make_row(row.model, row.size, math.nan), calibration()
    ms, margin = predicted(graph, machine, fitted.constants), fitted.margins[machine.target]
    return Figure(ms, ms / margin, ms * margin, len(graph.work.flops))


def ours(row: Published, machine: Conditions) -> Figure:
    """Predict this package's graph."""
    subjects = model_subjects(find_model(row.model), row.resolution)
    whole = Whole(tuple(predict_plan(subject, machine) for subject in subjects))
    return Figure(whole.ms, whole.low_ms, whole.high_ms, sum(len(part.kernels) for part in whole.parts))


def record(lines: list[Line], machine: Conditions) -> dict[str, Any]:
    """Everything as JSON values."""
    fitted = calibration()
    return {
        "kind": PREDICTED,
        "conditions": asdict(machine),
        "plans": maker(),
        "fitted": fitted.fitted,
        "coverage": fitted.coverage,
        "rows": [
            {
                "model": line.row.model,
                "resolution": line.row.size,
                "metric": line.row.metric,
                "accuracy": line.row.accuracy,
                "published_ms": line.row.orin_ms,
                "predicted_plain": line.plain and asdict(line.plain),
                "predicted_ours": asdict(line.ours),
            }
            for line in lines
        ],
    }


def markdown(lines: list[Line], machine: Conditions) -> str:
    """The table as a page."""
    words = f"{machine.variant} in {machine.mode}: {machine.multiprocessors} SMs, {machine.bandwidth_gbs:g} GB/s"
    fitted = calibration()
    slower = [line.ours.ms > line.plain.ms for line in lines if line.plain is not None]
    head = WORDS.format(
        fitted=fitted.fitted,
        maker=maker(),
        machine=words,
        coverage=fitted.coverage,
        slower=sum(slower),
        both=len(slower),
        example=moved("b3-cls", (288, 288)),
    )
    return head + "".join(f"| {' | '.join(cells(line))} |\n" for line in lines)


def moved(model: str, resolution: tuple[int, int]) -> str:
    """What our graph and the reference's move, in words."""
    (subject,) = model_subjects(find_model(model), resolution)
    height, width = resolution
    ours, plain = Work.of(subject.plan.working), make_row(model, f"{height}x{width}", math.nan).work
    weights, activations = (
        f"{one.sum() / 1e6:.0f} MB of {name} in place of {other.sum() / 1e6:.0f}"
        for name, one, other in (
            ("weights", ours.weights, plain.weights),
            ("activations", ours.activations, plain.activations),
        )
    )
    return f"{weights}, and {activations}"


def cells(line: Line) -> tuple[str, ...]:
    """One line, cell by cell."""
    row = line.row
    return (
        row.model,
        row.size,
        "-" if row.accuracy is None else f"{row.metric} {row.accuracy:.1f}",
        "-" if row.orin_ms is None else f"{row.orin_ms:g}",
        "-" if line.plain is None else str(line.plain),
        str(line.ours),
        "-" if line.plain is None else f"{line.ours.ms / line.plain.ms:.2f}",
    )


if __name__ == "__main__":
    main()
