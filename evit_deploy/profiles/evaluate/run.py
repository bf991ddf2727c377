# SPDX-License-Identifier: Apache-2.0
"""One evaluation from beginning to end: what is to be done, what a journal has of it, the rest, the record."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import evit_deploy
from evit_deploy.errors import ArtifactError, EvitError, UsageError, extra
from evit_deploy.manifest import Bundle, Manifest
from evit_deploy.profiles.evaluate.journal import Journal, journal_path, other_journals
from evit_deploy.profiles.evaluate.listing import SKIP, failure, fingerprint, missing, require_complete, spread
from evit_deploy.profiles.evaluate.record import DatasetInfo, Evaluation, Skipped, Speed
from evit_deploy.profiles.evaluate.speed import bare_rate
from evit_deploy.profiles.evaluate.stream import stream
from evit_deploy.profiles.evaluate.task import Item, Loaded, Request, Result, Task
from evit_deploy.progress import Progress, silent
from evit_deploy.runtime.engine import available_cores

Say = Callable[[str], None]


@dataclass(frozen=True)
class Options:
    """How to go about an evaluation.

    Attributes:
        limit: Evaluate this many images, spread evenly over the data set; None for all.
        skip_broken: Leave out images that fail, and list them; otherwise the first one ends the evaluation.
        fresh: Begin anew, even where an interrupted evaluation could go on.
    """

    limit: int | None = None
    skip_broken: bool = False
    fresh: bool = False


def evaluate(
    task: Task[Loaded, Result],
    request: Request,
    folder: Path,
    manifest: Manifest | Bundle,
    profiles: Path,
    options: Options = Options(),
    progress: Progress = silent,
    say: Say = lambda text: None,
) -> tuple[Evaluation, Path]:
    """Evaluate an engine on a data set, and write the record.

    What is done is in a journal beside the record; an evaluation that was interrupted, by whatever, goes on from there
    when it is started again with the same engine, data set and options.

    Args:
        task: The data set, and the engine at work on it.
        request: What was asked for.
        folder: The engine's folder.
        manifest: What the engine says about itself.
        profiles: Folder of all profiles; ``<engine's name>/evaluation.<name>.json`` is written there, with the limit in
            its name where there is one: a trial does not take the place of the whole.
        options: How to go about it.
        progress: Told about every step.
        say: Told in a sentence what becomes of an earlier evaluation.

    Returns:
        The record, and its file.

    Raises:
        UsageError: This is no such data set, another process evaluates this engine on it, or the place cannot be
            written.
        ArtifactError: An image failed, and failures are not to be skipped; or all of them did.
    """
    place = profiles / folder.resolve().name
    root = None if request.root is None else str(request.root.resolve())
    with progress("list the data set"):
        every = task.items()
        items = spread(every, options.limit)
        name = request.name if len(items) == len(every) else f"{request.name}-limit-{len(items)}"
        dataset = DatasetInfo(name, root, task.split, len(every), fingerprint(items))
    data = {"kind": request.kind, "path": root, "split": task.split}
    identity = {"tool": evit_deploy.__version__, "key": manifest.key, "dataset": data, "options": dict(task.options)}
    with _alone(place, request.name), _open_journal(place, request.name, identity, options.fresh, say) as journal:
        skipped, speed = _work_off(task, items, journal, options.skip_broken, progress, say)
        count = sum(journal.knows(item) for item in items)
        if not count:
            raise ArtifactError("no image is left to be evaluated", found=f"{len(skipped)} images that failed")
        score = task.finish(journal.outcomes(items))
        evaluation = Evaluation(
            engine=place.name,
            key=manifest.key,
            dataset=dataset,
            options=dict(task.options),
            score=score,
            images=count,
            skipped=tuple(skipped),
            speed=speed,
            warnings=(*manifest.warnings, *score.warnings, *_partial(count, len(every))),
        )
        path = place / f"evaluation.{name}.json"
        evaluation.write(path)
        if options.limit is None or count == len(journal):  # others are of an evaluation that is yet to go on
            journal.remove()
    return evaluation, path


def _work_off(
    task: Task[Loaded, Result],
    items: Sequence[Item],
    journal: Journal,
    skip_broken: bool,
    progress: Progress,
    say: Say,
) -> tuple[list[Skipped], Speed]:
    """Bring the outcomes that a journal lacks into it; what failed, and how fast it went."""
    left = [item for item in items if not journal.knows(item)]
    skipped = missing(left)
    if not skip_broken:
        require_complete(skipped, len(items))
    absent = {item.file for item in skipped}
    left = [item for item in left if item.name not in absent]
    if len(left) + len(absent) < len(items):
        say(f"an interrupted evaluation goes on: {len(left)} of {len(items)} images are left")
    with progress("time the engine alone"):
        bare = bare_rate(task, left)
    done, start = 0, time.perf_counter()
    with progress("evaluate", len(left)) as step, closing(stream(task, left, available_cores())) as outcomes:
        for item, outcome in outcomes:
            if isinstance(outcome, EvitError):
                skipped.append(_failed(item, outcome, skip_broken))
            else:
                journal.add(item, outcome)
                done += 1
            step.advance()
    seconds = time.perf_counter() - start
    return skipped, Speed(done, seconds, done / seconds if done else None, bare)


def _failed(item: Item, error: EvitError, skip_broken: bool) -> Skipped:
    """The failure of an image, or the end of the evaluation."""
    failed = failure(item, error)
    if not skip_broken:
        raise ArtifactError(
            f"the image {item.name} cannot be evaluated", found=failed.why, fix=f"{SKIP}; what is done is kept"
        ) from error
    return failed


def _partial(count: int, total: int) -> list[str]:
    if count == total:
        return []
    return [f"{count} of {total} images were evaluated: the numbers are not those of the whole data set"]


@contextmanager
def _alone(place: Path, kind: str) -> Iterator[None]:
    """Hold the evaluation of one engine on one kind of data set for one process."""
    with extra("cli", "Evaluating"):
        from filelock import FileLock, Timeout
    try:
        place.mkdir(parents=True, exist_ok=True)
        lock = FileLock(str(place / f".evaluation.{kind}.lock"), timeout=0)
        lock.acquire()
    except Timeout:
        raise UsageError(
            f"another process evaluates {place.name} on {kind}", fix="wait until it is done, then run the command again"
        ) from None
    except OSError as error:
        raise UsageError(f"cannot write {place}", found=error.strerror, expected="a writable folder") from error
    try:
        yield
    finally:
        lock.release()


def _open_journal(place: Path, kind: str, identity: dict[str, Any], fresh: bool, say: Say) -> Journal:
    path = journal_path(place, kind, identity)
    if fresh:
        path.unlink(missing_ok=True)
    if not path.exists():
        for other in other_journals(path):
            say(f"{other} is left of an evaluation of another engine, data set or version: this one begins anew")
    return Journal(path, identity)
