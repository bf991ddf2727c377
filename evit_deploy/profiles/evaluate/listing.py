# SPDX-License-Identifier: Apache-2.0
"""The list of images to evaluate: which of them, what identifies them, and which have no files."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from evit_deploy.errors import ArtifactError, EvitError
from evit_deploy.profiles.evaluate.record import Skipped
from evit_deploy.profiles.evaluate.task import Item

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
        sizes = [path.stat().st_size if path.is_file() else None for path in item.files]
        digest.update(f"{item.name}\0{sizes}\n".encode())
    return digest.hexdigest()


def missing(items: Sequence[Item]) -> list[Skipped]:
    """Items that lack a file."""
    absent = [(item, [path for path in item.files if not path.is_file()]) for item in items]
    return [Skipped(item.name, f"there is no file {paths[0]}") for item, paths in absent if paths]


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
