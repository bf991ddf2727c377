# SPDX-License-Identifier: Apache-2.0
"""Measure every model on this machine and print the table of docs/performance.md.

``python tools/measure_models.py [MODEL ...] [--runs N] [--resolution HxW]`` exports each model with random weights,
builds the FP32 engine of each CPU compiler, and times them, OpenVINO's at BF16 as well, and PyTorch eager in
alternating blocks, so that the ratios hold on a busy machine.
"""

from __future__ import annotations

import argparse
import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import contextlib
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from evit_deploy.cli.common import parse_resolution
from evit_deploy.engines import build_engine
from evit_deploy.errors import EvitError
from evit_deploy.export import ExportOptions, export_model
from evit_deploy.manifest import Manifest, read_manifest
from evit_deploy.models import create_model, list_models
from evit_deploy.profiles.latency import Subject, measure_together
from evit_deploy.profiles.original import eager_call
from evit_deploy.runtime.engine import Engine, available_cores, open_engine
from evit_deploy.targets.machine import describe

ENGINES = (("openvino", "fp32"), ("openvino", "bf16"), ("onnxruntime", "fp32"))
HEADER = ("model", "input", "export s", "engine MB", "PyTorch ms", *(f"{c} {p}" for c, p in ENGINES), "best ratio")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", default=[*list_models("cls"), *list_models("seg")])
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--resolution", help="HxW; the model's own if not given")
    arguments = parser.parse_args()
    print(
        f"{describe()['processor']}, {available_cores()} cores, {describe()['features']}; torch {torch.__version__}\n"
    )
    print(f"| {' | '.join(HEADER)} |\n|{'---|' * len(HEADER)}", flush=True)
    for name in arguments.models:
        print(f"| {' | '.join(_row(name, arguments.runs, parse_resolution(arguments.resolution)))} |", flush=True)


def _row(name: str, runs: int, resolution: tuple[int, int] | None) -> list[str]:
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        root = Path(folder)
        start = time.perf_counter()
        manifest, _ = export_model(name, root / "export", ExportOptions(weights="random", resolution=resolution))
        if not isinstance(manifest, Manifest):
            raise SystemExit(f"{name} has two graphs: tools/measure_sam.py measures it")
        export_seconds = time.perf_counter() - start
        calls: dict[str, Callable[[], object]] = {"pytorch": _pytorch(name, manifest)}
        size = 0.0
        for compiler, precision in ENGINES:
            path = root / compiler
            if not path.exists():
                build_engine(root / "export", path, target="cpu", compiler=compiler)
            with contextlib.suppress(EvitError):  # this CPU has no BF16
                task = stack.enter_context(_open(path, precision))
                image = np.zeros((1, *manifest.graph.resolution, 3), np.uint8)
                calls[f"{compiler}.{precision}"] = partial(task.infer, {"image": image})
                size = size or sum(file.stat().st_size for file in path.iterdir()) / 1e6
        subjects = [Subject(key, call, runs) for key, call in calls.items()]
        latencies = measure_together(subjects, warm_up_seconds=0, warm_up_calls=2)
    medians = {latency.name: latency.p50 for latency in latencies}
    pytorch = medians.pop("pytorch")
    cells = [f"{medians[key]:.1f}" if (key := f"{c}.{p}") in medians else "-" for c, p in ENGINES]
    size_text = "x".join(str(side) for side in manifest.graph.resolution)
    return [name, size_text, f"{export_seconds:.1f}", f"{size:.0f}", f"{pytorch:.1f}", *cells,
            f"{pytorch / min(medians.values()):.1f}"]  # fmt: skip


def _open(folder: Path, precision: str) -> Engine:
    """Open a verified FP32 engine, for OpenVINO also at BF16: only the time is taken, which no weight changes.

    A BF16 engine would not be built from random weights, whose class maps are too chaotic for its budget.
    """
    manifest = read_manifest(folder)
    assert manifest.engine is not None
    return open_engine(folder, replace(manifest, engine=replace(manifest.engine, precision=precision)))


def _pytorch(name: str, manifest: Manifest) -> Callable[[], object]:
    """PyTorch eager, doing the engine's work."""
    images = np.zeros((1, *manifest.graph.resolution, 3), np.uint8)
    return eager_call(create_model(name, weights="random"), images, manifest.graph, manifest.preprocess)


if __name__ == "__main__":
    main()
