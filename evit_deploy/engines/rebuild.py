# SPDX-License-Identifier: Apache-2.0
"""An engine that this device cannot run, compiled again where it stands: what ``load(…, rebuild="if-needed")`` does."""

from __future__ import annotations

import logging
import shlex
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from evit_deploy.engines.bundle import compile_bundle, engine_info
from evit_deploy.engines.compilation import compile_engine
from evit_deploy.errors import UnavailableError
from evit_deploy.manifest import is_bundle
from evit_deploy.manifest.signing import trusted_place
from evit_deploy.progress import Step, silent
from evit_deploy.runtime.compatibility import EngineMismatchError, build_command

_LOG = logging.getLogger("evit_deploy")


def is_needed(folder: Path, error: UnavailableError) -> bool:
    """Whether compiling an engine again is what helps against the error that loading it ended in."""
    if isinstance(error, EngineMismatchError):
        return error.curable
    engine = engine_info(folder)
    return engine is not None and engine.state == "lowered"


def rebuild_engine(
    folder: Path, error: UnavailableError, device: int = 0, trusted_keys: str | Path | None = None
) -> None:
    """Compile an engine again from the lowered graph in its folder, and say so by a warning and in the log.

    The engine stays as it was until the new one is whole and, where it runs here, agrees with PyTorch.

    Args:
        folder: Folder of the engine.
        error: What loading it ended in.
        device: Number of the GPU that loading was given.
        trusted_keys: Where the keys are that loading was given, if any.

    Raises:
        UsageError: The folder cannot be written, or another process is writing it.
        ArtifactError: The engine is damaged.
        UnavailableError: This machine cannot compile it; it is for a GPU that is not the first one; or only signed
            engines are wanted, which the new one is not.
        CheckFailedError: The new engine does not agree with PyTorch.
    """
    command = build_command(folder, number=device)
    if trusted_place(trusted_keys) is not None:
        raise UnavailableError(
            f"the engine {folder} has to be compiled again, and nobody would have signed the result",
            found=error.what,
            expected="an engine that a trusted key has signed, since trusted keys are set",
            fix=f"{command}, then evit-deploy sign {shlex.quote(str(folder))} --key FILE",
        ) from error
    if device != 0:
        raise UnavailableError(
            f"the engine {folder} has to be compiled again, and that is done for the first GPU alone",
            found=f"{error.what}; device={device}",
            expected="device=0",
            fix=command,
        ) from error
    differs = f" (engine: {error.engine}; device: {error.device})" if isinstance(error, EngineMismatchError) else ""
    warnings.warn(
        f"the engine {folder} is compiled again for this device, which can take minutes{differs}", stacklevel=3
    )
    compile_again = compile_bundle if is_bundle(folder) else compile_engine
    compile_again(folder, folder, progress=_logged)
    engine = engine_info(folder)
    assert engine is not None
    _LOG.info("%s was compiled by %s %s", folder, engine.compiler, engine.compiler_version)


@contextmanager
def _logged(name: str, total: int | None = None) -> Iterator[Step]:
    """A progress for programs: the name of every step goes to the log."""
    _LOG.info("%s", name)
    with silent(name, total) as step:
        yield step
