# SPDX-License-Identifier: Apache-2.0
"""``evit-deploy profile``: measure an engine, beside PyTorch where that is installed, and write the report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from evit_deploy.data.resize import resize_image
from evit_deploy.errors import EvitError, UsageError
from evit_deploy.manifest import Manifest, replace_file
from evit_deploy.profiles.environment import environment, load_average
from evit_deploy.profiles.files import write_json
from evit_deploy.profiles.latency import ROUNDS, Latency, Subject, measure_together
from evit_deploy.profiles.memory import measure_footprint
from evit_deploy.profiles.original import eager_call, original_model, work_name
from evit_deploy.profiles.page import render_page, require_page_packages
from evit_deploy.profiles.report import ENGINE_CALL, ENGINE_INFER, ProfileReport
from evit_deploy.profiles.verify import compare_reference
from evit_deploy.progress import Progress, silent
from evit_deploy.runtime import Classifier, SegmentAnything, Segmenter, load
from evit_deploy.runtime.engine import available_cores
from evit_deploy.runtime.preprocess import graph_input
from evit_deploy.runtime.verify import Reference

REPORT, PAGE = "report.json", "report.html"
MINIMUM_RUNS = 100
SLOW_PYTORCH_RUNS = 20
CALL_SIZE = (720, 1280)
PICTURES = 3
NOT_WANTED = "PyTorch was not timed, because it was not asked for."

Outputs = Mapping[str, npt.NDArray[Any]]


def profile_engine(
    folder: Path,
    profiles: Path,
    *,
    runs: int = MINIMUM_RUNS,
    pytorch: bool = True,
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
    average = load_average()
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
        agreement = compare_reference(_recording(task, outputs), task.manifest, reference, progress)
        subjects = _engine_subjects(task, reference, max(runs, MINIMUM_RUNS))
        eager, absent = _pytorch_subject(task.manifest, reference, runs, progress) if pytorch else (None, NOT_WANTED)
        with pytorch_threads(eager is not None), progress("measure", ROUNDS) as step:
            latencies = measure_together([*subjects, *([eager] if eager else [])], step.advance)
    engine = task.manifest.engine
    assert engine is not None
    report = ProfileReport(
        engine=folder.resolve().name,
        manifest=task.manifest,
        agreement=agreement,
        latencies=latencies,
        peak_memory_mb=footprint.peak_memory_mb,
        load_seconds=footprint.load_seconds,
        engine_mb=sum(path.stat().st_size for path in folder.iterdir() if path.is_file()) / 1e6,
        environment=environment(engine.backend) | load_entry(average),
        notes=_notes(latencies, absent, average),
    )
    place = profiles / report.engine
    write_json(place / REPORT, report.to_json())
    replace_file(place / PAGE, render_page(report, reference, outputs).encode())
    return report, place / PAGE


def _recording(task: Segmenter | Classifier, outputs: list[Outputs]) -> Any:
    """The engine's `infer`, which also keeps the first outputs, for the pictures."""

    def infer(inputs: Outputs) -> Outputs:
        found = task.infer(inputs)
        size = len(next(iter(found.values())))
        outputs.extend({name: array[item].copy() for name, array in found.items()} for item in range(size))
        del outputs[PICTURES:]
        return found

    return infer


def _engine_subjects(task: Segmenter | Classifier, reference: Reference, runs: int) -> list[Subject]:
    """The raw graph, and the way from a frame to its result."""
    graph = task.manifest.graph
    images = _batch(task.manifest, reference)
    inputs = {graph.inputs[0].name: graph_input(images, graph, task.manifest.preprocess)}
    subjects = [Subject(ENGINE_INFER, lambda: task.infer(inputs), runs, frames=len(images))]
    if len(images) == 1:
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


def absence(error: EvitError) -> str:
    """Why PyTorch was not timed, in words."""
    parts = [error.what, error.found and f"found {error.found}", error.expected and f"expected {error.expected}"]
    return f"PyTorch was not timed: {'; '.join(filter(None, parts))}."


def load_entry(before: float | None) -> dict[str, str]:
    """The load average before and after a measurement, as an entry of its environment."""
    after = load_average()
    if before is None or after is None:
        return {}
    return {"load average": f"{before:.2f} before, {after:.2f} after"}


def _notes(latencies: tuple[Latency, ...], absent: str | None, average: float | None) -> tuple[str, ...]:
    notes = [*([absent] if absent else []), *busy(average)]
    if latencies[-1].runs < MINIMUM_RUNS:
        notes.append(f"PyTorch takes more than half a second a run, so it was timed {latencies[-1].runs} times only.")
    return tuple(notes)


def busy(average: float | None) -> list[str]:
    """What a reader must know where other processes ran as well: load average before the measurement, if known."""
    if average is None or average <= 0.5 * available_cores():
        return []
    return [
        f"The machine was busy: a load average of {average:.1f} on {available_cores()} cores before the "
        "measurement. Ratios within this run hold; absolute times are slower than on an idle machine."
    ]
