# SPDX-License-Identifier: Apache-2.0
"""Lowered engines compiled where the compiler is: without PyTorch or onnx, again and again, all or nothing."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from evit_deploy.engines import build_engine, compilation, get_compiler
from evit_deploy.engines.build import lower_engine
from evit_deploy.engines.compilation import as_lowered, compile_engine, compiled_key
from evit_deploy.engines.flops import MATH, count_math, graph_math
from evit_deploy.engines.lowering import emulated
from evit_deploy.errors import ArtifactError, CheckFailedError, UnavailableError, UsageError
from evit_deploy.manifest import ITSELF, read_artifact
from evit_deploy.targets.device import Device
from tests.conftest import require
from tests.engines.conftest import write_again
from tests.manifest.sample import entries, snapshot

FILES = ["engine.rtx", "factors.npz", "manifest.json", "math.json", "model.onnx", "plan.json", "reference.npz"]


@pytest.fixture(scope="module", autouse=True)
def compiler() -> None:
    require("tensorrt_rtx")


@pytest.fixture(scope="module")
def lowered_once(small_workspace: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lowered") / "b0-seg.rtx.fp16"
    _, written = lower_engine(small_workspace / "export" / "b0-seg", folder, target="rtx", precision="fp16")
    assert written
    return folder


@pytest.fixture
def lowered(lowered_once: Path, tmp_path: Path) -> Path:
    """A lowered engine that a test may change."""
    return Path(shutil.copytree(lowered_once, tmp_path / "b0-seg.rtx.fp16"))


def test_lowering_stays_lowered_where_it_could_be_compiled(lowered: Path) -> None:
    manifest = read_artifact(lowered)
    assert manifest.engine is not None
    assert (manifest.engine.state, manifest.engine.lowered) == ("lowered", None)
    assert entries(lowered) == ["factors.npz", "manifest.json", "math.json", "model.onnx", "reference.npz"]


def test_what_the_graph_computes_travels_with_it(lowered: Path) -> None:
    assert graph_math(lowered / "model.onnx") == count_math(lowered / "model.onnx")
    data = json.loads((lowered / MATH).read_text())
    assert data["types"] == ["FLOAT16"]
    assert sum(data["flops"].values()) > 1e6


def test_a_lowered_engine_is_compiled_in_place(lowered: Path) -> None:
    before = read_artifact(lowered)
    manifest, written = compile_engine(lowered, lowered, arch="sm80")
    assert written
    assert entries(lowered) == FILES
    assert manifest == read_artifact(lowered)
    engine = manifest.engine
    assert engine is not None
    assert before.engine is not None
    assert (engine.state, engine.compiler, engine.machine["arch"]) == ("compiled", "tensorrt_rtx", "sm80")
    assert engine.lowered is not None
    assert engine.lowered.key == before.key
    assert engine.lowered.agreement == before.agreement
    assert engine.notes[:-1] == engine.lowered.notes == before.engine.notes
    assert engine.notes[-1].startswith("not run where it was compiled: ")
    assert manifest.agreement == before.agreement
    assert manifest.agreement.method != ITSELF
    assert manifest.files["model.onnx"] == before.files["model.onnx"]


def test_compiling_again_is_a_no_op_and_another_architecture_is_not(lowered: Path) -> None:
    first, _ = compile_engine(lowered, lowered, arch="sm80")
    before = snapshot(lowered)
    again, written = compile_engine(lowered, lowered, arch="8.0")
    assert not written
    assert again == first
    assert snapshot(lowered) == before
    other, written = compile_engine(lowered, lowered, arch="sm86")
    assert written
    assert other.key != first.key
    assert entries(lowered) == FILES
    assert as_lowered(lowered, other).key == as_lowered(lowered, first).key


def test_one_way_or_two_give_the_same_engine(lowered: Path, small_workspace: Path, tmp_path: Path) -> None:
    two, _ = compile_engine(lowered, tmp_path / "two", arch="sm80")
    export = small_workspace / "export" / "b0-seg"
    one, _ = build_engine(export, tmp_path / "one", target="rtx", precision="fp16", arch="sm80")
    assert one.key == two.key
    assert one.files["model.onnx"] == two.files["model.onnx"]
    assert entries(lowered) == ["factors.npz", "manifest.json", "math.json", "model.onnx", "reference.npz"]
    assert not build_engine(export, tmp_path / "two", target="rtx", precision="fp16", arch="sm80")[1]


def test_a_lowered_graph_that_is_there_is_not_lowered_again(
    lowered: Path, small_workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*args: object) -> None:
        raise AssertionError("lowered again")

    monkeypatch.setattr("evit_deploy.engines.lowered.lower_graph", never)
    export = small_workspace / "export" / "b0-seg"
    manifest, written = build_engine(export, lowered, target="rtx", precision="fp16", arch="sm80")
    assert written
    assert manifest.engine is not None
    assert manifest.engine.state == "compiled"
    assert not lower_engine(export, lowered, target="rtx", precision="fp16")[1]


def test_the_compiler_and_its_level_are_part_of_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    rtx = get_compiler("tensorrt_rtx")
    keys = {
        compiled_key(lowered, rtx, arch, level) for lowered in "ab" for arch in ("sm80", "sm86") for level in (1, 2)
    }
    assert len(keys) == 8
    monkeypatch.setattr(type(rtx), "version", lambda self: "99.0")
    assert compiled_key("a", rtx, "sm80", 1) not in keys


def test_a_device_is_part_of_the_key_of_what_compiles_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    class ForTheDevice:
        name = "tensorrt"

        def version(self) -> str:
            return "10.3.0"

        def archs(self) -> tuple[str, ...]:
            return ()

    keys = set()
    for record in (
        {"gpu": "Orin", "multiprocessors": "16", "power mode": "MAXN", "driver": "12.6"},
        {"gpu": "Orin", "multiprocessors": "8", "power mode": "30W", "driver": "12.6"},
        {"gpu": "Orin", "multiprocessors": "8", "power mode": "30W", "driver": "13.2"},  # no plan depends on it
    ):
        monkeypatch.setattr(compilation, "machine_record", lambda device, record=record: record)
        monkeypatch.setattr(compilation, "this_device", object)
        keys.add(compiled_key("a", ForTheDevice(), None, None))  # type: ignore[arg-type]
    assert len(keys) == 2


DEVICE = """
import sys
for name in ("torch", "onnx", "onnxruntime", "onnxsim", "openvino", "typer", "rich", "cv2", "PIL", "matplotlib"):
    sys.modules[name] = None
from pathlib import Path
from evit_deploy.engines.compilation import compile_engine
manifest, written = compile_engine(Path(sys.argv[1]), Path(sys.argv[1]), arch="sm80")
print(manifest.engine.state, written)
"""


def test_a_device_needs_neither_pytorch_nor_onnx(lowered: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", DEVICE, str(lowered)], capture_output=True, text=True, check=False, timeout=300
    )
    assert done.stdout.split() == ["compiled", "True"], done.stderr
    plan = json.loads((lowered / "plan.json").read_text())
    assert plan["totals"]["flops"] == sum(json.loads((lowered / MATH).read_text())["flops"].values())


# Where it runs


def test_what_runs_here_is_verified_by_running(lowered: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison is the engine's own, and the emulation's stays beside it."""
    emulation = read_artifact(lowered).agreement
    opened = _runs_here(monkeypatch, lambda outputs: outputs)
    manifest, _ = compile_engine(lowered, lowered, arch="sm80")
    assert opened == [manifest.key]
    assert manifest.agreement.method == ITSELF
    assert manifest.agreement.frames == emulation.frames
    assert manifest.engine is not None
    assert manifest.engine.lowered is not None
    assert manifest.engine.lowered.agreement == emulation
    assert not any("not run" in note for note in manifest.engine.notes)


@pytest.mark.parametrize(
    "fault",
    [
        lambda outputs: {**outputs, "logits": outputs["logits"] * np.nan},
        lambda outputs: {**outputs, "classes": (outputs["classes"] + 1) % 19},
    ],
    ids=["nan", "shifted"],
)
def test_what_runs_here_and_disagrees_is_not_written(fault, lowered: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = snapshot(lowered)
    _runs_here(monkeypatch, fault)
    with pytest.raises(CheckFailedError, match="the fp16 engine compiled by tensorrt_rtx does not agree") as caught:
        compile_engine(lowered, lowered, arch="sm80")
    assert "--attention" in str(caught.value.fix)
    assert snapshot(lowered) == before


def _runs_here(monkeypatch: pytest.MonkeyPatch, change) -> list[str]:
    """Let compiled engines "run" on this machine: the emulation of their graph, with outputs changed."""
    opened = []

    class Running:
        def __init__(self, folder: Path, manifest) -> None:
            opened.append(manifest.key)
            self.emulation, _ = emulated(folder, manifest)

        def infer(self, inputs):
            return change(self.emulation(inputs))

        def __enter__(self):
            return self

        def __exit__(self, *error) -> None:
            pass

    monkeypatch.setattr(compilation, "obstacle", lambda manifest: None)
    monkeypatch.setattr(compilation, "open_engine", Running)
    return opened


def test_what_was_never_run_is_compiled_again_where_it_runs(lowered: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert compile_engine(lowered, lowered, arch="sm80")[0].agreement.method != ITSELF
    assert not compile_engine(lowered, lowered, arch="sm80")[1]
    _runs_here(monkeypatch, lambda outputs: outputs)
    manifest, written = compile_engine(lowered, lowered, arch="sm80")
    assert written
    assert manifest.agreement.method == ITSELF
    assert not compile_engine(lowered, lowered, arch="sm80")[1]


def test_what_compiles_for_the_gpu_at_hand_must_run_there(lowered: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else an engine would be written that nobody ever verified."""
    before = snapshot(lowered)
    rtx = get_compiler("tensorrt_rtx")
    monkeypatch.setattr(compilation, "choose_arch", lambda *choice: "sm80")
    real = type(rtx).compile
    monkeypatch.setattr(
        type(rtx), "compile", lambda self, job, progress: real(self, replace(job, arch="sm80"), progress)
    )
    monkeypatch.setattr(type(rtx), "archs", lambda self: ())
    with pytest.raises(UnavailableError, match="cannot be verified here") as caught:
        compile_engine(lowered, lowered)
    assert "GPU" in str(caught.value.found)
    assert snapshot(lowered) == before


def test_how_the_device_differs_from_the_target_is_noted() -> None:
    device = Device("Orin", "8.7", 8, 61.0, True, "12.6", power_mode="30W", l4t="36.4.3", jetpack="6.2")
    notes = list(compilation._notes(device, "orin"))
    assert any("multiprocessors is 8, where orin has" in note for note in notes)
    assert any("power mode is 30W, where orin has MAXN" in note for note in notes)
    assert list(compilation._notes(None, "orin")) == []


def test_a_file_that_changes_while_it_is_copied_is_found(
    lowered: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = shutil.copyfile

    def copy(source: Path, target: Path) -> None:
        real(source, target)
        if source.name == "model.onnx":
            target.write_bytes(target.read_bytes() + b"12345")

    monkeypatch.setattr(compilation.shutil, "copyfile", copy)
    with pytest.raises(ArtifactError, match=r"model\.onnx changed while it was copied"):
        compile_engine(lowered, tmp_path / "new", arch="sm80")
    assert not (tmp_path / "new").exists()


# What cannot be compiled


def test_an_export_and_a_cpus_engine_are_refused(own_export: Path, own_engine: Path, tmp_path: Path) -> None:
    for folder, words in ((own_export, "an export"), (own_engine, "an engine for cpu")):
        before = entries(tmp_path)
        with pytest.raises(UsageError, match="cannot be compiled") as caught:
            compile_engine(folder, tmp_path / "new")
        assert words in str(caught.value.found)
        assert caught.value.fix
        assert entries(tmp_path) == before


def test_without_the_compiler_the_reason_is_given(lowered: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = snapshot(lowered)
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", None)
    with pytest.raises(UnavailableError, match="no compiler on this machine") as caught:
        compile_engine(lowered, lowered, arch="sm80")
    assert "evit-deploy[rtx]" in str(caught.value)
    assert snapshot(lowered) == before


@pytest.mark.parametrize("name", ["model.onnx", "reference.npz", "math.json"])
@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_a_damaged_package_is_refused(name: str, damage: str, lowered: Path, tmp_path: Path) -> None:
    path = lowered / name
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(ArtifactError, match=name):
        compile_engine(lowered, tmp_path / "new", arch="sm80")
    assert not (tmp_path / "new").exists()


def test_numbers_that_make_no_sense_are_refused(lowered: Path, tmp_path: Path) -> None:
    write_again(lowered, lambda folder: (folder / MATH).write_text("[]") and None)
    with pytest.raises(ArtifactError, match=r"math\.json cannot be read"):
        compile_engine(lowered, tmp_path / "new", arch="sm80")
    assert not (tmp_path / "new").exists()


def test_an_engine_of_an_earlier_version_says_what_to_do(lowered: Path) -> None:
    manifest, _ = compile_engine(lowered, lowered, arch="sm80")
    assert manifest.engine is not None
    old = replace(manifest, engine=replace(manifest.engine, lowered=None))
    with pytest.raises(ArtifactError, match="does not say what it was compiled from") as caught:
        as_lowered(lowered, old)
    assert caught.value.fix == "build it from its export again"
