# SPDX-License-Identifier: Apache-2.0
"""Report files: plain JSON, replaced in one step."""

from __future__ import annotations

import json
import math
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evit_deploy.errors import UsageError


def plain(value: Any) -> Any:
    """The value with every NaN and infinity as None, because JSON has no word for them."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def write_json(path: Path, data: Any) -> None:
    """Write JSON, all or nothing; see `plain` for numbers that JSON does not have."""
    write_text(path, json.dumps(plain(data), indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a text file through a temporary sibling: a reader sees the old file or the new one, never half of one.

    Raises:
        UsageError: The place cannot be written, or the disk is full.
    """
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        temporary = Path(name)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        temporary.chmod(0o644)  # mkstemp's 0600 would hide the report from everybody else
        temporary.replace(path)
    except OSError as error:
        raise UsageError(
            f"cannot write {path}",
            found=error.strerror or str(error),
            expected="a writable folder with enough free space",
            fix="free some space, or choose another place with --workspace DIR or EVIT_WORKSPACE",
        ) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
