# SPDX-License-Identifier: Apache-2.0
"""The command line from end to end: what it prints, what it writes, how it exits."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import evit_deploy
from evit_deploy.cli import app as application
from evit_deploy.cli import targets as targets_command
from evit_deploy.cli.common import parse_batch, parse_resolution, plain_name, print_table
from evit_deploy.data.images import read_image, write_image
from evit_deploy.errors import UsageError
from evit_deploy.manifest import read_artifact, write_artifact
from evit_deploy.models import MODELS
from evit_deploy.runtime.verify import Reference
from evit_deploy.targets import TARGETS
from tests.cli.conftest import Program
from tests.conftest import require
from tests.manifest.sample import entries, snapshot

COMMANDS = (
    "models", "targets", "doctor", "advise", "predict", "selftest", "export", "build", "sign", "verify", "profile",
    "eval", "compare", "report", "inspect", "run", "demo-sam",
)  # fmt: skip
HEAVY = {
    "torch", "onnx", "onnxruntime", "openvino", "tensorrt_rtx", "cv2", "PIL", "huggingface_hub", "rich.progress",
    "matplotlib",
}  # fmt: skip
SMALL_EXPORT = ("export", "b0-seg", "--weights", "random", "--resolution", "64x128")
RANDOM = "warning: The weights are random"


@pytest.fixture
def workspace(small_workspace: Path, tmp_path: Path) -> Path:
    """The test's folder, holding the small export."""
    shutil.copytree(small_workspace / "export", tmp_path / "export")
    return tmp_path


@pytest.fixture
def engines(small_workspace: Path, tmp_path: Path) -> Path:
    """The test's folder, holding the small engines."""
    shutil.copytree(small_workspace / "engines", tmp_path / "engines")
    return tmp_path / "engines"


# The program itself


def test_help_comes_at_once(program: Program) -> None:
    times = []
    for _ in range(5):
        start = time.perf_counter()
        assert program("--help").code == 0
        times.append(time.perf_counter() - start)
    assert min(times) < 0.4


@pytest.mark.parametrize("arguments", [["--help"], ["models"], ["targets", "--json"], ["export", "--help"]])
def test_small_commands_import_nothing_heavy(arguments: list[str]) -> None:
    source = (
        "import sys\nfrom evit_deploy.cli.main import main\n"
        f"sys.argv = ['evit-deploy', *{arguments!r}]\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "print('LOADED', *sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.rpartition("LOADED")[2].split())
    assert "typer" in loaded
    assert not loaded & HEAVY


def test_help_names_every_command(evit: Program) -> None:
    answer = evit("--help")
    assert answer.code == 0
    assert re.findall(r"^  ([a-z][a-z-]+)  ", answer.out, flags=re.MULTILINE) == list(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str, evit: Program) -> None:
    answer = evit(command, "--help")
    assert answer.code == 0
    assert "Usage:" in answer.out
    assert ("--json" in answer.out) == (command != "demo-sam")


@pytest.mark.parametrize(
    "option",
    ["--fp32", "--bf16", "--fp16", "--int8", "--target", "--workspace", "--compiler", "--arch", "--attention"],
)
def test_build_has_the_options_of_the_surface(option: str, evit: Program) -> None:
    assert option in evit("build", "--help").out


def test_version(evit: Program) -> None:
    answer = evit("--version")
    assert (answer.code, answer.out) == (0, f"evit-deploy {evit_deploy.__version__}\n")


@pytest.mark.parametrize(
    "arguments",
    [["nonsense"], ["models", "--nonsense"], ["export"], ["run", "engine"], ["export", "b0-seg", "--opset", "x"]],
    ids=" ".join,
)
def test_wrong_usage_exits_2(arguments: list[str], evit: Program) -> None:
    answer = evit(*arguments)
    assert answer.code == 2
    assert "Usage:" in answer.err
    assert "Traceback" not in answer.err


def test_a_missing_typer_names_the_extra() -> None:
    source = "import sys; sys.modules['typer'] = None; from evit_deploy.cli.main import main; main()"
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=False)
    assert done.returncode == 3
    assert "pip install 'evit-deploy[cli]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_reader_that_leaves_early_is_no_bug() -> None:
    command = [sys.executable, "-m", "evit_deploy.cli.main", "models"]
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    finally:
        os.close(writer)
    assert done.returncode != 0
    assert "bug" not in done.stderr
    assert "Traceback" not in done.stderr


def test_an_interrupt_ends_without_a_traceback(evit: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(targets_command, "print_table", interrupted)
    answer = evit("targets")
    assert answer.code not in (0, 2, 3)
    assert "Traceback" not in answer.err


@pytest.mark.parametrize("debug", [False, True])
def test_a_bug_says_that_it_is_one(debug: bool, evit: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("a slip")

    monkeypatch.setattr(targets_command, "print_table", broken)
    answer = evit(*(["--debug"] if debug else []), "targets")
    assert answer.code == 1
    assert "this is a bug: ZeroDivisionError: a slip" in answer.message
    assert "--debug" in answer.message
    assert ("Traceback" in answer.err) == debug


def test_build_goes_on_after_a_damaged_export(evit: Program, workspace: Path) -> None:
    shutil.copytree(workspace / "export" / "b0-seg", workspace / "export" / "a-damaged")
    (workspace / "export" / "a-damaged" / "model.onnx").write_bytes(b"")
    answer = evit("build")
    assert answer.code == 2
    assert "a-damaged/model.onnx is not the file that was verified" in answer.err
    assert [path.name for path in (workspace / "engines").glob("[!.]*")] == ["b0-seg.cpu.fp32"]


def test_a_model_may_be_called_as_the_reference_calls_it(evit: Program, workspace: Path) -> None:
    answer = evit("build", "efficientvit-seg-b0-cityscapes")
    assert answer.code == 0, answer.err
    assert (workspace / "engines" / "b0-seg.cpu.fp32").is_dir()


@pytest.mark.parametrize(
    ("arguments", "code"),
    [(["export", "b9-seg"], 2), (["build", "--bf16", "--compiler", "onnxruntime", "b0-seg"], 3)],
)
def test_debug_adds_the_traceback_and_keeps_the_exit_code(arguments: list[str], code: int, evit: Program) -> None:
    plain, debug = evit(*arguments), evit("--debug", *arguments)
    assert (plain.code, debug.code) == (code, code)
    assert "Traceback" not in plain.err
    assert "Traceback" in debug.err
    assert plain.message == debug.err[debug.err.rindex("evit-deploy: ") :].strip()
    assert application.state.debug


# Tables


def test_models_lists_the_zoo(evit: Program) -> None:
    table = evit("models").out.splitlines()
    assert [line.split()[0] for line in table[2:]] == list(MODELS)
    data = json.loads(evit("models", "--json").out)
    assert [model["name"] for model in data] == list(MODELS)
    assert [model["name"] for model in data if model["demo_weights"]] == [
        name for name, spec in MODELS.items() if spec.has_demo_weights
    ]


def test_targets_lists_the_machines(evit: Program) -> None:
    table = evit("targets").out.splitlines()
    assert [line.split()[0] for line in table[2:]] == list(TARGETS)
    data = json.loads(evit("targets", "--json").out)
    assert [target["name"] for target in data] == list(TARGETS)
    assert data[0]["precisions"] == ["fp32", "bf16"]


def test_doctor_examines_the_workspace(evit: Program, tmp_path: Path) -> None:
    answer = evit("doctor", "--workspace", tmp_path)
    assert answer.code == 0
    assert re.search(rf"^ok  workspace +{tmp_path}, \d+ GB free$", answer.out, flags=re.MULTILINE)
    data = json.loads(evit("doctor", "--json").out)
    assert data["machine"]["evit-deploy"] == evit_deploy.__version__
    assert {"name", "ok", "found", "fix", "optional"} == set(data["checks"][0])


def test_a_table_lines_up(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(["name", "ms", "note"], [["a", "1.5", "x"], ["longer", "10.25", ""], ["b", "-", "y"]])
    assert capsys.readouterr().out.splitlines() == [
        "name       ms  note",
        "------  -----  ----",
        "a         1.5  x",
        "longer  10.25",
        "b           -  y",
    ]


# Words for sizes


@given(st.integers(0, 99_999), st.integers(0, 99_999), st.sampled_from("xX"))
def test_resolutions_are_read(height: int, width: int, cross: str) -> None:
    assert parse_resolution(f"{height}{cross}{width}") == (height, width)


@given(
    st.text(alphabet="0123456789xX.-+ ²٣,", max_size=8).filter(
        lambda t: not re.fullmatch(r"[0-9]{1,5}[xX][0-9]{1,5}", t)
    )
)
def test_other_resolutions_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="no resolution"):
        parse_resolution(text)


@given(st.integers(0, 99_999), st.integers(0, 99_999))
def test_batches_are_read(low: int, high: int) -> None:
    assert parse_batch(f"{low}") == (low, low)
    assert parse_batch(f"{low}..{high}") == (low, high)


@pytest.mark.parametrize("text", ["", "x", "1..", "..2", "1...2", "1-2", "-1", "1.5", "²", " 1", "1..2..3", "9" * 5000])
def test_other_batches_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="no batch"):
        parse_batch(text)


@pytest.mark.parametrize(
    ("text", "fine"),
    [("b0-seg", True), ("my model", True), ("a.b", True), ("ü", True)]
    + [(text, False) for text in ("", ".", "..", ".hidden", "a/b", "/a", "../a", "a\\b", "a\x00")],
)
def test_names_of_folders(text: str, fine: bool) -> None:
    if fine:
        assert plain_name(text) == text
    else:
        with pytest.raises(UsageError, match="no name of a folder"):
            plain_name(text)


# Export


def test_export_writes_and_then_has_nothing_to_do(evit: Program, tmp_path: Path) -> None:
    first = evit(*SMALL_EXPORT)
    assert first.code == 0
    assert RANDOM in first.err
    assert "worst" in first.out
    assert "next:  evit-deploy build b0-seg --target cpu" in first.out
    assert read_artifact(tmp_path / "export" / "b0-seg").agreement.passed
    before = snapshot(tmp_path)
    second = evit(*SMALL_EXPORT)
    assert second.code == 0
    assert "nothing to do: export/b0-seg is exactly this export" in second.out
    assert RANDOM in second.err
    assert snapshot(tmp_path) == before


def test_export_prints_json_alone(evit: Program, tmp_path: Path) -> None:
    answer = evit(*SMALL_EXPORT, "--json", "--name", "mine", "--output", "logits", "--opset", "18", "--batch", "1..2")
    assert answer.code == 0
    data = json.loads(answer.out)
    assert data["graph"]["opset"] == 18
    assert data["graph"]["batch"] == [1, 2]
    assert data["graph"]["outputs"][0]["shape"] == [-1, 19, 8, 16]
    assert entries(tmp_path / "export") == ["mine"]


def test_export_proves_agreement_on_the_users_images(evit: Program, tmp_path: Path, frame: np.ndarray) -> None:
    write_image(tmp_path / "images" / "street.png", frame)
    answer = evit(*SMALL_EXPORT, "--images", "images", "--json")
    assert answer.code == 0
    assert [row["frame"] for row in json.loads(answer.out)["agreement"]["frames"]] == ["street.png"]
    assert Reference.load(tmp_path / "export" / "b0-seg").names == ("street.png",)


def test_the_alias_of_the_reference_is_a_name(evit: Program, tmp_path: Path) -> None:
    assert evit("export", "efficientvit-seg-b0-cityscapes", *SMALL_EXPORT[2:]).code == 0
    assert entries(tmp_path / "export") == ["b0-seg"]


@pytest.mark.parametrize("way", ["option", "variable"])
def test_the_workspace_can_be_elsewhere(
    way: str, evit: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if way == "variable":
        monkeypatch.setenv("EVIT_WORKSPACE", str(tmp_path / "else where"))
    options = ["--workspace", tmp_path / "else where"] if way == "option" else []
    assert evit(*SMALL_EXPORT, *options).code == 0
    assert evit("build", *options).code == 0
    assert entries(tmp_path) == ["else where"]
    assert entries(tmp_path / "else where" / "engines") == ["b0-seg.cpu.fp32"]


# Build


def test_build_without_a_model_builds_all_exports(evit: Program, workspace: Path) -> None:
    shutil.copytree(workspace / "export" / "b0-seg", workspace / "export" / "another")
    shutil.copytree(workspace / "export" / "b0-seg", workspace / "export" / ".b0-seg.tmp-12345678")
    (workspace / "export" / "README.md").write_text("a room", encoding="utf-8")
    first = evit("build")
    assert first.code == 0
    assert entries(workspace / "engines") == ["another.cpu.fp32", "b0-seg.cpu.fp32"]
    assert first.err.count(RANDOM) == 2
    second = evit("build")
    assert second.code == 0
    assert second.out.count("nothing to do") == 2
    assert second.err.count(RANDOM) == 2


@pytest.mark.parametrize("name", ["b0-seg", "export/b0-seg", "./export/b0-seg/"])
def test_build_takes_a_name_or_a_folder(name: str, evit: Program, workspace: Path) -> None:
    answer = evit("build", name, "--compiler", "onnxruntime", "--json")
    assert answer.code == 0
    assert [engine["engine"]["compiler"] for engine in json.loads(answer.out)] == ["onnxruntime"]
    assert entries(workspace / "engines") == ["b0-seg.cpu.fp32.onnxruntime"]


def test_build_takes_a_folder_outside_the_workspace(evit: Program, workspace: Path) -> None:
    answer = evit("build", workspace / "export" / "b0-seg", "--workspace", "other")
    assert answer.code == 0
    assert entries(workspace / "other" / "engines") == ["b0-seg.cpu.fp32"]


def test_build_takes_an_architecture(evit: Program, workspace: Path) -> None:
    require("tensorrt_rtx")
    assert "engines/b0-seg.rtx-sm80.fp32\n" in evit("build", "b0-seg", "--target", "rtx", "--arch", "8.0").err
    refused = evit("build", "b0-seg", "--target", "rtx", "--arch", "sm87")
    assert refused.code == 2
    assert "one of sm75, sm80" in refused.message
    assert evit("build", "b0-seg", "--target", "cpu", "--arch", "sm80").code == 2
    assert not list((workspace / "engines").glob("*cpu*"))


# Run


def test_run_writes_an_overlay(evit: Program, engines: Path, frame: np.ndarray) -> None:
    write_image(Path("street.png"), frame)
    answer = evit("run", "b0-seg.cpu.fp32.onnxruntime", "street.png", "--out", "new/out.png")
    assert answer.code == 0
    assert RANDOM in answer.err
    assert re.fullmatch(r"street\.png: [a-z ]+ \d+%.* -> new/out\.png\n", answer.out)
    overlay = read_image(Path("new/out.png"))
    assert overlay.shape == frame.shape
    with evit_deploy.load(engines / "b0-seg.cpu.fp32.onnxruntime") as segment:
        assert np.array_equal(overlay, segment(frame).overlay(frame))


@pytest.mark.parametrize("compiler", ["onnxruntime", "openvino"])
def test_run_draws_a_scene_beside_the_program(compiler: str, evit: Program, engines: Path, tmp_path: Path) -> None:
    answer = evit("run", engines / f"b0-seg.cpu.fp32.{compiler}", "scene:3")
    assert answer.code == 0
    assert entries(tmp_path) == ["engines", "scene-3.overlay.png"]
    assert read_image(tmp_path / "scene-3.overlay.png").shape == (1024, 2048, 3)


def test_run_takes_a_folder_and_overwrites_none_of_its_own(
    evit: Program, engines: Path, tmp_path: Path, frame: np.ndarray
) -> None:
    for name in ("a.png", "a.bmp", "deep/a.png", "b.jpg"):
        write_image(tmp_path / "images" / name, frame)
    (tmp_path / "images" / "notes.txt").write_text("no image", encoding="utf-8")
    answer = evit("run", engines / "b0-seg.cpu.fp32.onnxruntime", "images", "--out", "overlays")
    assert answer.code == 0
    names = ["a-2.overlay.png", "a-3.overlay.png", "a.overlay.png", "b.overlay.png"]
    assert entries(tmp_path / "overlays") == names
    assert sorted(re.findall(r"-> overlays/(\S+)", answer.out)) == names


# Verify and profile


def test_verify_passes(evit: Program, engines: Path) -> None:
    answer = evit("verify", "b0-seg.cpu.fp32.onnxruntime")
    assert answer.code == 0
    assert "passed against PyTorch" in answer.out
    assert RANDOM in answer.err
    data = json.loads(evit("verify", engines / "b0-seg.cpu.fp32.openvino", "--json").out)
    assert data["passed"] is True
    assert len(data["frames"]) == len(Reference.load(engines / "b0-seg.cpu.fp32.openvino").names)


def test_verify_takes_the_users_images(evit: Program, engines: Path, tmp_path: Path, frame: np.ndarray) -> None:
    write_image(tmp_path / "images" / "street.png", frame)
    answer = evit("verify", engines / "b0-seg.cpu.fp32.onnxruntime", "--images", "images", "--json")
    assert answer.code == 0
    assert [row["frame"] for row in json.loads(answer.out)["frames"]] == ["street.png"]


def _with_other_reference(engine: Path) -> None:
    """Give an engine the answers of another model, hashes and all: whole, but wrong."""
    manifest, reference = read_artifact(engine), Reference.load(engine)
    files = {name: (engine / name).read_bytes() for name in manifest.files}
    with write_artifact(engine) as writer:
        for name, content in files.items():
            (writer.folder / name).write_bytes(content)
        replace(reference, logits=np.roll(reference.logits, 1, axis=1)).save(writer.folder)
        writer.commit(manifest)


@pytest.mark.parametrize("json_too", [False, True])
def test_verify_exits_1_when_the_engine_disagrees(json_too: bool, evit: Program, engines: Path) -> None:
    engine = engines / "b0-seg.cpu.fp32.onnxruntime"
    _with_other_reference(engine)
    before = snapshot(engines)
    answer = evit("verify", engine, *(["--json"] if json_too else []))
    assert answer.code == 1
    assert "does not agree with PyTorch" in answer.message
    assert "of classes equal" in answer.message
    assert "Traceback" not in answer.err
    if json_too:
        assert json.loads(answer.out)["passed"] is False
    else:
        assert "FAILED against" in answer.out
    assert snapshot(engines) == before


def test_profile_writes_a_report(evit: Program, engines: Path, tmp_path: Path) -> None:
    answer = evit("profile", engines / "b0-seg.cpu.fp32.onnxruntime")
    assert answer.code == 0
    assert "p50 ms" in answer.out
    assert "peak memory" in answer.out
    reports = list((tmp_path / "profiles").rglob("report.json"))
    assert len(reports) == 1
    assert json.loads(reports[0].read_text(encoding="utf-8"))
    assert reports[0].with_name("report.html").is_file()


def test_profile_wants_enough_runs(evit: Program, engines: Path) -> None:
    answer = evit("profile", engines / "b0-seg.cpu.fp32.onnxruntime", "--runs", "3")
    assert answer.code == 2
    assert "100" in answer.err


# All of it, as a user does


def test_from_weights_to_picture_in_processes_of_their_own(program: Program, tmp_path: Path) -> None:
    for arguments in (
        SMALL_EXPORT,
        ("build", "b0-seg", "--target", "cpu", "--fp32"),
        ("verify", "engines/b0-seg.cpu.fp32"),
        ("run", "engines/b0-seg.cpu.fp32", "scene:1", "--out", "out.png"),
    ):
        answer = program(*arguments)
        assert answer.code == 0, answer.err
        assert RANDOM in answer.err
        assert "Traceback" not in answer.err
    assert read_image(tmp_path / "out.png").shape == (1024, 2048, 3)
