# SPDX-License-Identifier: Apache-2.0
"""Where a profile is written: found out to be writable before minutes of measuring, not after them."""

from __future__ import annotations

import tempfile
from pathlib import Path

from evit_deploy.errors import UsageError


def require_writable(profiles: Path, engine: Path) -> None:
    """Try to write a file where the profile of an engine will be; nothing of it stays.

    Args:
        profiles: Folder of all profiles; it need not be there.
        engine: Folder of the engine.

    Raises:
        UsageError: No file can be written there.
    """
    place = (profiles / engine.resolve().name).absolute()
    there = next(folder for folder in (place, *place.parents) if folder.exists())  # folders below it will be made
    try:
        with tempfile.TemporaryFile(dir=there) as file:
            file.write(b"evit-deploy")
            file.flush()
    except OSError as error:
        raise UsageError(
            f"no profile can be written to {place}",
            found=f"{there}: {error.strerror}",
            expected="a folder that can be written to",
        ) from error
