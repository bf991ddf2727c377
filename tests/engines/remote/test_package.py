# SPDX-License-Identifier: Apache-2.0
"""Packages: the same engine gives the same bytes, and no bytes write where they should not."""

from __future__ import annotations

import io
import os
import shutil
import tarfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from evit_deploy.engines.compilation import as_lowered, compile_engine
from evit_deploy.engines.remote.package import pack, unpack
from evit_deploy.errors import ArtifactError, UsageError
from evit_deploy.manifest import read_artifact
from tests.manifest.sample import entries, snapshot

Edit = Callable[[tarfile.TarInfo], None]


def test_the_same_engine_gives_the_same_bytes(lowered_engine: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(lowered_engine, tmp_path / "another name"))
    for path in copy.iterdir():
        os.utime(path, (time.time() - 1e6,) * 2)
        path.chmod(0o600)
    assert pack(copy) == pack(lowered_engine)


def test_what_was_compiled_from_it_gives_them_too(lowered_engine: Path, tmp_path: Path) -> None:
    compile_engine(lowered_engine, tmp_path / "compiled", arch="sm80")
    assert pack(tmp_path / "compiled").sha256 == pack(lowered_engine).sha256


def test_there_and_back(lowered_engine: Path, tmp_path: Path) -> None:
    package = pack(lowered_engine)
    (tmp_path / "package").write_bytes(package.data)
    manifest = unpack(tmp_path / "package", tmp_path / "deep" / "unpacked")
    assert manifest == package.manifest == read_artifact(tmp_path / "deep" / "unpacked")
    before, after = snapshot(lowered_engine), snapshot(tmp_path / "deep" / "unpacked")
    assert {name: after[name] for name in manifest.files} == {name: before[name] for name in manifest.files}
    assert set(before) == set(after) == {"manifest.json", *manifest.files}
    assert manifest.key == as_lowered(lowered_engine, read_artifact(lowered_engine)).key
    assert entries(tmp_path / "deep") == ["unpacked"]


def test_an_export_is_no_package(small_workspace: Path) -> None:
    with pytest.raises(UsageError, match="cannot be compiled"):
        pack(small_workspace / "export" / "b0-seg")


def test_a_damaged_engine_is_not_packed(lowered_engine: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(lowered_engine, tmp_path / "copy"))
    (copy / "model.onnx").write_bytes((copy / "model.onnx").read_bytes()[:-1])
    with pytest.raises(ArtifactError, match="is not the file that was verified"):
        pack(copy)


def archive(path: Path, name: str, edit: Edit = lambda info: None, data: bytes = b"") -> Path:
    """Write an archive of one entry."""
    info = tarfile.TarInfo(name)
    info.size = len(data)
    edit(info)
    with tarfile.open(path, "w") as file:
        file.addfile(info, io.BytesIO(data))
    return path


def link(kind: bytes, target: str) -> Edit:
    def edit(info: tarfile.TarInfo) -> None:
        info.type, info.linkname = kind, target

    return edit


@pytest.mark.parametrize(
    ("name", "edit"),
    [
        ("../escaped", lambda info: None),
        ("/tmp/escaped", lambda info: None),
        ("a/b", lambda info: None),
        ("..", lambda info: None),
        (".", lambda info: None),
        ("a\\b", lambda info: None),
        ("model.onnx", link(tarfile.SYMTYPE, "/etc/passwd")),
        ("model.onnx", link(tarfile.LNKTYPE, "manifest.json")),
        ("folder", link(tarfile.DIRTYPE, "")),
        ("device", link(tarfile.CHRTYPE, "")),
        ("pipe", link(tarfile.FIFOTYPE, "")),
    ],
)
def test_path_tricks_are_refused(name: str, edit: Edit, tmp_path: Path) -> None:
    path = archive(tmp_path / "package", name, edit)
    with pytest.raises(ArtifactError, match="the package is refused"):
        unpack(path, tmp_path / "store" / "unpacked")
    assert entries(tmp_path) == ["package", "store"]
    assert entries(tmp_path / "store") == []


def rewritten(package: bytes, edit: Callable[[str, bytes], list[tuple[str, bytes]]]) -> bytes:
    """A package with its entries changed."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=io.BytesIO(package)) as source, tarfile.open(fileobj=buffer, mode="w") as result:
        for member in source:
            content = source.extractfile(member)
            assert content is not None
            for name, data in edit(member.name, content.read()):
                info = tarfile.TarInfo(name)
                info.size = len(data)
                result.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("edit", "found"),
    [
        (lambda name, data: [(name, data), ("extra.py", b"")] if name == "math.json" else [(name, data)], "extra.py"),
        (lambda name, data: [(name, data), (name, data)], "too many"),
        (lambda name, data: [] if name == "reference.npz" else [(name, data)], "no file reference.npz"),
        (lambda name, data: [(name, data[:-9] if name.startswith("model") else data)], "."),
        (lambda name, data: [(name, data + b" " if name == "math.json" else data)], "SHA-256"),
        (lambda name, data: [(name, b"junk" if name.startswith("model") else data)], "."),
        (lambda name, data: [(name, b"{}" if name == "manifest.json" else data)], "."),
    ],
    ids=["a file more", "twice", "a file less", "broken off", "altered", "junk", "no manifest"],
)
def test_other_files_than_the_manifest_says_are_refused(
    edit: Callable[[str, bytes], list[tuple[str, bytes]]], found: str, lowered_engine: Path, tmp_path: Path
) -> None:
    (tmp_path / "package").write_bytes(rewritten(pack(lowered_engine).data, edit))
    with pytest.raises(ArtifactError, match=found):
        unpack(tmp_path / "package", tmp_path / "store" / "unpacked")
    assert entries(tmp_path / "store") == []


@pytest.mark.parametrize("size", [0, 100, 511, 700, 5000, -700])
def test_a_part_of_a_package_is_refused(size: int, lowered_engine: Path, tmp_path: Path) -> None:
    (tmp_path / "package").write_bytes(pack(lowered_engine).data[: size or None] if size else b"")
    if size == -700:  # only the end of the archive is missing: the files are whole
        unpack(tmp_path / "package", tmp_path / "store" / "unpacked")
        return
    with pytest.raises((ArtifactError, UsageError)):
        unpack(tmp_path / "package", tmp_path / "store" / "unpacked")
    assert entries(tmp_path / "store") == []
