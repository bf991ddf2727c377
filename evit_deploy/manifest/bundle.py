# SPDX-License-Identifier: Apache-2.0
"""Bundles: folders of artifacts that make up one model, such as the image encoder and the mask decoder of one SAM.

Each part is an artifact of its own, in a folder of its own, which every tool for artifacts works on. The manifest of
the bundle holds the SHA-256 of each part's manifest, as that holds the SHA-256 of every file: one hash, or one
signature, vouches for all of it. What is known of the parts together, their agreement with PyTorch from end to end,
stands there too.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from evit_deploy.errors import ArtifactError, EvitError, UsageError
from evit_deploy.manifest._validator import validate_bundle
from evit_deploy.manifest.model import Bundle, Manifest, Part, bundle_from_json, to_json
from evit_deploy.manifest.store import (
    MANIFEST,
    check_schema,
    manifest_bytes,
    names_parts,
    parse_json,
    publish,
    read_artifact,
    read_manifest,
    staging,
)

ENCODER, DECODER = "encoder", "decoder"
"""Parts of a promptable segmenter. A decoder for a fixed batch of P prompts is called ``decoder-P``."""


def is_bundle(folder: Path) -> bool:
    """Whether a folder holds a bundle; False for an artifact and for anything else."""
    try:
        return names_parts(parse_json(folder / MANIFEST, manifest_bytes(folder)))
    except EvitError:
        return False


def read_bundle(folder: Path, *, accept: Callable[[bytes], None] | None = None) -> tuple[Bundle, dict[str, Manifest]]:
    """Read a bundle, and check the hash of every part's manifest and of every file that those list.

    Args:
        folder: Folder of an export or engine.
        accept: Is shown the bytes of the bundle's manifest first, and may refuse them by an error.

    Returns:
        What the bundle says about itself, and the manifest of every part by its name.

    Raises:
        UsageError: Not a bundle.
        ArtifactError: Damaged, incomplete, or a part is not the one that the bundle was verified with.
    """
    content = manifest_bytes(folder)
    if accept is not None:
        accept(content)
    bundle = _parse(folder, content)
    return bundle, {name: _read_part(folder, name, part) for name, part in bundle.parts.items()}


def read_existing_bundle(folder: Path, key: str) -> Bundle | None:
    """The bundle in a folder, if it is whole and was made from the inputs of `key`; else None."""
    try:
        bundle, _ = read_bundle(folder)
    except (UsageError, ArtifactError):
        return None
    return bundle if bundle.key == key else None


def kind_of(folder: Path) -> str:
    """What an artifact or a bundle is: "export" or "engine".

    Raises:
        UsageError: The folder is neither.
        ArtifactError: Its manifest is damaged.
    """
    return _parse(folder, manifest_bytes(folder)).kind if is_bundle(folder) else read_manifest(folder).kind


def _parse(folder: Path, content: bytes) -> Bundle:
    path = folder / MANIFEST
    data = parse_json(path, content)
    if not names_parts(data):
        raise UsageError(f"{folder} has no parts", found="an artifact of one graph", expected="a model of several")
    check_schema(path, data, validate_bundle)
    return bundle_from_json(data)


def _read_part(folder: Path, name: str, part: Part) -> Manifest:
    place = folder / name
    if not place.is_dir():
        raise ArtifactError(f"{folder} is incomplete", found=f"no folder {name}", fix="write or copy it again")

    def require_same(content: bytes) -> None:
        if hashlib.sha256(content).hexdigest() != part.manifest:
            raise ArtifactError(
                f"{place} is not the part that {folder.name} was verified with",
                found="another manifest: it was built again, or edited, by itself",
                expected=f"a manifest of SHA-256 {part.manifest[:16]}…",
                fix=f"evit-deploy build {folder} builds what is missing and verifies all parts together",
            )

    return read_artifact(place, accept=require_same)


@contextmanager
def write_bundle(folder: Path) -> Iterator[BundleWriter]:
    """Write a bundle, all or nothing.

    Yields:
        A writer. Parts of an earlier bundle in the folder are in it already, so that who builds a part finds out by
        itself that it is done. Put parts where `BundleWriter.part` says, then call `BundleWriter.commit`. Without that
        call, or after an error, the folder stays as it was.

    Raises:
        UsageError: As for `evit_deploy.manifest.store.write_artifact`.
    """
    with staging(folder) as temporary:
        if is_bundle(folder):
            _link_parts(folder, temporary)
        yield BundleWriter(temporary, folder)


def _link_parts(source: Path, destination: Path) -> None:
    """Show the parts of a bundle in another folder. Parts are replaced as a whole, so files may be the very same."""
    for part in _parse(source, manifest_bytes(source)).parts:
        if not (source / part / MANIFEST).is_file():  # what is left of it would be in the way
            continue
        try:
            shutil.copytree(source / part, destination / part, copy_function=_link)
        except OSError:  # a damaged part is built again
            shutil.rmtree(destination / part, ignore_errors=True)


def _link(source: str, destination: str) -> None:
    try:
        os.link(source, destination)
    except OSError:  # file systems without hard links
        shutil.copy2(source, destination)


@dataclasses.dataclass(frozen=True)
class BundleWriter:
    """A bundle in the making.

    Attributes:
        folder: Temporary folder to write into.
        destination: Where it will stand.
    """

    folder: Path
    destination: Path

    def part(self, name: str) -> Path:
        """Where a part belongs until the bundle is committed."""
        return self.folder / name

    def commit(self, bundle: Bundle, names: Sequence[str]) -> Bundle:
        """Read and hash the parts, write the manifest and move the folder into place.

        Args:
            bundle: What the bundle says about itself, but for its parts.
            names: The parts; whatever else lies in the folder is dropped.

        Raises:
            ArtifactError: A part is damaged.
        """
        for entry in list(self.folder.iterdir()):
            if entry.name not in names:
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
        bundle = dataclasses.replace(bundle, parts={name: _as_part(self.folder / name) for name in names})
        publish(self.folder, self.destination, to_json(bundle), validate_bundle)
        return bundle


def _as_part(folder: Path) -> Part:
    seen: list[bytes] = []
    manifest = read_artifact(folder, accept=seen.append)
    return Part(manifest.key, hashlib.sha256(seen[0]).hexdigest())
