# SPDX-License-Identifier: Apache-2.0
"""Report files: plain JSON, replaced in one step."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evit_deploy.manifest import replace_file


def plain(value: Any) -> Any:
    """The value with every NaN and infinity as None, because JSON has no word for them."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def write_json(path: Path, data: Any) -> None:
    """Write JSON, all or nothing; see `plain` for numbers that JSON does not have."""
    text = json.dumps(plain(data), indent=2, ensure_ascii=False, allow_nan=False)
    replace_file(path, f"{text}\n".encode())
