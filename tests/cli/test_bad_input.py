# SPDX-License-Identifier: Apache-2.0
"""Every wrong thing a person can hand over: one paragraph, the right exit code, and nothing touched."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from safetensors.torch import save_file

from evit_deploy.data.images import write_image
from evit_deploy.manifest import read_artifact
from evit_deploy.models import create_model
from evit_deploy.models.weights import DEMO_FOLDER
from tests.cli.conftest import Answer, Program
from tests.manifest.sample import entries, snapshot

SMALL = ("--resolution", "64x128")
RANDOM = ("--weights", "random", *SMALL)
ENGINE = "b0-seg.cpu.fp32.onnxruntime"
ROOT = Path(__file__).parents[2]


@pytest.fixture
def workspace(small_workspace: Path, tmp_path: Path, frame: np.ndarray) -> Path:
    """The test's folder, holding the small export, an engine and an image."""
    shutil.copytree(small_workspace / "export", tmp_path / "export")
    shutil.copytree(small_workspace / "engines" / ENGINE, tmp_path / "engines" / ENGINE)
    write_image(tmp_path / "street.png", frame)
    return tmp_path


def refused(answer: Answer, code: int, *words: str) -> None:
    """Check an answer: the exit code, one paragraph for people, and what it must speak of."""
    assert answer.code == code, answer.err
    assert answer.message, answer.err
    assert "\n\n" not in answer.message
    assert "this is a bug" not in answer.message
    assert "Traceback" not in answer.err
    assert answer.message.startswith("evit-deploy: ")
    assert all(line.startswith("  ") for line in answer.message.splitlines()[1:])
    assert len(answer.message) < 1200
    for word in words:
        assert word in answer.message


# Wrong words: (arguments, exit code, what the message must speak of)

WORDS = [
    ("export b9-seg", 2, "no model 'b9-seg'", "b0-seg", "evit-deploy models"),
    ("export efficientvit-seg-b9-cityscapes", 2, "efficientvit-seg-b0-cityscapes"),
    ("export b0-seg --opset 16", 2, "opset 16 is not supported", "17 to 20"),
    ("export b0-seg --opset 21", 2, "opset 21 is not supported", "--opset 17"),
    ("export b0-seg --opset -1", 2, "17 to 20"),
    ("export b0-seg --resolution 70x130", 2, "70x130", "multiples of 32", "--resolution 64x128"),
    ("export b0-seg --resolution 0x0", 2, "--resolution 32x32"),
    ("export b0-seg --resolution 1025x2048", 2, "--resolution 1024x2048"),
    ("export b0-seg --resolution big", 2, "'big' is no resolution", "512x1024"),
    ("export b0-seg --resolution 64", 2, "'64' is no resolution"),
    ("export b0-seg --resolution 64x", 2, "'64x' is no resolution"),
    ("export b0-seg --resolution -64x128", 2, "'-64x128' is no resolution"),
    ("export b0-seg --resolution 64x128x3", 2, "'64x128x3' is no resolution"),
    ("export b0-seg --resolution ²x64", 2, "'²x64' is no resolution"),
    ("export b0-seg --resolution 64.0x128.0", 2, "is no resolution"),
    ("export b0-seg --batch many", 2, "'many' is no batch", "1..8"),
    ("export b0-seg --batch 0", 2, "out of range", "0..0", "1..64"),
    ("export b0-seg --batch 4..2", 2, "4..2", "1..64"),
    ("export b0-seg --batch 1..65", 2, "1..65", "1..64"),
    ("export b0-seg --batch 1.5", 2, "'1.5' is no batch"),
    ("export b0-seg --input video", 2, "video", "image or tensor"),
    ("export b0-seg --output boxes", 2, "boxes", "classes, confidence, logits"),
    ("export b0-cls --output classes --weights random", 2, "no class map", "--output logits"),
    ("export b0-seg --name .", 2, "'.' is no name", "slashes"),
    ("export b0-seg --name ../b0-seg", 2, "'../b0-seg' is no name"),
    ("export b0-seg --weights nowhere.pt", 2, "no checkpoint nowhere.pt", "official, demo, random"),
    ("export b0-seg --weights .", 2, "no checkpoint ."),
    ("export b0-seg --weights Random", 2, "no checkpoint Random", "random"),
    ("export b2-seg --weights demo", 2, "no demo weights", "b0-seg", "--weights"),
    ("export b0-cls --weights official", 2, "no checkpoint for b0-cls", "--weights"),
    ("export b0-seg --weights random --resolution 64x128 --images nowhere", 2, "no folder nowhere"),
    ("export l0-sam --weights random --resolution 256x256", 2, "l0-sam"),
    ("export l0-sam --weights random --output logits", 2, "no output to choose", "leave --output out"),
    ("export l0-sam --weights random --frame 0x9", 2, "--frame 0x9", "720x1280"),
    ("export l0-sam --weights demo", 2, "no demo weights are shipped for l0-sam"),
    ("export b0-seg --frame 720x1280", 2, "--frame 720x1280", "l0-sam", "--resolution"),
    ("build b0-seg --target orin --fp16 --prompts 1,8", 2, "--prompts"),
    ("build b0-seg --target orin --fp16 --prompts x", 2, "--prompts x", "1,8,64"),
    (f"run {ENGINE} street.png --point 1,1", 2, "--point"),
    (f"run {ENGINE} street.png --everything", 2, "--everything"),
    (f"demo-sam {ENGINE} --no-browser", 2, "prompts"),
    ("demo-sam nothing --no-browser", 2, "there is no 'nothing' in"),
    ("build nothing", 2, "there is no 'nothing' in", "b0-seg there", "evit-deploy export"),
    ("build b0-seg --fp32 --bf16", 2, "one precision", "--fp32 --bf16"),
    ("build b0-seg --fp32 --bf16 --fp16 --int8", 2, "--fp32 --bf16 --fp16 --int8"),
    ("build b0-seg --fp16", 2, "fp16 is not built for cpu", "CPUs compute FP16 graphs in FP32", "--fp32 or --bf16"),
    ("build b0-seg --int8", 2, "int8 is not built for cpu", "what INT8 gains on a CPU"),
    ("build b0-seg --target orin --int8", 2, "INT8 needs frames", "--calibrate DIR"),
    ("build --target orin --int8", 2, "INT8 needs frames", "--calibrate DIR"),
    ("build b0-seg --target orin --int8 --max-drop 1", 2, "INT8 needs frames", "--calibrate DIR"),
    ("build b0-seg --target rtx --int8 --calibrate scenes", 2, "int8 is not built for rtx", "--fp16"),
    ("build b0-seg --target orin --calibrate scenes", 2, "--calibrate: for INT8 only", "add --int8"),
    ("build b0-seg --target orin --fp16 --allow-slower --max-drop 0", 2, "--max-drop, --allow-slower: for INT8 only"),
    ("build b0-seg --target orin --int8 --calibrate nowhere", 2, "nowhere"),
    ("build b0-seg --target orin --int8 --calibrate export", 2, "export"),
    ("build b0-seg --target orin --int8 --calibrate scenes --calibration luck", 2, "no calibration 'luck'", "entropy"),
    ("build b0-seg --target orin --int8 --calibrate scenes --calibration-images 1", 2, "--calibration-images", "2"),
    ("build b0-seg --target orin --int8 --calibrate scenes --max-drop -1", 2, "--max-drop is out of range"),
    ("build b0-seg --target orin --int8 --calibrate scenes --max-error nan", 2, "--max-error is out of range"),
    ("build b0-seg --target orin --int8 --calibrate scenes --timings a", 2, "two profiles", "--timings a", "FP16"),
    ("build b0-seg --target orin --int8 --calibrate scenes --timings a --timings b", 2, "there is no profile 'a'"),
    (f"build {ENGINE} --int8 --calibrate scenes", 2, "already", "build from the export"),
    ("build b0-seg --target a100 --bf16", 2, "bf16 is not built for a100", "not offered on GPUs", "--fp16"),
    (
        "build b0-seg --target rtx --arch sm80 --int8",
        2,
        "int8 is not built for rtx",
        "slower than FP16",
        "0.48 GB",
        "--fp16",
    ),
    ("build b0-seg --target orin --compiler openvino", 2, "openvino does not build for orin", "leave --compiler out"),
    ("build b0-seg --target orin --arch sm87", 2, "no architecture to choose for orin", "leave --arch out"),
    ("build b0-seg --target orin --attention flash", 2, "no attention 'flash'", "portable, conv, matmul"),
    ("build b0-seg --target orin --attention ../../out", 2, "no attention '../../out'"),
    ("build b0-seg --attention conv", 2, "cpu runs graphs as exported", "--attention conv", "leave it out"),
    ("build nothing --target orin --fp16", 2, "there is no 'nothing' in", "b0-seg there"),
    ("build b0-seg --target orinx", 2, "no target 'orinx'", "orin", "evit-deploy targets"),
    ("build b0-seg --compiler tensorflow", 2, "no compiler 'tensorflow'", "openvino, onnxruntime"),
    ("build b0-seg --compiler tensorrt", 2, "tensorrt does not build for cpu", "openvino, onnxruntime"),
    ("build b0-seg --compiler onnxruntime --bf16", 3, "onnxruntime", "computes in FP32"),
    (f"build engines/{ENGINE}", 2, "cannot be compiled", "an engine for cpu", "an engine for a GPU"),
    (f"build {ENGINE}", 2, "cannot be compiled"),
    ("build b0-seg --install", 2, "--install is for --remote"),
    ("build b0-seg --optimization-level 3", 2, "openvino has no optimisation level"),
    ("build b0-seg --remote robot", 2, "cpu runs graphs as exported"),
    ("run nothing street.png", 2, "there is no 'nothing' in", "engines"),
    ("run export/b0-seg street.png", 2, "is an export, not an engine", "evit-deploy build b0-seg"),
    ("verify nothing", 2, "there is no 'nothing' in"),
    ("verify export/b0-seg", 2, "is an export, not an engine", "evit-deploy build b0-seg"),
    ("profile nothing", 2, "there is no 'nothing' in"),
    ("profile export/b0-seg", 2, "is an export, not an engine", "evit-deploy build b0-seg"),
    (f"verify {ENGINE} --images nowhere", 2, "no folder nowhere"),
    (f"run {ENGINE} nowhere.png", 2, "no image nowhere.png"),
    (f"run {ENGINE} scene:seven", 2, "'scene:seven' names no scene", "scene:7"),
    (f"run {ENGINE} street.png --out street.xyz", 2, "cannot write street.xyz", ".xyz"),
    (f"run {ENGINE} street.png --out street.png/below.png", 2, "cannot write street.png/below.png"),
    ("build --workspace nowhere", 2, "no export in nowhere/export", "evit-deploy export MODEL"),
    ("build --workspace street.png", 2, "no export in street.png/export"),
    (f"export b0-seg {' '.join(RANDOM)} --workspace street.png", 2, "Not a directory", "--workspace"),
    ("build export/b0-seg --workspace street.png", 2, "Not a directory", "--workspace"),
]


@pytest.mark.parametrize(("command", "code", "words"), [(row[0], row[1], row[2:]) for row in WORDS])
def test_wrong_words(command: str, code: int, words: tuple[str, ...], evit: Program, workspace: Path) -> None:
    before, folders = snapshot(workspace), entries(workspace)
    refused(evit(*command.split(" ")), code, *words)
    assert snapshot(workspace) == before
    assert entries(workspace) == folders


# Checkpoints


@dataclass
class Bomb:
    """Unpickling it runs a command."""

    flag: Path

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (f"touch {self.flag}",)


@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize("saver", ["torch", "pickle"])
def test_a_checkpoint_cannot_run_code(saver: str, wrapped: bool, evit: Program, tmp_path: Path) -> None:
    flag, path = tmp_path / "ran", tmp_path / "bomb.pt"
    content = {"state_dict": Bomb(flag)} if wrapped else Bomb(flag)
    if saver == "torch":
        torch.save(content, path)
    else:
        path.write_bytes(pickle.dumps(content))
    refused(evit("export", "b0-seg", "--weights", path, *SMALL), 2, "bomb.pt cannot be read", "state dict")
    assert not flag.exists()
    assert not (tmp_path / "export" / "b0-seg").exists()
    code = f"import torch; torch.load({str(path)!r}, weights_only=False)"
    if saver == "torch":  # the bomb is live
        subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False, capture_output=True)
        assert flag.exists()


@pytest.fixture(scope="module")
def states(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Checkpoints of many kinds, right and wrong."""
    folder = tmp_path_factory.mktemp("checkpoints")
    good = dict(create_model("b0-seg", weights="random").state_dict())
    keys = [key for key in good if not key.endswith("num_batches_tracked")]
    torch.save(good, folder / "good.pt")
    save_file(good, folder / "good.safetensors")
    for name in ("good.pt", "good.safetensors"):
        data = (folder / name).read_bytes()
        (folder / f"cut-{name}").write_bytes(data[: len(data) // 2])
    for suffix in ("pt", "safetensors"):
        (folder / f"text.{suffix}").write_text("no weights here", encoding="utf-8")
        (folder / f"empty.{suffix}").write_bytes(b"")
    torch.save([1, 2, 3], folder / "list.pt")
    torch.save({"weights": 3}, folder / "number.pt")
    torch.save({}, folder / "nothing.pt")
    torch.save({key: value for key, value in good.items() if key != keys[0]}, folder / "missing.pt")
    torch.save({**good, "surplus.weight": torch.zeros(1)}, folder / "surplus.pt")
    torch.save({**good, keys[0]: torch.zeros(1, 2, 3, 4)}, folder / "shape.pt")
    torch.save(create_model("b1-cls", weights="random").state_dict(), folder / "other.pt")
    (folder / "first-key.txt").write_text(keys[0], encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("cut-good.pt", ["cannot be read", "found:", "download"]),
        ("cut-good.safetensors", ["cannot be read", "found:", "download"]),
        ("text.pt", ["cannot be read"]),
        ("text.safetensors", ["cannot be read"]),
        ("empty.pt", ["cannot be read"]),
        ("empty.safetensors", ["cannot be read"]),
        ("list.pt", ["holds no state dict", "list"]),
        ("number.pt", ["holds no state dict"]),
        ("nothing.pt", ["does not belong to this model", "missing"]),
        ("missing.pt", ["does not belong to this model", "1 missing (FIRST)"]),
        ("surplus.pt", ["does not belong to this model", "1 unexpected (surplus.weight)"]),
        ("shape.pt", ["1 of wrong shape (FIRST (1, 2, 3, 4) instead of"]),
        ("other.pt", ["does not belong to this model", "missing", "unexpected", "check that model name"]),
    ],
)
def test_a_wrong_checkpoint(name: str, words: list[str], states: Path, evit: Program, workspace: Path) -> None:
    before = snapshot(workspace)
    first = (states / "first-key.txt").read_text(encoding="utf-8")
    answer = evit("export", "b0-seg", "--weights", states / name, *SMALL)
    refused(answer, 2, name, *(word.replace("FIRST", first) for word in words))
    assert snapshot(workspace) == before
    assert entries(workspace / "export") == ["b0-seg"]


@pytest.mark.parametrize("name", ["good.pt", "good.safetensors"])
def test_a_right_checkpoint_passes_the_same_way(name: str, states: Path, evit: Program, tmp_path: Path) -> None:
    answer = evit("export", "b0-seg", "--weights", states / name, *SMALL, "--json")
    assert answer.code == 0
    assert json.loads(answer.out)["weights"]["location"] == str(states / name)


# Weights from the Hub, without a network


@pytest.fixture
def offline(tmp_path: Path) -> dict[str, str]:
    """Variables of a machine that has no network and an empty cache."""
    return {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hub")}


def test_official_weights_never_fall_back(program: Program, offline: dict[str, str], tmp_path: Path) -> None:
    answer = program("export", "b0-seg", "--weights", "official", *SMALL, env=offline)
    refused(answer, 3, "efficientvit_seg_b0_cityscapes.pt", "HF_HUB_OFFLINE", "--weights PATH")
    assert not (tmp_path / "export" / "b0-seg").exists()


def test_without_official_or_demo_weights_the_choices_are_named(
    program: Program, offline: dict[str, str], tmp_path: Path
) -> None:
    answer = program("export", "b2-seg", *SMALL, env=offline)
    refused(answer, 3, "--weights random", "--weights PATH")
    assert not (tmp_path / "export" / "b2-seg").exists()


@pytest.mark.skipif(not (DEMO_FOLDER / "b0-seg.safetensors").is_file(), reason="the demo weights are not here")
def test_demo_weights_step_in_with_a_warning_that_stays(
    program: Program, evit: Program, offline: dict[str, str], tmp_path: Path
) -> None:
    answer = program("export", "b0-seg", *SMALL, env=offline)
    assert answer.code == 0, answer.err
    assert "warning: the checkpoint han-cai/efficientvit-seg/efficientvit_seg_b0_cityscapes.pt is not in" in answer.err
    assert "These are the demo weights" in answer.err
    manifest = read_artifact(tmp_path / "export" / "b0-seg")
    assert manifest.weights.source == "demo"
    assert len(manifest.warnings) == 1
    for command in (["build"], ["run", "b0-seg.cpu.fp32", "scene:1"]):
        answer = evit(*command)
        assert answer.code == 0
        assert "These are the demo weights" in answer.err


# Damaged artifacts


def _edit_weight(folder: Path) -> None:
    model = onnx.load(folder / "model.onnx")
    tensor = next(tensor for tensor in model.graph.initializer if len(tensor.dims) == 4)
    tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * np.float32(1.001), tensor.name))
    onnx.save(model, folder / "model.onnx")


def _cut(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:-10]) and None


def _delete(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def _manifest(old: str, new: str) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        text = (folder / "manifest.json").read_text(encoding="utf-8")
        assert old in text
        (folder / "manifest.json").write_text(text.replace(old, new, 1), encoding="utf-8")

    return edit


DAMAGES = {
    "edited graph": (_edit_weight, ["model.onnx is not the file that was verified", "SHA-256", "expected:"]),
    "cut graph": (_cut("model.onnx"), ["model.onnx is not the file that was verified", "bytes"]),
    "cut reference": (_cut("reference.npz"), ["reference.npz is not the file that was verified"]),
    "no graph": (_delete("model.onnx"), ["is incomplete", "no file model.onnx"]),
    "no manifest": (_delete("manifest.json"), ["is not an artifact", "no manifest.json"]),
    "cut manifest": (_cut("manifest.json"), ["manifest.json cannot be read", "write the artifact again"]),
    "newer manifest": (
        _manifest('"schema": 1', '"schema": 2'),
        ["newer evit-deploy", "manifest version 2", "at most 1", "pip install --upgrade evit-deploy"],
    ),
    "wrong word": (_manifest('"task": "seg"', '"task": "fly"'), ["does not follow the manifest schema", "model.task"]),
    "extra key": (_manifest('"schema": 1', '"schema": 1, "extra": 1'), ["does not follow", "extra"]),
    "wrong hash": (_manifest('"sha256": "', '"sha256": "x'), ["does not follow the manifest schema", "sha256"]),
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize(
    "command",
    ["build b0-seg", f"run {ENGINE} street.png", f"verify {ENGINE}", f"profile {ENGINE}"],
    ids=lambda c: c.split()[0],
)
def test_a_damaged_artifact(command: str, damage: str, evit: Program, workspace: Path) -> None:
    change, words = DAMAGES[damage]
    change(workspace / ("export/b0-seg" if command.startswith("build") else f"engines/{ENGINE}"))
    before, folders = snapshot(workspace), entries(workspace)
    refused(evit(*command.split(" ")), 2, *words)
    assert snapshot(workspace) == before
    assert entries(workspace) == folders


def test_an_engine_whose_own_file_was_edited(evit: Program, workspace: Path) -> None:
    _cut("model.optimised.onnx")(workspace / "engines" / ENGINE)
    refused(evit("run", ENGINE, "street.png"), 2, "model.optimised.onnx is not the file that was verified")


def test_a_damaged_engine_is_built_again(evit: Program, workspace: Path) -> None:
    _cut("model.optimised.onnx")(workspace / "engines" / ENGINE)
    assert evit("build", "b0-seg", "--compiler", "onnxruntime").code == 0
    assert evit("run", ENGINE, "street.png").code == 0


# Images


def _broken_images(folder: Path) -> None:
    png = (folder / "street.png").read_bytes()
    (folder / "text.jpg").write_text("no image", encoding="utf-8")
    (folder / "cut.png").write_bytes(png[: len(png) // 2])
    (folder / "head.png").write_bytes(png[:20])
    (folder / "empty.png").write_bytes(b"")
    (folder / "void").mkdir()
    (folder / "words").mkdir()
    (folder / "words" / "readme.txt").write_text("no image", encoding="utf-8")
    (folder / "wide.png").write_bytes(png[:16] + (10**9).to_bytes(4, "big") * 2 + png[24:])


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("text.jpg", ["text.jpg is not an image", ".png"]),
        ("cut.png", ["cut.png is not an image", "truncated"]),
        ("head.png", ["head.png is not an image"]),
        ("empty.png", ["empty.png is not an image"]),
        ("wide.png", ["wide.png is not an image"]),
        ("void", ["no image in void", ".jpg"]),
        ("words", ["no image in words", ".jpg"]),
        ("street.mp4", ["no image street.mp4"]),
    ],
)
def test_a_wrong_image(source: str, words: list[str], evit: Program, workspace: Path) -> None:
    _broken_images(workspace)
    before = snapshot(workspace)
    refused(evit("run", ENGINE, source), 2, *words)
    assert snapshot(workspace) == before


@pytest.mark.parametrize("command", [("export", "b0-seg", *RANDOM, "--name", "new"), ("verify", ENGINE)])
def test_a_wrong_image_among_those_to_prove_agreement_on(
    command: tuple[str, ...], evit: Program, workspace: Path
) -> None:
    (workspace / "mine").mkdir()
    shutil.copy(workspace / "street.png", workspace / "mine" / "a.png")
    (workspace / "mine" / "b.png").write_text("no image", encoding="utf-8")
    before = snapshot(workspace)
    refused(evit(*command, "--images", "mine"), 2, "mine/b.png is not an image")
    assert snapshot(workspace) == before


# Places that cannot be written


@pytest.mark.parametrize("out", ["notes.txt", "street.png/below/out.png", "engines"])
def test_an_overlay_never_harms_what_is_there(out: str, evit: Program, workspace: Path) -> None:
    (workspace / "notes.txt").write_text("precious", encoding="utf-8")
    before = snapshot(workspace)
    answer = evit("run", ENGINE, "street.png", "--out", out)
    if out == "engines":  # a folder: the overlay goes inside
        assert answer.code == 0
        (workspace / "engines" / "street.overlay.png").unlink()
    else:
        refused(answer, 2, f"cannot write {out}")
    assert snapshot(workspace) == before


def test_a_folder_of_the_users_is_not_replaced(evit: Program, workspace: Path) -> None:
    (workspace / "export" / "mine").mkdir()
    (workspace / "export" / "mine" / "thesis.txt").write_text("ten years", encoding="utf-8")
    before = snapshot(workspace)
    refused(evit("export", "b0-seg", *RANDOM, "--name", "mine"), 2, "export/mine is in the way", "move it away")
    assert snapshot(workspace) == before


HOLDER = """
import sys
from pathlib import Path
from evit_deploy.manifest import write_artifact
with write_artifact(Path(sys.argv[1])), write_artifact(Path(sys.argv[2])):
    print("locked", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(workspace: Path) -> Iterator[None]:
    """Another process that is writing the export and an engine."""
    places = [str(workspace / "export" / "b0-seg"), str(workspace / "engines" / "b0-seg.cpu.fp32")]
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, *places], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "locked\n"
    yield
    process.communicate(timeout=60)


@pytest.mark.usefixtures("holder")
@pytest.mark.parametrize(
    ("command", "place"),
    [
        (("export", "b0-seg", *RANDOM, "--opset", "18"), "export/b0-seg"),
        (("build", "b0-seg"), "engines/b0-seg.cpu.fp32"),
    ],
    ids=["export", "build"],
)
def test_a_locked_workspace(command: tuple[str, ...], place: str, evit: Program, workspace: Path) -> None:
    before = snapshot(workspace)
    refused(evit(*command), 2, f"another process is writing {place}", "wait")
    assert snapshot(workspace) == before


@pytest.mark.parametrize("command", [("export", "b0-seg", *RANDOM), ("build", "export/b0-seg")], ids=lambda c: c[0])
def test_a_full_disk(command: tuple[str, ...], evit: Program, workspace: Path, small_disk: Path) -> None:
    before = snapshot(workspace)
    answer = evit(*command, "--workspace", "disk")
    refused(answer, 2, "cannot write disk/", "No space left on device", "free some space")
    assert "disk/" in answer.message.splitlines()[1] or "(" not in answer.message.splitlines()[1]
    assert snapshot(workspace) == before
    assert [entries(room) for room in small_disk.iterdir()] == [[]]


def test_a_disk_without_room_for_the_overlay(evit: Program, workspace: Path, small_disk: Path) -> None:
    with (small_disk / "filler").open("wb") as filler:
        os.posix_fallocate(filler.fileno(), 0, shutil.disk_usage(small_disk).free)
    answer = evit("run", ENGINE, workspace / "street.png", "--out", "disk/out.png")
    refused(answer, 2, "cannot write disk/out.png", "No space left on device")
    assert entries(small_disk) == ["filler"]
