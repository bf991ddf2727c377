# SPDX-License-Identifier: Apache-2.0
"""What folders of data sets hold; one that may not be read is an error, not an empty one."""

from __future__ import annotations

import os
from pathlib import Path

from evit_deploy.errors import UsageError


def files_of(folder: Path, ending: str | tuple[str, ...]) -> list[Path]:
    """The files of a folder whose names end so, upper or lower case, sorted; none where there is no such folder.

    Raises:
        UsageError: This user may not read it.
    """
    return [path for path, is_folder in _entries(folder) if not is_folder and path.name.lower().endswith(ending)]


def folders_of(folder: Path) -> list[Path]:
    """The folders in a folder, sorted; none where there is no such folder; raises as `files_of`."""
    return [path for path, is_folder in _entries(folder) if is_folder]


def _entries(folder: Path) -> list[tuple[Path, bool]]:
    """Everything in a folder, and whether it is a folder itself."""
    try:
        with os.scandir(folder) as found:
            return sorted((Path(entry.path), entry.is_dir()) for entry in found)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise UsageError(
            f"the folder {folder} cannot be read", found=error.strerror, fix="give this user the right to read it"
        ) from error
