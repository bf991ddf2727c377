# SPDX-License-Identifier: Apache-2.0
"""Measure Segment Anything on this machine beside PyTorch, in one run: the numbers of docs/performance.md.

``python tools/measure_sam.py [MODEL] [--weights WHAT] [--photo FILE] [--out DIR]`` exports a model, builds its CPU
engines, and times them and PyTorch eager on the same photo with the same weights: the image encoder, the mask decoder
for 1 and 64 prompts, the way from a frame to its masks, and "segment everything" on a grid of 32×32 points (PyTorch's
side: sam_baseline.py). All that is compared runs in alternating blocks. Then the peak memory of each, in processes of
their own. Writes ``MODEL.json`` and ``MODEL.md``, and prints the tables.

Random weights answer with textures, which no real picture has and no engine likes. Weights whose masks are regions:

    python -c "from tests.sam import *; save_checkpoint(structured_model(), 'structured.pt')"
    python tools/measure_sam.py l0-sam --weights structured.pt
"""

from __future__ import annotations

import argparse
import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import contextlib
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import sam_baseline
import torch
from sam_memory import EVERYTHING, MANY, PYTORCH, peak_mb

from evit_deploy.cli.bars import Bars
from evit_deploy.data.images import installed_photos, read_image
from evit_deploy.data.masks import PromptFrame
from evit_deploy.engines.bundle import build_bundle
from evit_deploy.errors import CheckFailedError
from evit_deploy.export import ExportOptions, export_model
from evit_deploy.manifest import DECODER, ENCODER, read_bundle
from evit_deploy.models.sam import SegmentAnything as TorchModel
from evit_deploy.profiles.environment import environment, load_average
from evit_deploy.profiles.files import write_json
from evit_deploy.profiles.latency import Latency, Subject, measure_together
from evit_deploy.profiles.original import original_model
from evit_deploy.profiles.sam.original import Original
from evit_deploy.runtime import SegmentAnything, load
from evit_deploy.runtime.engine import available_cores, open_engine
from evit_deploy.runtime.preprocess import fit_frame, fitted_size, graph_inputs
from evit_deploy.runtime.sam import EverythingOptions

ENGINES = {
    "ONNX Runtime FP32": ("onnxruntime", "fp32"),
    "OpenVINO FP32": ("openvino", "fp32"),
    "OpenVINO BF16": ("openvino", "bf16"),
}
PROMPTS = (1, MANY)
RUNS, SLOW_RUNS = 40, 5
PASSING_IOU, PASSING_STABILITY = 0.6, 0.5

Call = Callable[[], object]


@dataclass(frozen=True)
class Row:
    """One subject in one piece of work: median and quartiles in ms, and PyTorch's median over its own."""

    work: str
    subject: str
    p50: float
    p25: float
    p75: float
    runs: int
    ratio: float


@dataclass
class Bench:
    """What all measurements share: the model, the engines by name, the photo, and where the engines lie."""

    original: Original
    engines: dict[str, SegmentAnything]
    photo: Any
    folders: dict[str, Path]
    weights: str

    def subjects(self, torch_call: Call, engine_call: Callable[[SegmentAnything], Call]) -> dict[str, Call]:
        """One call for PyTorch and one for each engine."""
        return {PYTORCH: torch_call} | {name: engine_call(sam) for name, sam in self.engines.items()}


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default="l0-sam")
    parser.add_argument("--weights", default="random")
    parser.add_argument("--photo", type=Path, default=None, help="default: one that an installed package ships")
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument("--rounds", type=int, default=2, help="of everything-mode; 0 leaves it out")
    parser.add_argument("--workspace", type=Path, help="keeps the export and the engines; default: a temporary folder")
    parser.add_argument("--out", type=Path, default=Path("profiles/reference"))
    options = parser.parse_args()
    options.photo = options.photo or installed_photos()[0]
    torch.set_num_threads(available_cores())
    with contextlib.ExitStack() as stack:
        workspace = options.workspace or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        average = load_average()
        bench = _prepare(options, workspace, stack)
        rows = [
            row for work in (*_encoder(bench), *_decoders(bench), *_frame(bench)) for row in _timed(*work, options.runs)
        ]
        settings = _settings(next(iter(bench.engines.values())), bench.photo) if options.rounds else None
        times, found = _everything(bench, settings, options.rounds) if settings else ([], {})
        for sam in bench.engines.values():
            sam.close()
        record = {
            "model": options.model,
            "weights": bench.weights,
            "photo": bench.photo.shape[:2],
            "environment": environment("openvino") | {"load average before": f"{average:.2f}" if average else ""},
            "rows": [asdict(row) for row in (*rows, *times)],
            "everything": asdict(settings) if settings else None,
            "masks": found,
            "memory": _memory(bench, options.photo, settings),
        }
        _write(options, record, [*rows, *times])


def _prepare(options: argparse.Namespace, workspace: Path, stack: contextlib.ExitStack) -> Bench:
    """Export, build, and load all of it."""
    export = workspace / "export" / options.model
    export_model(options.model, export, ExportOptions(weights=options.weights), Bars())
    folders: dict[str, Path] = {}
    engines: dict[str, SegmentAnything] = {}
    for name, (compiler, precision) in ENGINES.items():
        folder = workspace / "engines" / f"{options.model}.cpu.{precision}.{compiler}"
        try:
            build_bundle(export, folder, target="cpu", precision=precision, compiler=compiler, progress=Bars())
            sam = load(folder)
        except CheckFailedError as error:
            print(f"{name} is timed, but {error}", file=sys.stderr)
            sam = _unproven(folders["OpenVINO FP32"], precision)
        else:
            folders[name] = folder
        assert isinstance(sam, SegmentAnything)
        engines[name] = stack.enter_context(sam)
    bundle, parts = read_bundle(export)
    model = original_model(parts[ENCODER]).requires_grad_(False)
    assert isinstance(model, TorchModel)
    weights = f"{bundle.weights.source}, SHA-256 {bundle.weights.sha256[:16]}…"
    return Bench(Original(model, parts[ENCODER]), engines, read_image(options.photo), folders, weights)


def _unproven(folder: Path, precision: str) -> SegmentAnything:
    """An engine whose encoder runs at another precision than it was proven at: only its times are taken."""
    bundle, parts = read_bundle(folder)
    info = parts[ENCODER].engine
    assert info is not None
    other = replace(parts[ENCODER], engine=replace(info, precision=precision))
    encoder = open_engine(folder / ENCODER, other)
    return SegmentAnything(folder, bundle, encoder, [open_engine(folder / DECODER, parts[DECODER])])


def _encoder(bench: Bench) -> Iterator[tuple[str, dict[str, Call]]]:
    """The graphs alone, on a picture in memory."""
    image = bench.original.image(bench.photo)
    yield "encoder", bench.subjects(partial(bench.original.encode, image), partial(_encoding, bench.photo))


def _encoding(photo: Any, sam: SegmentAnything) -> Call:
    manifest = sam.encoder.manifest
    side = manifest.graph.resolution[0]
    canvas = np.ascontiguousarray(fit_frame(photo, manifest.preprocess, side, side))[None]
    sizes = np.array([fitted_size(photo.shape, side)], np.int32)
    return partial(sam.encoder.infer, graph_inputs(canvas, sizes, manifest.graph, manifest.preprocess))


def _decoders(bench: Bench) -> Iterator[tuple[str, dict[str, Call]]]:
    """One point per prompt on an embedding that is there; three low-resolution masks each."""
    size = PromptFrame(*bench.photo.shape[:2])
    embedding = bench.original.encode(bench.original.image(bench.photo))
    for count in PROMPTS:
        points = np.random.default_rng(0).uniform(0, (size.width, size.height), (count, 1, 2))
        labels = np.ones((count, 1), np.int32)
        theirs = partial(bench.original.decode, embedding, size.to_frame(points), labels)
        ours = partial(_decoding, bench.photo, points, labels)
        yield f"decoder, {count} prompt{'s' * (count > 1)}", bench.subjects(theirs, ours)


def _decoding(photo: Any, points: Any, labels: Any, sam: SegmentAnything) -> Call:
    embedding = sam.embed(photo)
    return lambda: [batch.iou for batch in sam.decode(embedding, points, labels)]


def _frame(bench: Bench) -> Iterator[tuple[str, dict[str, Call]]]:
    """A photo in, three masks of its size out."""
    height, width = bench.photo.shape[:2]
    points = np.array([[[width / 2, height / 2]]])
    yield (
        "frame to masks, 1 prompt",
        bench.subjects(partial(bench.original.segment, bench.photo, points), partial(_segmenting, bench.photo, points)),
    )


def _segmenting(photo: Any, points: Any, sam: SegmentAnything) -> Call:
    return lambda: (sam.set_image(photo), sam.predict(points).masks)


def _timed(work: str, calls: dict[str, Call], runs: int) -> list[Row]:
    with Bars()(work, 20) as step:
        subjects = [Subject(name, call, runs, SLOW_RUNS) for name, call in calls.items()]
        latencies = measure_together(subjects, step.advance, warm_up_calls=2)
    return _rows(work, latencies)


def _rows(work: str, latencies: Sequence[Latency]) -> list[Row]:
    theirs = latencies[0].p50
    return [
        Row(work, item.name, item.p50, item.percentile(25), item.percentile(75), item.runs, theirs / item.p50)
        for item in latencies
    ]


def _settings(sam: SegmentAnything, photo: Any) -> EverythingOptions:
    """The original's, with thresholds that these weights' scores pass about as often as those of trained ones do."""
    height, width = photo.shape[:2]
    grid = np.stack(np.meshgrid((np.arange(8) + 0.5) * width / 8, (np.arange(8) + 0.5) * height / 8), -1)
    answers = [
        (batch.masks.reshape(-1, 256, 256).copy(), batch.iou.ravel())
        for batch in sam.decode(sam.embed(photo), grid.reshape(-1, 1, 2), np.ones((64, 1), np.int32))
    ]
    logits, iou = (np.concatenate(part) for part in zip(*answers, strict=True))
    with np.errstate(invalid="ignore", divide="ignore"):
        stability = (logits > 1).sum((1, 2)) / (logits > -1).sum((1, 2))
    return EverythingOptions(
        pred_iou_thresh=max(round(float(np.quantile(iou, PASSING_IOU)), 3), 0.0),
        stability_score_thresh=round(float(np.nanquantile(stability, PASSING_STABILITY)), 3),
    )


def _everything(bench: Bench, settings: EverythingOptions, rounds: int) -> tuple[list[Row], dict[str, int]]:
    """Alternating rounds, the order turned around each time; nothing is warmed up: a run takes minutes.

    Returns:
        Times, and how many masks each found.
    """
    calls: dict[str, Callable[[], Any]] = bench.subjects(
        partial(sam_baseline.segment_everything, bench.original.model, bench.photo, settings),
        lambda sam: partial(sam.everything, bench.photo, settings),
    )
    times: dict[str, list[float]] = {name: [] for name in calls}
    found: dict[str, int] = {}
    for number in range(rounds):
        for name in list(calls)[:: -1 if number % 2 else 1]:
            with Bars()(f"everything, {name}, round {number + 1}"):
                start = time.perf_counter()
                result = calls[name]()
                times[name].append((time.perf_counter() - start) * 1000)
            found[name] = len(result.masks if name == PYTORCH else result)
    latencies = [Latency(name, tuple(values)) for name, values in times.items()]
    return _rows(f"{EVERYTHING}, 32×32 points", latencies), found


def _memory(bench: Bench, photo: Path, settings: EverythingOptions | None) -> list[dict[str, Any]]:
    """Peak memory of each subject and each piece of work, in processes of their own."""
    works = ("1 prompt", f"{MANY} prompts", *((EVERYTHING,) if settings else ()))
    rows = []
    for name, folder in ({PYTORCH: next(iter(bench.folders.values()))} | bench.folders).items():
        with Bars()(f"memory, {name}", len(works)):
            rows.append({"subject": name, **{work: peak_mb(name, work, folder, photo, settings) for work in works}})
    return rows


def _write(options: argparse.Namespace, record: dict[str, Any], rows: list[Row]) -> None:
    """The record as JSON, and as tables for people."""
    subjects = list(dict.fromkeys(row.subject for row in rows))
    lines = [f"# {options.model}, measured by tools/measure_sam.py", ""]
    lines += [f"* {name}: {value}" for name, value in record["environment"].items()]
    lines += [f"* photo: {options.photo.name}, {record['photo'][1]}×{record['photo'][0]}; weights: {record['weights']}"]
    if record["everything"]:
        lines += [f"* everything: {record['everything']}", f"* masks found: {record['masks']}"]
    lines += ["", "Milliseconds, median of alternating rounds; in brackets PyTorch's over it.", ""]
    lines += [f"| work | {' | '.join(subjects)} |", f"|{'---|' * (len(subjects) + 1)}"]
    for work in dict.fromkeys(row.work for row in rows):
        cells = {row.subject: f"{row.p50:,.1f} ({row.ratio:.2f})" for row in rows if row.work == work}
        lines.append(f"| {work} | {' | '.join(cells.get(name, '-') for name in subjects)} |")
    works = [name for name in record["memory"][0] if name != "subject"]
    lines += ["", "Peak memory of a process that loads the model and does one piece of work, MB.", ""]
    lines += [f"| | {' | '.join(works)} |", f"|{'---|' * (len(works) + 1)}"]
    lines += [f"| {row['subject']} | {' | '.join(f'{row[name]:,.0f}' for name in works)} |" for row in record["memory"]]
    text = "\n".join(lines) + "\n"
    options.out.mkdir(parents=True, exist_ok=True)
    write_json(options.out / f"{options.model}.json", record)
    (options.out / f"{options.model}.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
