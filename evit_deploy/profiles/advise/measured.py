# SPDX-License-Identifier: Apache-2.0
"""What profiles/ knows already of a machine: latencies and accuracies of engines that were built for it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from evit_deploy.errors import EvitError
from evit_deploy.manifest import Manifest
from evit_deploy.profiles.advise.choice import Candidate, Choice, Timing
from evit_deploy.profiles.compare.conditions import main_manifest
from evit_deploy.profiles.predict.prediction import Conditions
from evit_deploy.profiles.reading import Evaluated, Recorded, Report, read_record, recorded_folders
from evit_deploy.profiles.report import ProfileReport
from evit_deploy.targets.machine import cpu_name

_METRIC_NAMES = {
    "Cityscapes mIoU": ("cityscapes", "mIoU"),
    "ADE20K mIoU": ("ade20k", "mIoU"),
    "ImageNet top-1": ("imagenet", "top-1"),
}
"""The kind of data set and the name of the metric in an evaluation. COCO mAP depends on whose boxes are the prompts."""

_OUTPUTS = {"seg": "classes", "cls": "logits", "sam": "embedding"}
"""What `export` makes a model of a task give, if nothing else is asked for."""


@dataclass(frozen=True)
class Known:
    """What was measured on a machine.

    Attributes:
        choices: Engines with a latency, newest profile of each.
        notes: Profiles that were left out, and why.
    """

    choices: tuple[Choice, ...]
    notes: tuple[str, ...]


def measured_choices(profiles: Path, target: str, machine: Conditions | None, wanted: Sequence[Candidate]) -> Known:
    """Find the profiles of engines for a machine, one frame at a time.

    Args:
        profiles: Folder of all profiles.
        target: Name of the target.
        machine: What it is assumed to be; None for the CPU at hand.
        wanted: What to look for.
    """
    found: dict[tuple[str, tuple[int, int], str], tuple[str, Choice]] = {}
    by_model = {(item.model, item.resolution): item for item in wanted}
    notes: list[str] = []
    for record, report, manifest in _reports(profiles, notes):
        candidate = by_model.get((manifest.model.name, manifest.graph.resolution))
        if candidate is None or not _is_engine_for(target, manifest):
            continue
        if other := _other_machine(report.environment, machine) or _other_graph(manifest):
            notes.append(f"the profile {record.folder.name} was left out: {other}")
            continue
        choice = _choice(record, report, manifest, candidate)
        key, date = (choice.model, choice.resolution, choice.precision), report.environment.get("date", "")
        if key not in found or found[key][0] <= date:
            found[key] = (date, choice)
    return Known(tuple(choice for _, choice in found.values()), tuple(notes))


def _reports(profiles: Path, notes: list[str]) -> Iterator[tuple[Recorded, Report, Manifest]]:
    """All profiles that were measured; one that cannot be read becomes a note."""
    for folder in recorded_folders(profiles):
        try:
            record = read_record(folder)
        except EvitError as error:
            notes.append(f"the profile {folder.name} was left out: {error.what}")
            continue
        if record.report is not None:
            yield record, record.report, main_manifest(record.report)


def _is_engine_for(target: str, manifest: Manifest) -> bool:
    engine = manifest.engine
    return engine is not None and engine.target == target and manifest.graph.batch[0] == 1


def _other_machine(environment: dict[str, str], machine: Conditions | None) -> str | None:
    """How the machine of a profile differs from the one asked about, in words; None where it does not."""
    if machine is None:
        processor = environment.get("processor", "an unknown processor")
        return None if processor == cpu_name() else f"it is of {processor}"
    mode, units = environment.get("power mode"), environment.get("multiprocessors")
    if mode is None and machine.mode is not None:
        return "it does not tell its power mode"
    if mode is not None and machine.mode is not None and mode.upper().removeprefix("MODE_") != machine.mode.upper():
        return f"it is of the power mode {mode}, not {machine.mode}"
    if units is not None and units != str(machine.multiprocessors):
        return f"it is of {units} multiprocessors, not {machine.multiprocessors}"
    return None


def _other_graph(manifest: Manifest) -> str | None:
    """How an engine's ends differ from those that models are weighed with, in words; None where they do not."""
    graph, output = manifest.graph, _OUTPUTS[manifest.model.task]
    if (graph.input, graph.output) == ("image", output):
        return None
    return f"it goes from {graph.input} to {graph.output}, not from image to {output}"


def _choice(record: Recorded, report: Report, manifest: Manifest, candidate: Candidate) -> Choice:
    assert manifest.engine is not None
    accuracy = _accuracy(record.evaluations, manifest, candidate.metric)
    return Choice(
        model=candidate.model,
        resolution=candidate.resolution,
        metric=candidate.metric,
        accuracy=candidate.accuracy if accuracy is None else accuracy,
        precision=manifest.engine.precision,
        timing=_timing(report, record.folder.name),
        accuracy_source="published" if accuracy is None else record.folder.name,
    )


def _timing(report: Report, source: str) -> Timing:
    """Of the graph; of Segment Anything, of the image encoder and of the decoder for one prompt."""
    parts = [report.engine_infer] if isinstance(report, ProfileReport) else [work.engine for work in report.works[:2]]
    low, middle, high = (sum(part.percentile(share) for part in parts) for share in (1, 50, 99))
    return Timing(middle, low, high, source)


def _accuracy(evaluations: Iterable[Evaluated], manifest: Manifest, metric: str) -> float | None:
    """In percent, of the official weights on all images of the split; None where that was not measured."""
    kind, name = _METRIC_NAMES.get(metric, (None, ""))
    for item in (item.evaluation for item in evaluations):
        whole = item.images == item.dataset.images
        if item.dataset.kind == kind and whole and manifest.weights.source == "official" and name in item.score.metrics:
            value = 100 * item.score.metrics[name]
            return value if np.isfinite(value) else None
    return None
