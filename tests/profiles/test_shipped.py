# SPDX-License-Identifier: Apache-2.0
"""The engines that travel with the package are whole, agree with PyTorch, and are of this version."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from evit_deploy.engines.lowering import LOWERING
from evit_deploy.engines.running import opened
from evit_deploy.errors import ArtifactError
from evit_deploy.export.forms import FORM
from evit_deploy.manifest import read_artifact
from evit_deploy.profiles.shipped import ARCHIVE, CLASSES, EXPORT, FOLDERS, LOGITS, unpack
from evit_deploy.profiles.verify import compare_reference
from evit_deploy.runtime.verify import Reference


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shipped")
    unpack(folder)
    return folder


def test_the_archive_is_small_and_of_this_version(tmp_path: Path) -> None:
    assert ARCHIVE.stat().st_size < 5_000_000
    about = unpack(tmp_path)
    assert about["form"] == FORM, "python tools/make_selftest.py"
    assert about["lowering"] == LOWERING, "python tools/make_selftest.py"
    assert {path.name for path in tmp_path.iterdir()} == {*FOLDERS, "about.json"}


@pytest.mark.parametrize(
    ("name", "kind", "precision", "resolution", "batch", "output"),
    [
        (CLASSES, "engine", "fp16", (256, 512), (1, 1), "classes"),
        (LOGITS, "engine", "fp16", (128, 256), (1, 2), "logits"),
        (EXPORT, "export", "fp32", (128, 256), (1, 1), "classes"),
    ],
)
def test_a_folder_is_whole(
    name: str, kind: str, precision: str, resolution: tuple[int, int], batch: tuple[int, int], output: str,
    shipped: Path,
) -> None:  # fmt: skip
    manifest = read_artifact(shipped / name)  # every file's hash
    assert (manifest.kind, manifest.graph.precision) == (kind, precision)
    assert (manifest.graph.resolution, manifest.graph.batch) == (resolution, batch)
    assert [tensor.name for tensor in manifest.graph.outputs] == [output]
    assert manifest.weights.source == "demo"
    assert manifest.agreement.passed
    assert {path.name for path in (shipped / name).iterdir()} == {*manifest.files, "manifest.json"}
    if manifest.engine is not None:
        assert manifest.engine.state == "lowered"
        assert "math.json" in manifest.files


@pytest.mark.parametrize("name", [CLASSES, LOGITS])
def test_a_lowered_engine_agrees_with_pytorch(name: str, shipped: Path) -> None:
    manifest = read_artifact(shipped / name)
    with opened(shipped / name, manifest) as (infer, _):
        agreement = compare_reference(infer, manifest, Reference.load(shipped / name))
    assert agreement.passed
    assert len(agreement.frames) == {CLASSES: 1, LOGITS: 4}[name]


@pytest.mark.parametrize("content", [None, b"", b"not an archive", "truncated"])
def test_a_damaged_archive_is_refused(content: bytes | str | None, tmp_path: Path) -> None:
    path = tmp_path / "selftest.tar.xz"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else ARCHIVE.read_bytes()[:100_000])
    with pytest.raises(ArtifactError, match="cannot be read") as caught:
        unpack(tmp_path / "out", path)
    assert caught.value.fix == "pip install --force-reinstall evit-deploy"


@pytest.mark.parametrize("name", ["../evil", "/evil", f"{CLASSES}/../evil", "other/file", f"{CLASSES}/.."])
def test_an_archive_writes_nowhere_else(name: str, tmp_path: Path) -> None:
    path = tmp_path / "selftest.tar.xz"
    with tarfile.open(path, "w:xz") as tar:
        member = tarfile.TarInfo(name)
        member.size = 4
        tar.addfile(member, io.BytesIO(b"evil"))
    with pytest.raises(ArtifactError, match="cannot be read"):
        unpack(tmp_path / "out", path)
    assert not list(tmp_path.rglob("*evil*"))


def test_a_link_has_no_place_in_it(tmp_path: Path) -> None:
    path = tmp_path / "selftest.tar.xz"
    with tarfile.open(path, "w:xz") as tar:
        member = tarfile.TarInfo(f"{CLASSES}/model.onnx")
        member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(member)
    with pytest.raises(ArtifactError, match="no place"):
        unpack(tmp_path / "out", path)
