# SPDX-License-Identifier: Apache-2.0
"""``evit-deploy eval``: an engine, opened as a robot would, on a data set."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from evit_deploy.profiles.evaluate.kinds import open_task
from evit_deploy.profiles.evaluate.record import Evaluation
from evit_deploy.profiles.evaluate.run import Options, evaluate
from evit_deploy.profiles.evaluate.task import Request
from evit_deploy.progress import Progress, silent
from evit_deploy.runtime import SegmentAnything, load


def evaluate_engine(
    folder: Path,
    request: Request,
    profiles: Path,
    options: Options = Options(),  # noqa: B008  it cannot be changed
    *,
    progress: Progress = silent,
    say: Callable[[str], None] = lambda text: None,
    trusted_keys: str | Path | None = None,
) -> tuple[Evaluation, Path]:
    """Evaluate an engine on a data set; see `evit_deploy.profiles.evaluate.run.evaluate`.

    Args:
        folder: Folder of a compiled engine.
        request: The data set.
        profiles: Folder of all profiles; ``<engine's name>/evaluation.<kind>.json`` is written there.
        options: How to go about it.
        progress: Told about every step.
        say: Told in a sentence what becomes of an earlier evaluation.
        trusted_keys: Keys one of which must have signed the engine, as for `evit_deploy.load`.

    Returns:
        The record, and its file.

    Raises:
        UsageError: Not an engine, or not one for this data set; or this is no such data set.
        ArtifactError: The engine is damaged, or an image failed and failures are not to be skipped.
        UnavailableError: The engine cannot run here.
    """
    with progress("load the engine"):
        runtime = load(folder, trusted_keys=trusted_keys)
    with runtime:
        manifest = runtime.bundle if isinstance(runtime, SegmentAnything) else runtime.manifest
        task = open_task(runtime, manifest.model, request)
        return evaluate(task, request, folder, manifest, profiles, options, progress, say)
