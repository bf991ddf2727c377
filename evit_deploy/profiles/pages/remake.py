# SPDX-License-Identifier: Apache-2.0
"""``evit-deploy report``: all pages again from what is recorded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from evit_deploy.errors import ArtifactError, UsageError
from evit_deploy.profiles.pages.index import Unreadable, reason, write_index
from evit_deploy.profiles.pages.page import write_page
from evit_deploy.profiles.reading import REPORT, find_profile, recorded_folders


@dataclass(frozen=True)
class Remade:
    """What was written.

    Attributes:
        index: Path of the index.
        pages: Paths of the pages.
        broken: Folders whose records cannot be read, or that no page could be made of; their pages are as they were.
    """

    index: Path
    pages: tuple[Path, ...]
    broken: tuple[Unreadable, ...]


def remake(profiles: Path, names: Sequence[str] = ()) -> Remade:
    """Make pages again, and the index.

    Args:
        profiles: Folder of all profiles.
        names: Engines whose pages are wanted: names in `profiles`, or folders; none for all.

    Raises:
        UsageError: There is no such folder or profile, or the index or a page that was named cannot be written.
        ArtifactError: Records of an engine that was named are damaged. Without names, they are left out.
    """
    if not profiles.is_dir():
        raise UsageError(
            f"there is no {profiles}", expected="a folder of profiles", fix="evit-deploy profile ENGINE makes it"
        )
    broken: dict[str, Unreadable] = {}
    if names:
        pages = [write_page(folder) for folder in [find_profile(name, profiles) for name in names]]
    else:
        pages = list(_every_page(profiles, broken))
    index, unreadable = write_index(profiles)
    broken.update({item.name: item for item in unreadable})
    return Remade(index, tuple(pages), tuple(broken.values()))


def _every_page(profiles: Path, broken: dict[str, Unreadable]) -> Iterator[Path]:
    for folder in recorded_folders(profiles):
        if (folder / REPORT).is_file():
            try:
                yield write_page(folder)
            except (ArtifactError, UsageError) as error:
                broken[folder.name] = Unreadable(folder.name, reason(error))
