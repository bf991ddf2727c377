# SPDX-License-Identifier: Apache-2.0
"""What runs an engine's graph on this machine: the engine itself, or the emulation of its typed graph."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from evit_deploy.engines.lowering import emulated
from evit_deploy.errors import MissingExtraError, UnavailableError
from evit_deploy.manifest import ITSELF, Manifest
from evit_deploy.progress import Progress, silent
from evit_deploy.runtime.backends import obstacle
from evit_deploy.runtime.engine import open_engine
from evit_deploy.runtime.verify import Infer
from evit_deploy.targets import find_target


@contextmanager
def opened(folder: Path, manifest: Manifest, progress: Progress = silent) -> Iterator[tuple[Infer, str]]:
    """Open an engine as a robot would, or its typed graph's emulation where this machine cannot run it.

    Yields:
        What `evit_deploy.runtime.verify.verify` calls, and how outputs come about, in words.

    Raises:
        UsageError: The folder holds an export, not an engine.
        UnavailableError: A CPU's engine cannot run here, or emulation lacks its packages.
        ArtifactError: The graph cannot be read.
    """
    engine = manifest.engine
    typed = engine is not None and find_target(engine.target).attention is not None
    reason = "lowered, not compiled yet" if engine is not None and engine.state == "lowered" else obstacle(manifest)
    if typed and reason is not None:
        with progress("prepare the emulation"):
            emulation = _emulated(folder, manifest, reason)
        yield emulation
        return
    with progress("load the engine"):
        running = open_engine(folder, manifest)
    with running:
        yield running.infer, ITSELF


def _emulated(folder: Path, manifest: Manifest, reason: str) -> tuple[Infer, str]:
    """The emulation; without its packages, which no device needs, what keeps the engine itself from running."""
    cure = f"evit-deploy build {folder}, on its device" if reason.startswith("lowered") else "evit-deploy doctor"
    try:
        return emulated(folder, manifest)
    except MissingExtraError as error:
        raise UnavailableError(
            f"the engine {folder} cannot run here",
            found=reason,
            fix=f"{cure}; to emulate it here: {error.fix}",
        ) from error
