# SPDX-License-Identifier: Apache-2.0
"""Artifact folders on disk: read and checked, or written whole.

Writing goes to a temporary sibling folder that is renamed into place, so a killed command or a full disk leaves no
half artifact and an earlier one stays as it was. One writer at a time: a file lock in the workspace folder. What a
killed writer left behind is swept away by the next one.
"""

from __future__ import annotations

import ctypes
import dataclasses
import datetime
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from evit_deploy.errors import ArtifactError, EvitError, MissingExtraError, UsageError
from evit_deploy.manifest._validator import SchemaError, validate
from evit_deploy.manifest.model import SCHEMA_VERSION, FileInfo, Manifest, from_json, to_json

MANIFEST = "manifest.json"
_ASIDE = ".old"


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, as 64 hex digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def utc_now() -> str:
    """The time, as manifests and records give it: UTC, ISO 8601, in seconds."""
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")


def file_info(path: Path) -> FileInfo:
    """Hash and size of a file."""
    return FileInfo(sha256_of(path), path.stat().st_size)


def content_key(**inputs: Any) -> str:
    """Hash of everything an artifact is made from; any JSON values."""
    return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()


def read_manifest(folder: Path) -> Manifest:
    """Read and validate the manifest of an artifact.

    Raises:
        UsageError: The folder is not an artifact.
        ArtifactError: The manifest is damaged, or of a newer version.
    """
    return _parse(folder / MANIFEST, manifest_bytes(folder))


def manifest_bytes(folder: Path) -> bytes:
    """The manifest of an artifact or a bundle, as it stands in its file.

    Raises:
        UsageError: The folder is neither.
        ArtifactError: It cannot be read.
    """
    path = folder / MANIFEST
    try:
        if path.is_file():
            return path.read_bytes()
        found = f"no {MANIFEST}" if folder.is_dir() else "no such folder"
    except OSError as error:
        raise ArtifactError(f"{path} cannot be read", found=str(error), fix="write the artifact again") from error
    raise UsageError(
        f"{folder} is not an artifact of evit-deploy",
        found=found,
        expected="a folder written by evit-deploy export or build",
        fix="evit-deploy export MODEL, then evit-deploy build MODEL --target cpu",
    )


def _parse(path: Path, content: bytes) -> Manifest:
    data = parse_json(path, content)
    if names_parts(data):
        shown = ", ".join(str(path.parent / name) for name in data["parts"])
        raise UsageError(
            f"{path.parent} is a model of several graphs", found=f"the parts {shown}", expected="one graph",
            fix="name one of its parts",
        )  # fmt: skip
    check_schema(path, data, validate)
    return from_json(data)


def names_parts(data: Any) -> bool:
    """Whether the JSON values of a manifest are those of a bundle."""
    return isinstance(data, dict) and isinstance(data.get("parts"), dict)


def parse_json(path: Path, content: bytes) -> Any:
    """The JSON values of a manifest, of a version that is known here.

    Raises:
        ArtifactError: Not JSON, or of a newer version.
    """
    try:
        data = json.loads(content.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"{path} cannot be read", found=str(error), fix="write the artifact again") from error
    _require_known_version(path, data)
    return data


def check_schema(path: Path, data: Any, check: Callable[[Any], Any]) -> None:
    """Refuse JSON values that break a schema.

    Raises:
        ArtifactError: They do; the message says where.
    """
    try:
        check(data)
    except SchemaError as error:
        raise ArtifactError(
            f"{path} does not follow the manifest schema", found=str(error), fix="write the artifact again"
        ) from error


def _require_known_version(path: Path, data: Any) -> None:
    version = data.get("schema") if isinstance(data, dict) else None
    if not isinstance(version, int) or isinstance(version, bool):
        raise ArtifactError(f"{path} is not a manifest", expected="a JSON object with a whole number 'schema'")
    if version > SCHEMA_VERSION:
        raise ArtifactError(
            f"{path} was written by a newer evit-deploy",
            found=f"manifest version {version}",
            expected=f"at most {SCHEMA_VERSION}",
            fix="pip install --upgrade evit-deploy",
        )


def read_artifact(folder: Path, *, accept: Callable[[bytes], None] | None = None) -> Manifest:
    """Read a manifest and check the hash of every file it lists.

    Args:
        folder: Folder of an export or engine.
        accept: Is shown the bytes of the manifest before anything is made of them, and may refuse them by an error.
            Those very bytes are then used; the file is not read a second time.

    Raises:
        ArtifactError: A file is missing, truncated or was edited, or one that is used is not listed.
    """
    content = manifest_bytes(folder)
    if accept is not None:
        accept(content)
    manifest = _parse(folder / MANIFEST, content)
    for name in (manifest.graph.file, *([manifest.engine.entry] if manifest.engine else [])):
        if name not in manifest.files:
            raise ArtifactError(
                f"{folder / MANIFEST} lists no hash for {name}", fix="write the artifact again, or copy it again"
            )
    for name in manifest.files:
        path = _listed(folder, name)
        _require_same(path, manifest.files[name], sha256_of(path), path.stat().st_size)
    return manifest


def read_file(folder: Path, manifest: Manifest, name: str) -> bytes:
    """Read a file of an artifact, and check the hash of exactly the bytes that are returned.

    What is executed is read by this: between a check and a second reading another process could exchange the file.

    Raises:
        ArtifactError: The file is missing, truncated, was edited, or is not listed.
    """
    if name not in manifest.files:
        raise ArtifactError(f"{folder / MANIFEST} lists no hash for {name}", fix="write the artifact again")
    path = _listed(folder, name)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ArtifactError(f"{path} cannot be read", found=str(error), fix="copy the artifact again") from error
    _require_same(path, manifest.files[name], hashlib.sha256(content).hexdigest(), len(content))
    return content


def _listed(folder: Path, name: str) -> Path:
    path = folder / name
    if Path(name).name != name or not path.is_file():
        raise ArtifactError(f"{folder} is incomplete", found=f"no file {name}", fix="write the artifact again")
    return path


def _require_same(path: Path, info: FileInfo, sha256: str, size: int) -> None:
    if sha256 != info.sha256:
        raise ArtifactError(
            f"{path} is not the file that was verified",
            found=f"SHA-256 {sha256[:16]}…, {size} bytes",
            expected=f"SHA-256 {info.sha256[:16]}…, {info.bytes} bytes",
            fix="write the artifact again, or copy it again",
        )


def read_existing(folder: Path, key: str) -> Manifest | None:
    """The artifact in a folder, if it is whole and was made from the inputs of `key`; else None."""
    try:
        manifest = read_artifact(folder)
    except (UsageError, ArtifactError):
        return None
    return manifest if manifest.key == key else None


@contextmanager
def write_artifact(folder: Path) -> Iterator[ArtifactWriter]:
    """Write an artifact folder, all or nothing.

    Yields:
        A writer: put files into ``writer.folder``, then call ``writer.commit(manifest)``. Without that call, or after
        an error, nothing is left behind.

    Raises:
        UsageError: The place cannot be written, is locked by another process, holds something else, or the disk is
            full.
    """
    with staging(folder) as temporary:
        yield ArtifactWriter(temporary, folder)


@contextmanager
def staging(folder: Path) -> Iterator[Path]:
    """A temporary sibling of a folder that is to be written, for one writer at a time; it is gone afterwards.

    Raises:
        UsageError: As for `write_artifact`.
    """
    with _writing(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _exclusive(folder):
            _sweep(folder)
            _require_replaceable(folder)
            temporary = Path(tempfile.mkdtemp(prefix=_temporary_prefix(folder), dir=folder.parent))
            try:
                yield temporary
            finally:
                shutil.rmtree(temporary, ignore_errors=True)


@dataclasses.dataclass(frozen=True)
class ArtifactWriter:
    """A folder in the making.

    Attributes:
        folder: Temporary folder to write into.
        destination: Where it will stand.
    """

    folder: Path
    destination: Path

    def commit(self, manifest: Manifest) -> Manifest:
        """List and hash all files, write the manifest and move the folder into place."""
        files = {path.name: file_info(path) for path in sorted(self.folder.iterdir())}
        manifest = dataclasses.replace(manifest, files=files)
        publish(self.folder, self.destination, to_json(manifest), validate)
        return manifest


def publish(staged: Path, destination: Path, manifest: dict[str, Any], check: Callable[[Any], Any]) -> None:
    """Write the manifest into a staged folder, and move that into place.

    Args:
        staged: What `staging` gave.
        destination: Where it belongs.
        manifest: JSON values.
        check: Refuses a manifest that breaks its schema.
    """
    text = json.dumps(manifest, indent=2, ensure_ascii=False)
    check(json.loads(text))
    (staged / MANIFEST).write_text(text + "\n", encoding="utf-8")
    staged.chmod(0o755)
    _replace_folder(staged, destination)


def _temporary_prefix(folder: Path) -> str:
    return f".{folder.name}.tmp-"


def _sweep(folder: Path) -> None:
    """Remove what killed writers left behind; an earlier artifact that had stepped aside comes back."""
    for left in folder.parent.iterdir():
        if left.name.startswith(_temporary_prefix(folder)):
            if left.name.endswith(_ASIDE) and not folder.exists():
                left.rename(folder)
            else:
                shutil.rmtree(left, ignore_errors=True)


def _require_replaceable(folder: Path) -> None:
    """Refuse to replace what is not an artifact: it may be the user's own."""
    if not folder.exists() and not folder.is_symlink():
        return
    own = folder.is_dir() and not folder.is_symlink()
    if not own or (any(folder.iterdir()) and not (folder / MANIFEST).is_file()):
        raise UsageError(
            f"{folder} is in the way",
            found=f"a folder without {MANIFEST}" if own else "not a folder",
            expected="nothing, or an earlier artifact to replace",
            fix="move it away, or choose another name",
        )


def _replace_folder(new: Path, destination: Path) -> None:
    """Put `new` in the place of `destination`; an earlier folder is there until then, and after an error.

    Where the system cannot exchange two folders in one step, the earlier one steps aside first.
    """
    if not destination.exists():
        new.rename(destination)
        return
    if _exchange(new, destination):
        return
    aside = new.with_name(new.name + _ASIDE)
    destination.rename(aside)
    try:
        new.rename(destination)
    except OSError:
        aside.rename(destination)
        raise
    shutil.rmtree(aside, ignore_errors=True)


def replace_file(path: Path, data: bytes) -> None:
    """Write one file, all or nothing; an earlier one stays as it was until the new one is whole.

    Raises:
        UsageError: The place cannot be written, or the disk is full.
    """
    with _writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        temporary = Path(name)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
            temporary.chmod(0o644)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def _exchange(first: Path, second: Path) -> bool:
    """Exchange two folders in one step, as only Linux can; False if it cannot be done."""
    try:
        renameat2 = ctypes.CDLL(None).renameat2
    except (OSError, AttributeError):
        return False
    at_fdcwd, rename_exchange = -100, 2
    return bool(renameat2(at_fdcwd, os.fsencode(first), at_fdcwd, os.fsencode(second), rename_exchange) == 0)


@contextmanager
def _exclusive(folder: Path) -> Iterator[None]:
    try:
        from filelock import FileLock, Timeout
    except ImportError:
        raise MissingExtraError("filelock", "cli", "Writing artifacts") from None
    lock = FileLock(str(folder.parent / f".{folder.name}.lock"), timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise UsageError(
            f"another process is writing {folder}", fix="wait until it is done, then run the command again"
        ) from None
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """Turn the operating system's errors into words."""
    try:
        yield
    except EvitError:
        raise
    except OSError as error:
        place = error.filename2 or error.filename  # of a copy, the second one is where it went
        raise UsageError(
            f"cannot write {folder}",
            found=f"{error.strerror or error}" + (f" ({place})" if place else ""),
            expected="a writable folder with enough free space",
            fix="free some space, or choose another place with --workspace DIR or EVIT_WORKSPACE",
        ) from error
