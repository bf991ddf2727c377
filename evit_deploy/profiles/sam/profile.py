# SPDX-License-Identifier: Apache-2.0
"""``evit-deploy profile`` of a segment-anything engine: the encoder, the decoder, and from a frame to its masks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from evit_deploy.data.resize import resize_image
from evit_deploy.engines.bundle import smallest_decoder
from evit_deploy.errors import EvitError, UsageError
from evit_deploy.manifest import ENCODER, ITSELF
from evit_deploy.profiles.environment import environment, load_average
from evit_deploy.profiles.expected import expected
from evit_deploy.profiles.files import write_json
from evit_deploy.profiles.gpu_state import gpu_reader
from evit_deploy.profiles.insight import EVERYTHING, Insight, Wanted, drawn_power, inspect_graph
from evit_deploy.profiles.latency import ROUNDS, Subject, measure_together
from evit_deploy.profiles.memory import measure_footprint
from evit_deploy.profiles.original import original_model
from evit_deploy.profiles.pages import Pictures, require_page_packages, write_page, write_pictures
from evit_deploy.profiles.place import require_writable
from evit_deploy.profiles.power.record import PowerRecord
from evit_deploy.profiles.profile import CALL_SIZE, MINIMUM_RUNS, pytorch_threads
from evit_deploy.profiles.reading import REPORT
from evit_deploy.profiles.remarks import NOT_WANTED, Notes, absence, busy, drifting, load_entry
from evit_deploy.profiles.sam.pictures import mask_rows
from evit_deploy.profiles.sam.report import PartsReport, Work
from evit_deploy.profiles.sam.verify import Opened, Verdict, compare_part, compare_whole, read_engine
from evit_deploy.profiles.sensors import Watch
from evit_deploy.progress import Progress, named, silent
from evit_deploy.runtime import Engine, load
from evit_deploy.runtime.reference import Reference
from evit_deploy.runtime.sam import SegmentAnything
from evit_deploy.runtime.sam.reference import PromptReference
from evit_deploy.runtime.sam.verify import prompt_inputs
from evit_deploy.runtime.verify import reference_inputs

PROMPTS = (1, 8, 64)
SLOW_RUNS, SLOW_PYTORCH_RUNS = 20, 5
WARM_UP_CALLS = 3

UInt8 = npt.NDArray[np.uint8]
Call = Callable[[], object]


def profile_parts(
    folder: Path,
    profiles: Path,
    *,
    runs: int = MINIMUM_RUNS,
    pytorch: bool = True,
    wanted: Wanted = EVERYTHING,
    progress: Progress = silent,
    trusted_keys: str | Path | None = None,
) -> tuple[PartsReport, Path]:
    """Verify and measure an engine of several parts; see `evit_deploy.profiles.profile_engine`.

    Args:
        folder: Folder of a compiled engine.
        profiles: Folder of all profiles; ``<engine's name>/report.json`` and ``report.html`` are written there.
        runs: Timed runs; 100 at least are made, and 20 where one takes more than half a second.
        pytorch: Also time PyTorch. Where one of its runs takes more than half a second, 5 are made.
        wanted: What to measure besides: layers, power.
        progress: Told about every step.
        trusted_keys: Keys one of which must have signed the engine, as for `evit_deploy.load`.

    Returns:
        The report, and the path of the page. A disagreement with PyTorch is in the report; it is not an error here.

    Raises:
        UsageError: Not an engine of several parts, or the place cannot be written.
        ArtifactError: The engine is damaged.
        UnavailableError: The engine cannot run here, or a package for the page is missing.
    """
    require_page_packages()
    require_writable(profiles, folder)
    average = load_average()
    with progress("load the engine"):
        bundle, manifests = read_engine(folder, trusted_keys)
        sam = load(folder, trusted_keys=trusted_keys)
    if not isinstance(sam, SegmentAnything):
        raise UsageError(f"{folder} answers no prompts", found=bundle.model.task, expected="segment anything")
    with sam:
        with progress("memory, in a fresh process"):
            footprint = measure_footprint(folder, trusted_keys)
        parts = _opened(sam)
        encoder, decoder = parts[ENCODER], parts[smallest_decoder(manifests)]
        agreements = {name: compare_part(part, named(progress, name)) for name, part in parts.items()}
        verdict = Verdict(bundle, manifests, agreements, compare_whole(encoder, decoder, progress))
        rows = mask_rows(encoder, decoder)
        original, absent = _original(encoder, progress) if pytorch else (None, NOT_WANTED)
        with gpu_reader(wanted=sam.encoder.on_gpu) as gpu, pytorch_threads(original is not None):
            watch = Watch(gpu=gpu)
            works = tuple(_measured(_works(sam, encoder, original), max(runs, MINIMUM_RUNS), watch, progress))
        surroundings = watch.entries() | load_entry(average)
        notes = Notes(_notes(works, absent, average))
        insights = _insights(sam, (encoder, decoder), works, wanted, notes, progress)
        power = _power(sam, encoder, notes, progress) if wanted.power else None
        predictions = expected(folder, encoder.manifest, notes=notes, progress=progress)
    report = PartsReport(
        engine=folder.resolve().name,
        verdict=verdict,
        works=works,
        peak_memory_mb=footprint.peak_memory_mb,
        many_peak_memory_mb=footprint.many_peak_memory_mb or footprint.peak_memory_mb,
        load_seconds=footprint.load_seconds,
        engine_mb=sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6,
        environment=environment(encoder.manifest.engine.backend) | surroundings,  # type: ignore[union-attr]
        notes=tuple(notes.texts),
        first_call_ms=footprint.first_call_ms,
        insights=insights,
        power=power,
        predictions=predictions,
    )
    place = profiles / report.engine
    write_json(place / REPORT, report.to_json())
    write_pictures(place, Pictures(tuple(rows)))
    return report, write_page(place)


def _engines(sam: SegmentAnything) -> dict[str, Engine]:
    """The engines of the parts, by name."""
    return {engine.folder.name: engine for engine in (sam.encoder, *sam.decoders)}


def _opened(sam: SegmentAnything) -> dict[str, Opened]:
    """The parts by name, in the order of the bundle."""
    engines = _engines(sam)
    return {
        name: Opened(sam.folder / name, engines[name].manifest, engines[name].infer, ITSELF)
        for name in sam.bundle.parts
    }


def _original(encoder: Opened, progress: Progress) -> tuple[Any, str | None]:
    """PyTorch's side of every comparison, or None and the reason."""
    try:
        with progress("PyTorch's weights"):
            model = original_model(encoder.manifest)
    except EvitError as error:
        return None, absence(error)
    from evit_deploy.models.sam import SegmentAnything as TorchModel
    from evit_deploy.profiles.sam.original import Original

    assert isinstance(model, TorchModel)
    return Original(model, encoder.manifest), None


def _works(sam: SegmentAnything, encoder: Opened, original: Any) -> Iterator[tuple[str, int, Call, Call | None]]:
    """Name, pictures or prompts per call, the engine's call and PyTorch's."""
    pictures, manifest = Reference.load(encoder.folder), encoder.manifest
    inputs = reference_inputs(pictures, manifest, [0] * manifest.graph.batch[0])
    frame = _frame(pictures)
    image = None if original is None else original.image(frame)
    batch = manifest.graph.batch[0]
    theirs = None if original is None or batch > 1 else lambda: original.encode(image)
    yield "encoder", batch, lambda: sam.encoder.infer(inputs), theirs
    embedding = sam.set_image(frame)
    own = None if original is None else original.encode(image)
    for count in PROMPTS:
        yield f"decoder, {count} prompt{'s' * (count > 1)}", count, *_decoding(sam, embedding, original, own, count)
    points = _points(frame, 1)
    theirs = None if original is None else lambda: original.segment(frame, points)
    yield "frame to masks", 1, lambda: (sam.set_image(frame), sam.predict(points).masks), theirs


def _decoding(sam: SegmentAnything, embedding: Any, original: Any, own: Any, count: int) -> tuple[Call, Call | None]:
    """Calls that answer one point per prompt, on an embedding that is there."""
    points, labels = _points(embedding.frame, count), np.ones((count, 1), np.int32)
    coords = embedding.frame.to_frame(points)

    def engine() -> None:
        for _ in sam.decode(embedding, points, labels):
            pass

    return engine, None if original is None else lambda: original.decode(own, coords, labels)


def _insights(
    sam: SegmentAnything,
    parts: Sequence[Opened],
    works: Sequence[Work],
    wanted: Wanted,
    notes: Notes,
    progress: Progress,
) -> dict[str, Insight]:
    """What the latency of the encoder and of a decoder does not tell, by part."""
    found, engines = {}, _engines(sam)
    for part, work in zip(parts, works, strict=False):  # the encoder, and the decoder for one prompt
        batch, name = part.manifest.graph.batch[0], part.folder.name
        if part.manifest.graph.input == "prompts":
            inputs = prompt_inputs(PromptReference.load(part.folder), part.manifest, [0] * batch)
        else:
            inputs = reference_inputs(Reference.load(part.folder), part.manifest, [0] * batch)
        found[name] = inspect_graph(
            engines[name], inputs, frames=batch, runs=work.engine.runs,
            wanted=wanted, notes=notes, progress=named(progress, name),
        )  # fmt: skip
    return found


def _power(sam: SegmentAnything, encoder: Opened, notes: Notes, progress: Progress) -> PowerRecord | None:
    """What the machine draws while frames become masks, one prompt each."""
    frame = _frame(Reference.load(encoder.folder))
    points = _points(frame, 1)
    subject = Subject("frame to masks", lambda: (sam.set_image(frame), sam.predict(points).masks))
    return drawn_power(subject, gpu=sam.encoder.on_gpu, notes=notes, progress=progress)


def _measured(
    works: Iterator[tuple[str, int, Call, Call | None]], runs: int, watch: Watch, progress: Progress
) -> Iterator[Work]:
    for name, frames, engine, pytorch in works:
        subjects = [Subject(name, engine, runs, SLOW_RUNS, frames)]
        if pytorch is not None:
            subjects.append(Subject(f"{name}, PyTorch eager", pytorch, runs, SLOW_PYTORCH_RUNS, frames))
        with progress(f"measure {name}", ROUNDS) as step:
            yield Work(name, *measure_together(subjects, watch.beside(step.advance), warm_up_calls=WARM_UP_CALLS))


def _frame(pictures: Reference) -> UInt8:
    """A camera's frame made from the first reference picture."""
    height, width = pictures.sizes[0]
    return resize_image(np.ascontiguousarray(pictures.images[0][:height, :width]), *CALL_SIZE, "opencv-cubic")


def _points(frame: Any, count: int) -> npt.NDArray[np.float64]:
    """Points spread over a frame, one per prompt, [count, 1, 2] as (x, y) in its pixels."""
    height, width = frame.shape[:2] if isinstance(frame, np.ndarray) else (frame.height, frame.width)
    side = int(np.ceil(np.sqrt(count)))
    grid = (np.arange(side) + 0.5) / side
    x, y = np.meshgrid(grid * width, grid * height)
    return np.stack([x.ravel(), y.ravel()], axis=1)[:count, None]


def _notes(works: Sequence[Work], absent: str | None, average: float | None) -> list[str]:
    notes = [*([absent] if absent else []), *busy(average), *drifting(work.engine for work in works)]
    slow = [item for work in works for item in work.timed if item.runs < MINIMUM_RUNS]
    if slow:
        words = ", ".join(f"{item.name} ({item.runs})" for item in slow)
        notes.append(f"What takes more than half a second a run was timed fewer times: {words}.")
    return notes
