# SPDX-License-Identifier: Apache-2.0
"""Fit the model of latency to published numbers, and print the tables of docs/prediction.md.

``python tools/fit_prediction.py`` writes ``evit_deploy/profiles/predict/calibration.json``. The plans it fits to are
made by tools/make_plans.py.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime, timezone
from functools import partial

import numpy as np

from evit_deploy.profiles.predict.cost import CALIBRATION, Constants
from evit_deploy.profiles.predict.fit import (
    Errors,
    Row,
    fit,
    held_out,
    make_row,
    margin,
    orin,
    predicted,
)
from evit_deploy.profiles.predict.machine import conditions
from evit_deploy.profiles.predict.prediction import Conditions
from evit_deploy.profiles.predict.published import a100_rows, orin_rows, published

COVERAGE = 0.9
SOURCE = "latencies published in the README.md files of mit-han-lab/efficientvit at commit de7d773"


def main() -> None:
    """Fit, write and print."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    machine, rows = orin(), orin_rows()
    constants = fit(rows, machine)
    alone = orin_rows("encoder")
    print_fit("encoder and decoder", rows, machine, constants)
    print_fit("encoder alone", alone, machine, fit(alone, machine))
    ours = partial(fit, machine=machine)
    by_family = held_out(rows, machine, lambda row: row.family, ours)
    constants, there = fit_a100(constants)
    print_classifiers(constants)
    margins = {"orin": margin(by_family, COVERAGE), "a100": margin(there, COVERAGE)}
    record = {
        "fitted": datetime.now(timezone.utc).date().isoformat(),
        "source": SOURCE,
        "tool": "tools/fit_prediction.py",
        "constants": {name: float(value) for name, value in asdict(constants).items()},
        "margins": margins,
        "coverage": COVERAGE,
    }
    CALIBRATION.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(record, indent=1))


def print_fit(title: str, rows: Sequence[Row], machine: Conditions, constants: Constants) -> None:
    """Every row: published, fitted, and predicted with it and with its family held out."""
    ours = partial(fit, machine=machine)
    fitted = np.array([predicted(row, machine, constants) / row.ms for row in rows])
    alone = held_out(rows, machine, lambda row: row.name, ours)
    family = held_out(rows, machine, lambda row: row.family, ours)
    print(
        f"\n{title}\n\n| graph | published ms | predicted ms | row held out | family held out |\n|---|---|---|---|---|"
    )
    for row, here, one, many in zip(rows, fitted, alone, family, strict=True):
        print(f"| {row.name} | {row.ms:g} | {here * row.ms:.2f} | {one * row.ms:.2f} | {many * row.ms:.2f} |")
    for name, ratios in (("fitted", fitted), ("row held out", alone), ("family held out", family)):
        errors = Errors.of(ratios)
        print(f"{name}: median {errors.median:.1%}, worst {errors.worst:.1%}")


def fit_a100(constants: Constants) -> tuple[Constants, np.ndarray[tuple[int], np.dtype[np.float64]]]:
    """Everything from the Orin but the copies: PCI Express is fitted. Returns the ratios with each row held out."""
    machine, rows = conditions("a100"), a100_rows()
    copies = partial(fit, machine=machine, names=("pcie_gbs",), start=constants)
    found = copies(rows)
    ratios = held_out(rows, machine, lambda row: row.name, copies)
    print("\n| A100 | batch | published ms per frame | predicted | predicted, row held out |\n|---|---|---|---|---|")
    for row, ratio in zip(rows, ratios, strict=True):
        here = predicted(row, machine, found)
        print(f"| {row.name} | {row.batch} | {row.ms:.3f} | {here:.3f} | {ratio * row.ms:.3f} |")
    for variant in ("80 GB SXM", "40 GB"):
        there = conditions("a100", variant=variant)
        errors = Errors.of(held_out(rows, there, lambda row: row.name, partial(copies, machine=there)))
        print(f"{variant}: row held out: median {errors.median:.1%}, worst {errors.worst:.1%}")
    return found, ratios


def print_classifiers(constants: Constants) -> None:
    """Throughput of classifiers on an A100, published without a batch size: nothing is fitted to it."""
    machine = conditions("a100")
    print("\n| classifier | published img/s | predicted at batch 16 | at batch 64 |\n|---|---|---|---|")
    for row in (row for row in published() if row.a100_img_s is not None and row.a100_batch is None):
        found = (make_row(row.model, row.size, math.nan, batch) for batch in (16, 64))
        rates = " | ".join(f"{1000 / predicted(each, machine, constants):.0f}" for each in found)
        print(f"| {row.model} {row.size} | {row.a100_img_s:.0f} | {rates} |")


if __name__ == "__main__":
    main()
