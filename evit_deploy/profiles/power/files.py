# SPDX-License-Identifier: Apache-2.0
"""Small files of /sys, each a name or a whole number."""

from __future__ import annotations

from pathlib import Path


def read_name(path: Path) -> str:
    """What a file says, without the space around it; nothing where it cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def read_number(path: Path) -> int:
    """The whole number in a file.

    Raises:
        PermissionError: This user may not read it.
        OSError: It cannot be read, or is no number.
    """
    text = path.read_text(encoding="utf-8", errors="replace")
    try:
        return int(text)
    except ValueError as error:
        raise OSError(f"{path} has {text.strip()!r} instead of a number") from error
