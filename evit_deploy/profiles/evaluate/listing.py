# SPDX-License-Identifier: Apache-2.0
"""The list of images to evaluate: which of them, what identifies them, and which have no files."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

from evit_deploy.errors import ArtifactError, EvitError
from evit_deploy.profiles.evaluate.record import Skipped
from evit_deploy.profiles.evaluate.task import Item

Stamp = list[list[int]]

_SHOWN = 3
SKIP = "repair the files, or leave such images out with --skip-broken"


def spread(items: Sequence[Item], limit: int | None) -> list[Item]:
    """Choose some items, spread evenly: the first ones may be of one city, or of one class.

    Args:
        items: All of them.
        limit: How many; None, or more than there are, for all.
    """
    if limit is None or limit >= len(items):
        return list(items)
    return [items[index * len(items) // limit] for index in range(limit)]


def fingerprint(items: Sequence[Item]) -> str:
    """SHA-256 of the names of items and the sizes of their files: the same on every machine."""
    digest = hashlib.sha256()
    for item in items:
        states = (_state(path) for path in item.files)
        sizes = [None if isinstance(state, OSError) else state.st_size for state in states]
        digest.update(f"{item.name}\0{sizes}\n".encode())
    return digest.hexdigest()


def missing(items: Sequence[Item]) -> list[Skipped]:
    """Items of which a file is not there, or may not be looked at."""
    found = ((item, [(path, _state(path)) for path in item.files]) for item in items)
    errors = ((item, path, state) for item, states in found for path, state in states if isinstance(state, OSError))
    return [Skipped(name, why) for name, why in {item.name: _why(path, state) for item, path, state in errors}.items()]


def stamp(item: Item) -> Stamp:
    """Size and time of every file, so that a file that was repaired is read again."""
    states = (_state(path) for path in item.files)
    return [[state.st_size, state.st_mtime_ns] for state in states if not isinstance(state, OSError)]


def _state(path: Path) -> os.stat_result | OSError:
    try:
        return path.stat()
    except OSError as error:
        return error


def _why(path: Path, error: OSError) -> str:
    missing = isinstance(error, (FileNotFoundError, NotADirectoryError))
    return f"there is no file {path}" if missing else f"{path}: {error.strerror}"


def require_complete(incomplete: Sequence[Skipped], total: int) -> None:
    """Stop where items lack files.

    Raises:
        ArtifactError: Some do.
    """
    if incomplete:
        shown = "; ".join(f"{item.file}: {item.why}" for item in incomplete[:_SHOWN])
        more = len(incomplete) - _SHOWN
        raise ArtifactError(
            f"{len(incomplete)} of {total} images lack a file",
            found=shown + (f"; and {more} more" if more > 0 else ""),
            fix=SKIP,
        )


def failure(item: Item, error: EvitError) -> Skipped:
    """What went wrong with an item, in one line."""
    parts = [error.what, error.found and f"found {error.found}", error.expected and f"expected {error.expected}"]
    return Skipped(item.name, "; ".join(part for part in parts if part))
