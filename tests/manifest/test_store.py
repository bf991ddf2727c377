# SPDX-License-Identifier: Apache-2.0
"""Artifact folders: every way they can be damaged is refused, and every way writing can fail leaves no trace."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evit_deploy.errors import ArtifactError, EvitError, UsageError
from evit_deploy.manifest import (
    content_key,
    read_artifact,
    read_existing,
    read_manifest,
    sha256_of,
    store,
    write_artifact,
)
from tests.manifest.sample import SHA, entries, sample_manifest, snapshot, write_sample

ROOT = Path(__file__).parents[2]
OTHER = "f" * 64


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    folder = tmp_path / "engines" / "b0-seg.cpu.fp32"
    write_sample(folder, "engine")
    return folder


def _edit(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    path = folder / "manifest.json"
    data = json.loads(path.read_text(encoding="utf-8"))
    change(data)
    path.write_text(json.dumps(data), encoding="utf-8")


def _python(program: str, *arguments: object) -> subprocess.Popen[str]:
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, "-c", program, *map(str, arguments)], cwd=ROOT, **pipes)


# Reading


def test_what_was_written_is_read(tmp_path: Path) -> None:
    written = write_sample(tmp_path / "new" / "export" / "b0-seg")
    assert read_artifact(tmp_path / "new" / "export" / "b0-seg") == written
    assert written.files["model.onnx"].bytes == len(b"a graph")
    assert written.files["model.onnx"].sha256 == sha256_of(tmp_path / "new" / "export" / "b0-seg" / "model.onnx")
    assert set(written.files) == {"model.onnx", "reference.npz"}


@pytest.mark.parametrize(("place", "found"), [("nowhere", "no such folder"), (".", "no manifest.json")])
def test_a_folder_that_is_no_artifact(place: str, found: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not an artifact") as caught:
        read_manifest(tmp_path / place)
    assert caught.value.found == found
    assert "evit-deploy export" in str(caught.value.fix)


def test_a_file_in_place_of_the_folder(artifact: Path) -> None:
    with pytest.raises(UsageError, match="is not an artifact"):
        read_manifest(artifact / "model.onnx")


@pytest.mark.parametrize(
    "content",
    [b"", b"hello", b'{"schema": 1', b"\xff\xfe\x00", b"[" * 100_000, b'{"schema": 1} x'],
    ids=["empty", "text", "truncated", "binary", "deep", "trailing"],
)
def test_a_manifest_that_is_not_json(content: bytes, artifact: Path) -> None:
    (artifact / "manifest.json").write_bytes(content)
    with pytest.raises(ArtifactError, match="cannot be read") as caught:
        read_manifest(artifact)
    assert caught.value.found
    assert caught.value.fix == "write the artifact again"


@pytest.mark.parametrize("content", ["[]", "3", "null", "{}", '{"schema": "1"}', '{"schema": true}', '{"schema": 1.5}'])
def test_json_that_is_not_a_manifest(content: str, artifact: Path) -> None:
    (artifact / "manifest.json").write_text(content, encoding="utf-8")
    with pytest.raises(ArtifactError, match="is not a manifest"):
        read_manifest(artifact)


@pytest.mark.parametrize("version", [2, 3, 10**30])
def test_a_newer_version_names_the_upgrade(version: int, artifact: Path) -> None:
    def newer(data: dict[str, Any]) -> None:
        data.update(schema=version, invention="that this version does not know")

    _edit(artifact, newer)
    with pytest.raises(ArtifactError, match="newer evit-deploy") as caught:
        read_manifest(artifact)
    assert str(version) in str(caught.value.found)
    assert "at most 1" in str(caught.value.expected)
    assert "pip install --upgrade" in str(caught.value.fix)


@pytest.mark.parametrize("version", [0, -1])
def test_a_version_that_never_was(version: int, artifact: Path) -> None:
    _edit(artifact, lambda data: data.update(schema=version))
    with pytest.raises(ArtifactError, match="does not follow the manifest schema"):
        read_manifest(artifact)


def test_a_broken_field_is_named(artifact: Path) -> None:
    _edit(artifact, lambda data: data["graph"].update(opset="seventeen"))
    with pytest.raises(ArtifactError, match="schema") as caught:
        read_manifest(artifact)
    assert "graph.opset must be integer" in str(caught.value.found)


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[0] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("damage", [_truncate, _flip, lambda path: path.write_bytes(b"")], ids=["cut", "bit", "empty"])
@pytest.mark.parametrize("name", ["model.onnx", "reference.npz"])
def test_a_damaged_file_is_refused(name: str, damage: Callable[[Path], None], artifact: Path) -> None:
    expected = read_manifest(artifact).files[name].sha256
    damage(artifact / name)
    with pytest.raises(ArtifactError, match="is not the file that was verified") as caught:
        read_artifact(artifact)
    assert name in caught.value.what
    assert expected[:16] in str(caught.value.expected)
    assert sha256_of(artifact / name)[:16] in str(caught.value.found)


def test_a_missing_file_is_refused(artifact: Path) -> None:
    (artifact / "reference.npz").unlink()
    with pytest.raises(ArtifactError, match="incomplete") as caught:
        read_artifact(artifact)
    assert caught.value.found == "no file reference.npz"


@pytest.mark.parametrize("name", ["../secret", "/etc/hostname", "a/b", "..", ".", "", "a\x00b"])
def test_a_file_name_may_not_lead_elsewhere(name: str, artifact: Path) -> None:
    (artifact.parent / "secret").write_bytes(b"a graph")
    (artifact / "a").mkdir()
    (artifact / "a" / "b").write_bytes(b"a graph")
    _edit(artifact, lambda data: data["files"].update({name: data["files"]["model.onnx"]}))
    with pytest.raises(ArtifactError, match="incomplete"):
        read_artifact(artifact)


@pytest.mark.parametrize(("room", "field"), [("engine", "entry"), ("graph", "file")])
@pytest.mark.parametrize("name", ["other.xml", "../other.xml"])
def test_a_file_without_a_hash_is_not_used(room: str, field: str, name: str, artifact: Path) -> None:
    (artifact / name).write_bytes(b"never verified")
    _edit(artifact, lambda data: data[room].update({field: name}))
    with pytest.raises(ArtifactError, match="lists no hash for") as caught:
        read_artifact(artifact)
    assert name in caught.value.what


# The content key


JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=4), st.lists, max_leaves=4)


@given(st.dictionaries(st.text(min_size=1, max_size=4), JSON, max_size=4), st.randoms())
def test_the_key_depends_on_the_values_and_not_on_their_order(inputs: dict[str, Any], random: Any) -> None:
    items = list(inputs.items())
    random.shuffle(items)
    assert content_key(**dict(items)) == content_key(**inputs)
    assert content_key(**inputs, another_input=1) != content_key(**inputs)
    for name in inputs:
        assert content_key(**{**inputs, name: "another value"}) != content_key(**inputs)


def test_an_existing_artifact_counts_only_if_it_is_the_same_and_whole(artifact: Path) -> None:
    assert read_existing(artifact, SHA) == read_manifest(artifact)
    assert read_existing(artifact, OTHER) is None
    assert read_existing(artifact.parent / "none", SHA) is None
    _flip(artifact / "model.onnx")
    assert read_existing(artifact, SHA) is None


# Writing


def test_a_second_write_replaces_the_first(artifact: Path) -> None:
    write_sample(artifact, "engine", OTHER, {"model.onnx": b"another graph"})
    assert read_artifact(artifact).key == OTHER
    assert entries(artifact) == ["manifest.json", "model.onnx"]
    assert entries(artifact.parent) == [artifact.name]


def test_the_folder_can_be_read_by_others(artifact: Path) -> None:
    assert artifact.stat().st_mode & 0o777 == 0o755


def test_without_commit_nothing_is_written(tmp_path: Path) -> None:
    with write_artifact(tmp_path / "b0-seg") as writer:
        (writer.folder / "model.onnx").write_bytes(b"half")
    assert entries(tmp_path) == []


@pytest.mark.parametrize("error", [RuntimeError("in the middle"), KeyboardInterrupt(), SystemExit(4)])
def test_an_error_in_the_middle_leaves_the_earlier_artifact(error: BaseException, artifact: Path) -> None:
    before = snapshot(artifact.parent)
    with pytest.raises(type(error)), write_artifact(artifact) as writer:
        (writer.folder / "model.onnx").write_bytes(b"half")
        raise error
    assert snapshot(artifact.parent) == before
    assert entries(artifact.parent) == [artifact.name]


def test_a_manifest_that_breaks_the_schema_is_never_written(artifact: Path) -> None:
    before = snapshot(artifact.parent)
    with pytest.raises(ValueError, match="kind"), write_artifact(artifact) as writer:
        (writer.folder / "model.onnx").write_bytes(b"new")
        writer.commit(dataclasses.replace(sample_manifest(), kind="nonsense"))
    assert snapshot(artifact.parent) == before
    assert entries(artifact.parent) == [artifact.name]


@pytest.mark.parametrize("first", [True, False], ids=["first", "second"])
def test_a_failing_rename_leaves_what_was_there(first: bool, artifact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if first:
        shutil.rmtree(artifact)
    rename, before = Path.rename, snapshot(artifact.parent)

    def failing(self: Path, target: Path) -> Path:
        if ".tmp-" in self.name and not self.name.endswith(".old"):
            raise OSError(errno.EIO, "Input/output error", str(self))
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", failing)
    monkeypatch.setattr(store, "_exchange", lambda first, second: False)
    with pytest.raises(UsageError, match="cannot write") as caught:
        write_sample(artifact, "engine", OTHER)
    assert "Input/output error" in str(caught.value.found)
    assert snapshot(artifact.parent) == before
    assert entries(artifact.parent) == ([] if first else [artifact.name])


def test_two_renames_do_where_folders_cannot_be_exchanged(artifact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "_exchange", lambda first, second: False)
    write_sample(artifact, "engine", OTHER)
    assert read_artifact(artifact).key == OTHER
    assert entries(artifact.parent) == [artifact.name]


KILLED = """
import os, signal, sys
from pathlib import Path
from evit_deploy.manifest import store
from tests.manifest.sample import write_sample

moment, folder = sys.argv[1], Path(sys.argv[2])

def die(*arguments):
    os.kill(os.getpid(), signal.SIGKILL)

if moment == "hashing":
    store.sha256_of = die
elif moment == "written":
    store._replace_folder = die
elif moment == "exchanged":
    exchange = store._exchange
    store._exchange = lambda first, second: (exchange(first, second), die())
else:
    store._exchange = lambda first, second: False
    rename = Path.rename
    Path.rename = lambda self, target: (rename(self, target), die())
write_sample(folder, "engine", "f" * 64, {"model.onnx": b"another graph"})
"""


@pytest.mark.parametrize("moment", ["hashing", "written"])
def test_a_killed_writer_leaves_the_earlier_artifact(moment: str, artifact: Path) -> None:
    before = snapshot(artifact)
    assert _python(KILLED, moment, artifact).wait(60) == -signal.SIGKILL
    assert snapshot(artifact) == before
    assert read_artifact(artifact).key == SHA


def test_a_writer_killed_right_after_the_exchange_has_written_all(artifact: Path) -> None:
    (artifact.parent / "probe").mkdir()
    (artifact.parent / "other").mkdir()
    if not store._exchange(artifact.parent / "probe", artifact.parent / "other"):
        pytest.skip("this system cannot exchange folders in one step")
    assert _python(KILLED, "exchanged", artifact).wait(60) == -signal.SIGKILL
    assert read_artifact(artifact).key == OTHER


@pytest.mark.parametrize("moment", ["hashing", "written", "between renames"])
def test_the_next_writer_sweeps_up_after_a_killed_one(moment: str, artifact: Path) -> None:
    neighbour = artifact.with_name(artifact.name + ".openvino")
    write_sample(neighbour, "engine")
    assert _python(KILLED, moment, artifact).wait(60) == -signal.SIGKILL
    assert len(entries(artifact.parent)) > 2 or not artifact.exists()
    write_sample(artifact, "engine", OTHER)
    assert read_artifact(artifact).key == OTHER
    assert read_artifact(neighbour).key == SHA
    assert entries(artifact.parent) == [artifact.name, neighbour.name]


def test_an_artifact_that_stepped_aside_comes_back(artifact: Path) -> None:
    before = snapshot(artifact)
    assert _python(KILLED, "between renames", artifact).wait(60) == -signal.SIGKILL
    assert not artifact.exists()
    with pytest.raises(RuntimeError), write_artifact(artifact):
        raise RuntimeError("the next writer fails too")
    assert snapshot(artifact) == before


def test_sweeping_leaves_the_writer_of_a_neighbour_alone(artifact: Path) -> None:
    neighbour = artifact.with_name(artifact.name + ".openvino")
    with write_artifact(neighbour) as writer:
        (writer.folder / "model.onnx").write_bytes(b"a graph")
        write_sample(artifact, "engine", OTHER)
        writer.commit(sample_manifest("engine"))
    assert read_artifact(neighbour).key == SHA


def test_a_folder_of_the_users_is_not_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "b0-seg"
    folder.mkdir()
    (folder / "thesis.txt").write_text("ten years", encoding="utf-8")
    with pytest.raises(UsageError, match="in the way") as caught:
        write_sample(folder)
    assert "manifest.json" in str(caught.value.found)
    assert snapshot(tmp_path) == {"b0-seg/thesis.txt": b"ten years"}


def test_a_file_or_link_of_the_users_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"mine")
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "dead").symlink_to("nowhere")
    for name in ("file", "link", "dead"):
        with pytest.raises(UsageError, match="in the way"):
            write_sample(tmp_path / name)
    assert entries(tmp_path) == ["dead", "file", "link", "real"]
    assert (tmp_path / "file").read_bytes() == b"mine"


def test_an_empty_folder_may_be_filled(tmp_path: Path) -> None:
    (tmp_path / "b0-seg").mkdir()
    write_sample(tmp_path / "b0-seg")
    assert read_artifact(tmp_path / "b0-seg").key == SHA


def test_a_place_below_a_file_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"mine")
    with pytest.raises(UsageError, match="cannot write") as caught:
        write_sample(tmp_path / "file" / "export" / "b0-seg")
    assert str(tmp_path / "file") in str(caught.value.found)
    assert "--workspace" in str(caught.value.fix)
    assert entries(tmp_path) == ["file"]


@pytest.mark.parametrize("code", [errno.EACCES, errno.EROFS, errno.EDQUOT, errno.EMFILE])
def test_the_systems_refusal_is_put_into_words(code: int, artifact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: Any, **__: Any) -> str:
        raise OSError(code, os.strerror(code), "/the/place")

    monkeypatch.setattr(store.tempfile, "mkdtemp", refused)
    before = snapshot(artifact.parent)
    with pytest.raises(UsageError, match="cannot write") as caught:
        write_sample(artifact, "engine", OTHER)
    assert caught.value.found == f"{os.strerror(code)} (/the/place)"
    assert snapshot(artifact.parent) == before


# A full disk


def test_a_full_disk_leaves_the_earlier_artifact(small_disk: Path) -> None:
    folder = small_disk / "b0-seg"
    write_sample(folder)
    before = snapshot(small_disk)
    with pytest.raises(UsageError, match="cannot write") as caught:
        write_sample(folder, "export", OTHER, {"model.onnx": bytes(2_000_000)})
    assert "No space left on device" in str(caught.value.found)
    assert "free some space" in str(caught.value.fix)
    assert snapshot(small_disk) == before
    assert entries(small_disk) == ["b0-seg"]


def test_a_disk_that_fills_up_just_before_the_manifest(small_disk: Path) -> None:
    folder = small_disk / "b0-seg"
    write_sample(folder)
    before = snapshot(folder)
    with pytest.raises(UsageError, match="No space left"), write_artifact(folder) as writer:
        (writer.folder / "model.onnx").write_bytes(b"a graph")
        with (small_disk / "filler").open("wb") as filler:
            os.posix_fallocate(filler.fileno(), 0, shutil.disk_usage(small_disk).free)
        writer.commit(sample_manifest())
    assert snapshot(folder) == before
    assert entries(small_disk) == ["b0-seg", "filler"]


LIMITED = """
import resource, signal, sys
from pathlib import Path
from evit_deploy.errors import EvitError
from tests.manifest.sample import write_sample

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
try:
    write_sample(Path(sys.argv[1]), "engine", "f" * 64, {"model.onnx": bytes(100)})
except EvitError as error:
    print(error)
    sys.exit(error.exit_code)
"""


@pytest.mark.parametrize("limit", [10, 500], ids=["graph", "manifest"])
def test_a_file_that_may_not_grow_leaves_the_earlier_artifact(limit: int, artifact: Path) -> None:
    before = snapshot(artifact.parent)
    process = _python(LIMITED, artifact, limit)
    text = process.communicate(timeout=60)[0]
    assert process.returncode == 2
    assert "cannot write" in text
    assert "File too large" in text
    assert snapshot(artifact.parent) == before
    assert entries(artifact.parent) == [artifact.name]


# One writer at a time


HOLDER = """
import sys
from pathlib import Path
from evit_deploy.manifest import write_artifact
with write_artifact(Path(sys.argv[1])):
    print("locked", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(artifact: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that is writing the artifact."""
    process = _python(HOLDER, artifact)
    assert process.stdout is not None
    assert process.stdout.readline() == "locked\n"
    yield process
    process.kill()
    process.communicate(timeout=60)


def test_a_second_process_is_told_to_wait(artifact: Path, holder: subprocess.Popen[str]) -> None:
    before = snapshot(artifact)
    with pytest.raises(UsageError, match="another process is writing") as caught:
        write_sample(artifact, "engine", OTHER)
    assert "wait" in str(caught.value.fix)
    assert snapshot(artifact) == before
    assert read_artifact(artifact).key == SHA
    holder.communicate(timeout=60)
    write_sample(artifact, "engine", OTHER)
    assert read_artifact(artifact).key == OTHER


def test_other_artifacts_can_be_written_meanwhile(artifact: Path, holder: subprocess.Popen[str]) -> None:
    write_sample(artifact.with_name("another"), "engine")
    assert holder.poll() is None
    assert read_artifact(artifact.with_name("another")).key == SHA


def test_the_lock_of_a_killed_writer_is_free(artifact: Path, holder: subprocess.Popen[str]) -> None:
    holder.kill()
    holder.wait(60)
    write_sample(artifact, "engine", OTHER)
    assert read_artifact(artifact).key == OTHER


def test_a_missing_lock_package_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "filelock", None)
    with pytest.raises(EvitError, match=r"evit-deploy\[cli\]") as caught:
        write_sample(tmp_path / "b0-seg")
    assert caught.value.exit_code == 3
    assert entries(tmp_path) == []
