# SPDX-License-Identifier: Apache-2.0
"""The small engines that travel with the package, so that a device can test itself without PyTorch or a network.

All are b0-seg with the demo weights; tools/make_selftest.py writes them into one archive.
"""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any

from evit_deploy.errors import ArtifactError

ARCHIVE = Path(__file__).with_name("selftest.tar.xz")
ABOUT = "about.json"
"""What the archive was made by: {"lowering": …, "form": …, "tool": …}."""

CLASSES = "b0-seg-classes"
"""Lowered, FP16: 256×512, one frame, ends in a class map."""
LOGITS = "b0-seg-logits"
"""Lowered, FP16: 128×256, one or two frames, ends in logits."""
EXPORT = "b0-seg-export"
"""An export, FP32: 128×256, one frame, ends in a class map; for CPUs."""
FOLDERS = (CLASSES, LOGITS, EXPORT)


def unpack(folder: Path, archive: Path = ARCHIVE) -> dict[str, Any]:
    """Write the shipped folders into a folder, and return what they were made by.

    Raises:
        ArtifactError: The archive is missing, damaged or not this one.
    """
    try:
        with tarfile.open(archive, "r:xz") as file:
            for member in file:
                _write(file, member, folder)
        return json.loads((folder / ABOUT).read_text(encoding="utf-8"))  # type: ignore[no-any-return]
    except (OSError, EOFError, ValueError, tarfile.TarError) as error:
        raise ArtifactError(
            f"{archive} cannot be read",
            found=f"{type(error).__name__}: {error}",
            fix="pip install --force-reinstall evit-deploy",
        ) from error


def _write(file: tarfile.TarFile, member: tarfile.TarInfo, folder: Path) -> None:
    """Write one file of a shipped folder; anything else has no place in the archive."""
    place, _, name = member.name.rpartition("/")
    content = file.extractfile(member) if member.isreg() else None
    if content is None or name in ("", ".", "..") or (member.name != ABOUT and place not in FOLDERS):
        raise ValueError(f"{member.name!r} has no place in it")
    (folder / place).mkdir(parents=True, exist_ok=True)
    (folder / place / name).write_bytes(content.read())
