# SPDX-License-Identifier: Apache-2.0
"""Plans that were made before: those of the whole zoo, shipped with the package, and the user's cache.

A plan takes seconds to a minute to make, tracing included. What it depends on is in its key, so that an old one is not
found rather than wrong.
"""

from __future__ import annotations

import contextlib
import json
import lzma
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

from evit_deploy.errors import EvitError
from evit_deploy.manifest.store import content_key, replace_file
from evit_deploy.profiles.predict.subject import Subject
from evit_deploy.targets.machine import cache_folder

SHIPPED = Path(__file__).with_name("zoo_plans.json.xz")


def kept(what: dict[str, Any], maker: str, make: Callable[[], Subject]) -> Subject:
    """A subject from the shipped plans, from the cache, or made now and kept.

    Args:
        what: Everything that its graph depends on, as JSON values.
        maker: Who would make the plan now: compiler and version.
        make: Makes it.
    """
    shipped = _shipped().get(content_key(**what))
    if shipped is not None:
        return Subject.from_json(shipped)
    path = cache_folder() / "plans" / f"{content_key(**what, maker=maker)}.json"
    try:
        return Subject.from_json(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError):  # not there, or damaged: made again either way
        pass
    subject = make()
    _keep(path, subject)
    return subject


def write_shipped(subjects: dict[str, Subject], path: Path = SHIPPED) -> None:
    """Write the plans to ship, each under `content_key` of what it depends on."""
    text = json.dumps({key: subject.to_json() for key, subject in subjects.items()}, separators=(",", ":"))
    path.write_bytes(lzma.compress(text.encode(), preset=9 | lzma.PRESET_EXTREME))


@lru_cache(maxsize=1)
def _shipped() -> dict[str, Any]:
    if not SHIPPED.is_file():
        return {}
    data: dict[str, Any] = json.loads(lzma.decompress(SHIPPED.read_bytes()))
    return data


def _keep(path: Path, subject: Subject) -> None:
    """Write into the cache; one that cannot be written costs time and nothing else."""
    with contextlib.suppress(EvitError, OSError):
        replace_file(path, json.dumps(subject.to_json(), separators=(",", ":")).encode())
