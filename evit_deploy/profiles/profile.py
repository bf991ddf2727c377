# SPDX-License-Identifier: Apache-2.0
"""``evit-deploy profile``: measure an engine, beside PyTorch where that is installed, and write the report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from evit_deploy.data.resize import resize_image
from evit_deploy.errors import EvitError, UsageError
from evit_deploy.manifest import Agreement, Manifest
from evit_deploy.profiles.environment import environment, load_average
from evit_deploy.profiles.expected import expected
from evit_deploy.profiles.files import write_json
from evit_deploy.profiles.gpu_state import gpu_reader
from evit_deploy.profiles.insight import EVERYTHING, Wanted, drawn_power, inspect_graph
from evit_deploy.profiles.latency import ROUNDS, Latency, Subject, measure_together
from evit_deploy.profiles.memory import Footprint, measure_footprint
from evit_deploy.profiles.original import eager_call, original_model, work_name
from evit_deploy.profiles.pages import frame_pictures, require_page_packages, write_page, write_pictures
from evit_deploy.profiles.place import require_writable
from evit_deploy.profiles.reading import REPORT
from evit_deploy.profiles.remarks import NOT_WANTED, Notes, absence, busy, drifting, load_entry
from evit_deploy.profiles.report import ENGINE_CALL, ENGINE_INFER, ProfileReport
from evit_deploy.profiles.sensors import Watch
from evit_deploy.profiles.verify import compare_reference
from evit_deploy.progress import Progress, silent
from evit_deploy.runtime import Classifier, SegmentAnything, Segmenter, load
from evit_deploy.runtime.engine import available_cores
from evit_deploy.runtime.preprocess import graph_input
from evit_deploy.runtime.verify import Reference

MINIMUM_RUNS = 100
SLOW_PYTORCH_RUNS = 20
CALL_SIZE = (720, 1280)

Outputs = Mapping[str, npt.NDArray[Any]]


def profile_engine(
    folder: Path,
    profiles: Path,
    *,
    runs: int = MINIMUM_RUNS,
    pytorch: bool = True,
    wanted: Wanted = EVERYTHING,
    progress: Progress = silent,
    trusted_keys: str | Path | None = None,
) -> tuple[ProfileReport, Path]:
    """Verify and measure an engine; write ``<engine's name>/report.json`` and ``report.html`` into `profiles`.

    Without PyTorch, or without the engine's own weights, PyTorch is left out and the report says why.

    Args:
        folder: Folder of a compiled engine.
        profiles: Folder of all profiles.
        runs: Timed runs; 100 at least are made.
        pytorch: Also time PyTorch. Where one of its runs takes more than half a second, 20 are enough.
        wanted: What to measure besides: layers, power.
        progress: Told about every step.
        trusted_keys: Keys one of which must have signed the engine, as for `evit_deploy.load`.

    Returns:
        The report, and the path of the page. A disagreement with PyTorch is in the report; it is not an error here.

    Raises:
        UsageError: Not an engine, or the place cannot be written.
        ArtifactError: The engine is damaged.
        UnavailableError: The engine cannot run here, or a package for the page is missing.
    """
    require_page_packages()
    require_writable(profiles, folder)
    with progress("load the engine"):
        task = load(folder, trusted_keys=trusted_keys)
    if isinstance(task, SegmentAnything):
        task.close()
        raise UsageError(
            f"{folder} is an engine of several parts", fix=f"evit-deploy profile {folder}, or profile_parts"
        )
    with task:
        reference = Reference.load(folder)
        with progress("memory, in a fresh process"):
            footprint = measure_footprint(folder, trusted_keys)
        outputs: list[Outputs] = []
        infer = _recording(task, outputs, len(reference.names))
        agreement = compare_reference(infer, task.manifest, reference, progress)
        timed = _time(task, reference, runs, pytorch, progress)
        report = _look(task, timed, footprint, agreement, wanted, progress)
    place = profiles / report.engine
    write_json(place / REPORT, report.to_json())
    write_pictures(place, frame_pictures(report.manifest, reference, outputs))
    return report, write_page(place)


@dataclass(frozen=True)
class _Timed:
    """Latencies, a run of the raw graph and what it takes, the surroundings meanwhile, and what is to be said."""

    latencies: tuple[Latency, ...]
    raw: Subject
    inputs: Outputs
    surroundings: dict[str, str]
    notes: Notes


def _time(task: Segmenter | Classifier, reference: Reference, runs: int, pytorch: bool, progress: Progress) -> _Timed:
    """Time the engine and PyTorch in one run."""
    average = load_average()
    inputs = _inputs(task.manifest, reference)
    subjects = _engine_subjects(task, inputs, reference, max(runs, MINIMUM_RUNS))
    eager, absent = _pytorch_subject(task.manifest, reference, runs, progress) if pytorch else (None, NOT_WANTED)
    with gpu_reader(wanted=task.engine.on_gpu) as gpu, pytorch_threads(eager is not None):
        watch = Watch(gpu=gpu)
        with progress("measure", ROUNDS) as step:
            latencies = measure_together([*subjects, *([eager] if eager else [])], watch.beside(step.advance))
    surroundings = watch.entries() | load_entry(average)
    return _Timed(latencies, subjects[0], inputs, surroundings, Notes(_notes(latencies, absent, average)))


def _look(
    task: Segmenter | Classifier,
    timed: _Timed,
    footprint: Footprint,
    agreement: Agreement,
    wanted: Wanted,
    progress: Progress,
) -> ProfileReport:
    """Measure what latency does not tell, and put everything together."""
    engine, raw, notes = task.engine, timed.raw, timed.notes
    insight = inspect_graph(
        engine, timed.inputs, frames=raw.frames, runs=raw.runs, wanted=wanted, notes=notes, progress=progress
    )
    power = drawn_power(raw, gpu=engine.on_gpu, notes=notes, progress=progress) if wanted.power else None
    predictions = expected(engine.folder, task.manifest, notes=notes, progress=progress)
    assert task.manifest.engine is not None
    return ProfileReport(
        engine=engine.folder.resolve().name,
        manifest=task.manifest,
        agreement=agreement,
        latencies=timed.latencies,
        peak_memory_mb=footprint.peak_memory_mb,
        load_seconds=footprint.load_seconds,
        engine_mb=sum(path.stat().st_size for path in engine.folder.iterdir() if path.is_file()) / 1e6,
        environment=environment(task.manifest.engine.backend) | timed.surroundings,
        notes=tuple(notes.texts),
        first_call_ms=footprint.first_call_ms,
        frames_per_second=insight.frames_per_second,
        wrapper_ms=insight.wrapper_ms,
        modes=insight.modes,
        device_memory=insight.device_memory,
        layer_times=insight.layer_times,
        power=power,
        prediction=predictions[0] if predictions else None,
    )


def _recording(task: Segmenter | Classifier, outputs: list[Outputs], count: int) -> Any:
    """The engine's `infer`, which also keeps the outputs of the first `count` frames, for the pictures."""

    def infer(inputs: Outputs) -> Outputs:
        found = task.infer(inputs)
        size = len(next(iter(found.values())))
        outputs.extend({name: array[item].copy() for name, array in found.items()} for item in range(size))
        del outputs[count:]
        return found

    return infer


def _inputs(manifest: Manifest, reference: Reference) -> dict[str, npt.NDArray[Any]]:
    """What the raw graph takes: the smallest batch of the first reference frame."""
    graph = manifest.graph
    return {graph.inputs[0].name: graph_input(_batch(manifest, reference), graph, manifest.preprocess)}


def _engine_subjects(task: Segmenter | Classifier, inputs: Outputs, reference: Reference, runs: int) -> list[Subject]:
    """The raw graph, and the way from a frame to its result."""
    frames = task.manifest.graph.batch[0]
    subjects = [Subject(ENGINE_INFER, lambda: task.infer(inputs), runs, frames=frames)]
    if frames == 1:
        frame = resize_image(reference.images[0], *CALL_SIZE, "opencv-cubic")
        subjects.append(Subject(ENGINE_CALL, lambda: task(frame), runs))
    return subjects


def _pytorch_subject(
    manifest: Manifest, reference: Reference, runs: int, progress: Progress
) -> tuple[Subject | None, str | None]:
    """PyTorch doing the same work, or None and the reason."""
    try:
        with progress("PyTorch's weights"):
            model = original_model(manifest)
    except EvitError as error:
        return None, absence(error)
    images = _batch(manifest, reference)
    call = eager_call(model, images, manifest.graph, manifest.preprocess)
    name = work_name(manifest.graph)
    return Subject(name, call, max(runs, MINIMUM_RUNS), SLOW_PYTORCH_RUNS, frames=len(images)), None


def _batch(manifest: Manifest, reference: Reference) -> npt.NDArray[np.uint8]:
    """The smallest batch the graph takes, of the first reference frame."""
    return np.repeat(reference.images[:1], manifest.graph.batch[0], axis=0)


@contextmanager
def pytorch_threads(wanted: bool) -> Iterator[None]:
    """Give PyTorch as many threads as the engine has."""
    if not wanted:
        yield
        return
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(available_cores())
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _notes(latencies: tuple[Latency, ...], absent: str | None, average: float | None) -> list[str]:
    notes = [*([absent] if absent else []), *busy(average), *drifting(latencies)]
    if latencies[-1].runs < MINIMUM_RUNS:
        notes.append(f"PyTorch takes more than half a second a run, so it was timed {latencies[-1].runs} times only.")
    return notes
