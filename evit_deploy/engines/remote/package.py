# SPDX-License-Identifier: Apache-2.0
"""A lowered engine as one file: the same engine gives the same bytes, so that its hash is its name."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import shutil
import tarfile
import tempfile
from pathlib import Path

from evit_deploy.engines.compilation import as_lowered, lowered_files
from evit_deploy.engines.squeeze import SUFFIX, expand, squeeze
from evit_deploy.errors import ArtifactError
from evit_deploy.manifest import Manifest, read_artifact
from evit_deploy.manifest.model import to_json
from evit_deploy.manifest.store import MANIFEST
from evit_deploy.precision.merging import read_factors

_ORIGIN = "1970-01-01T00:00:00+00:00"
_LARGEST = 4 << 30


@dataclasses.dataclass(frozen=True)
class Package:
    """A lowered engine on its way.

    Attributes:
        manifest: Of the lowered engine, as it travels.
        data: A tar archive: the manifest and the files it lists.
        sha256: Its name.
    """

    manifest: Manifest
    data: bytes
    sha256: str


def travelling(folder: Path) -> Manifest:
    """What of an engine's manifest decides a build elsewhere: not when and where it was written.

    Raises:
        UsageError: Not an engine for a GPU.
        ArtifactError: It is damaged.
    """
    manifest = as_lowered(folder, read_artifact(folder))
    assert manifest.engine is not None
    files = {name: manifest.files[name] for name in sorted(lowered_files(manifest))}
    engine = dataclasses.replace(manifest.engine, machine={})
    return dataclasses.replace(manifest, created=_ORIGIN, engine=engine, files=files)


def pack(folder: Path) -> Package:
    """Pack an engine's lowered half: the same for a lowered engine and for what was compiled from it."""
    manifest = travelling(folder)
    text = json.dumps(to_json(manifest), indent=1, ensure_ascii=False, sort_keys=True).encode()
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        _add(archive, MANIFEST, text)
        for name in manifest.files:
            data = (folder / name).read_bytes()
            if name == manifest.graph.file:
                name, data = name + SUFFIX, squeeze(data, read_factors(folder))  # noqa: PLW2901
            _add(archive, name, data)
    data = buffer.getvalue()
    return Package(manifest, data, hashlib.sha256(data).hexdigest())


def _add(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)  # its time, owner and mode are the same always
    info.size = len(data)
    archive.addfile(info, io.BytesIO(data))


def unpack(archive: Path, folder: Path) -> Manifest:
    """Unpack into a new folder, all or nothing; nothing can be written elsewhere.

    Raises:
        ArtifactError: Not a package: broken off, a name with a path, a link, or files that its manifest does not list.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.tmp-", dir=folder.parent))
    try:
        _extract(archive, temporary)
        for path in temporary.glob(f"*{SUFFIX}"):
            path.with_suffix("").write_bytes(expand(path.read_bytes(), read_factors(temporary)))
            path.unlink()
        manifest = read_artifact(temporary)
        extra = {path.name for path in temporary.iterdir()} - {MANIFEST, *manifest.files}
        if extra:
            raise _refused(f"files that its manifest does not list: {', '.join(sorted(extra))}")
        if not folder.exists():
            temporary.rename(folder)
        return manifest
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _extract(archive: Path, folder: Path) -> None:
    total = 0
    try:
        with tarfile.open(archive, mode="r:") as members:
            for member in members:
                name, total = member.name, total + member.size
                if not member.isreg() or Path(name).name != name or name in ("", ".", "..") or "\\" in name:
                    raise _refused(f"an entry '{name}' that is no plain file")
                if total > _LARGEST or (folder / name).exists():
                    raise _refused(f"an entry '{name}' too many")
                content = members.extractfile(member)
                assert content is not None
                with (folder / name).open("xb") as file:
                    shutil.copyfileobj(content, file)
    except (tarfile.TarError, EOFError, ValueError) as error:
        raise _refused(str(error)) from error


def _refused(found: str) -> ArtifactError:
    return ArtifactError("the package is refused", found=found, fix="send it again")
