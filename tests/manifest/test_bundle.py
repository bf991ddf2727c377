# SPDX-License-Identifier: Apache-2.0
"""Bundles: parts that belong together, read and written whole or not at all."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from evit_deploy.errors import ArtifactError, UsageError
from evit_deploy.manifest import (
    ENCODER,
    is_bundle,
    kind_of,
    read_artifact,
    read_bundle,
    read_existing_bundle,
    read_manifest,
    write_bundle,
)
from tests.manifest.sample import SHA, entries, sample_bundle, snapshot, write_sample, write_sample_bundle

OTHER = "f" * 64


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    folder = tmp_path / "engines" / "l0-sam.cpu.fp32"
    write_sample_bundle(folder, "engine")
    return folder


def test_what_was_written_is_read(bundle: Path) -> None:
    found, parts = read_bundle(bundle)
    assert dataclasses.replace(found, parts={}) == sample_bundle("engine")
    assert list(parts) == list(found.parts) == ["encoder", "decoder"]
    for name, part in parts.items():
        assert part == read_artifact(bundle / name)
        assert found.parts[name].key == part.key
    assert entries(bundle) == ["decoder", "encoder", "manifest.json"]
    assert entries(bundle.parent) == [bundle.name]


def test_telling_them_apart(bundle: Path, tmp_path: Path) -> None:
    assert is_bundle(bundle)
    assert kind_of(bundle) == "engine"
    assert not is_bundle(bundle / ENCODER)
    assert kind_of(bundle / ENCODER) == "engine"
    assert not is_bundle(tmp_path)
    assert not is_bundle(tmp_path / "nowhere")
    (tmp_path / "manifest.json").write_text("[]")
    assert not is_bundle(tmp_path)
    with pytest.raises(UsageError, match="no such folder"):
        kind_of(tmp_path / "nowhere")


def test_it_is_no_artifact_of_one_graph(bundle: Path) -> None:
    with pytest.raises(UsageError, match=r"several graphs") as caught:
        read_manifest(bundle)
    assert str(bundle / "encoder") in str(caught.value)
    with pytest.raises(UsageError, match="has no parts"):
        read_bundle(bundle / "encoder")


@pytest.mark.parametrize("name", ["encoder/model.onnx", "decoder/reference.npz", "encoder/manifest.json"])
def test_any_change_is_found(bundle: Path, name: str) -> None:
    path = bundle / name
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(ArtifactError):
        read_bundle(bundle)
    assert read_existing_bundle(bundle, SHA) is None


def test_a_part_built_by_itself_is_not_taken_for_the_verified_one(bundle: Path) -> None:
    write_sample(bundle / "encoder", "engine", OTHER)
    with pytest.raises(ArtifactError, match="not the part") as caught:
        read_bundle(bundle)
    assert f"evit-deploy build {bundle}" in str(caught.value)


def test_a_part_that_is_gone(bundle: Path) -> None:
    (bundle / "decoder").rename(bundle.parent / "elsewhere")
    with pytest.raises(ArtifactError, match="no folder decoder"):
        read_bundle(bundle)


@pytest.mark.parametrize("name", ["../encoder", "en/coder", "Encoder", "", ".", "decoder-1x"])
def test_names_that_lead_elsewhere_are_refused(bundle: Path, name: str) -> None:
    path = bundle / "manifest.json"
    data = json.loads(path.read_text())
    data["parts"] = {name: data["parts"]["encoder"]}
    path.write_text(json.dumps(data))
    with pytest.raises(ArtifactError, match="schema"):
        read_bundle(bundle)


def test_a_newer_version(bundle: Path) -> None:
    path = bundle / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "schema": 99}))
    with pytest.raises(ArtifactError, match="newer"):
        read_bundle(bundle)
    with pytest.raises(ArtifactError, match="newer"):
        kind_of(bundle)


def test_by_key(bundle: Path) -> None:
    assert read_existing_bundle(bundle, SHA) is not None
    assert read_existing_bundle(bundle, OTHER) is None
    assert read_existing_bundle(bundle.parent, SHA) is None


def test_earlier_parts_are_at_hand_and_can_be_replaced(bundle: Path) -> None:
    before = snapshot(bundle)
    with write_bundle(bundle) as writer:
        assert snapshot(writer.folder) == {name: data for name, data in before.items() if name != "manifest.json"}
        write_sample(writer.part("encoder"), "engine", OTHER, {"model.onnx": b"new", "reference.npz": b"new"})
        assert snapshot(bundle) == before, "the folder stays as it was until the end"
        written = writer.commit(sample_bundle("engine", OTHER), ("encoder", "decoder"))
    assert read_bundle(bundle)[0] == written
    after = snapshot(bundle)
    assert after["encoder/model.onnx"] == b"new"
    assert after["decoder/manifest.json"] == before["decoder/manifest.json"]
    assert entries(bundle) == ["decoder", "encoder", "manifest.json"]


def test_what_is_left_of_a_part_is_not_in_the_way(bundle: Path) -> None:
    """Without its manifest it is no part, and who builds it anew finds an empty place."""
    (bundle / "decoder" / "manifest.json").unlink()
    with write_bundle(bundle) as writer:
        assert not writer.part("decoder").exists()
        assert writer.part("encoder").is_dir()
        write_sample(writer.part("decoder"), "engine", OTHER, {"model.onnx": b"new", "reference.npz": b"new"})
        written = writer.commit(sample_bundle("engine", OTHER), ("encoder", "decoder"))
    assert read_bundle(bundle)[0] == written


def test_parts_that_are_not_named_are_dropped(bundle: Path) -> None:
    with write_bundle(bundle) as writer:
        (writer.folder / "notes.txt").write_text("left over")
        writer.commit(sample_bundle("engine", OTHER), ("encoder",))
    assert entries(bundle) == ["encoder", "manifest.json"]
    assert list(read_bundle(bundle)[1]) == ["encoder"]


def test_an_error_leaves_everything_as_it_was(bundle: Path) -> None:
    before = snapshot(bundle)
    with pytest.raises(RuntimeError), write_bundle(bundle) as writer:
        write_sample(writer.part("encoder"), "engine", OTHER)
        raise RuntimeError
    assert snapshot(bundle) == before
    assert entries(bundle.parent) == [bundle.name]


def test_a_damaged_part_is_not_committed(tmp_path: Path) -> None:
    folder = tmp_path / "bundle"
    with pytest.raises(ArtifactError), write_bundle(folder) as writer:
        write_sample(writer.part("encoder"))
        (writer.part("encoder") / "model.onnx").write_bytes(b"")
        writer.commit(sample_bundle(), ("encoder",))
    assert entries(tmp_path) == []


def test_one_writer_at_a_time(bundle: Path) -> None:
    with write_bundle(bundle), pytest.raises(UsageError, match="another process"), write_bundle(bundle):
        pass
