# SPDX-License-Identifier: Apache-2.0
"""Engines of several parts against PyTorch: each part, and from picture to masks."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from evit_deploy.agreement import BUDGETS
from evit_deploy.engines.bundle import build_bundle
from evit_deploy.errors import ArtifactError, MissingExtraError, UsageError
from evit_deploy.export import ExportOptions, export_model
from evit_deploy.manifest import ITSELF
from evit_deploy.profiles import verify_engine
from evit_deploy.profiles.sam.verify import verify_parts
from tests.cli.conftest import Program
from tests.profiles.conftest import IMPOSSIBLE

PROMPTS = ["a.png, a point", "a.png, two points and a mask", "b.png, a point and a box"]


def test_each_part_and_the_whole(toy: Path, tmp_path: Path) -> None:
    verdict, path = verify_parts(toy, tmp_path)
    assert verdict.passed
    assert list(verdict.parts) == ["encoder", "decoder"]
    assert [frame.frame for frame in verdict.parts["encoder"].frames] == ["a.png", "b.png"]
    assert [frame.frame.partition(" [")[0] for frame in verdict.whole.frames] == PROMPTS
    assert all(frame.mask_iou == 1.0 and frame.class_agreement is None for frame in verdict.whole.frames)
    assert verdict.whole.method == ITSELF
    data = json.loads(path.read_text())
    assert path == tmp_path / toy.name / "agreement.json"
    assert (data["passed"], data["images"], data["key"]) == (True, None, verdict.bundle.key)
    assert data["worst"]["mask_iou"] == 1.0
    assert data["worst"]["class_agreement"] is None
    assert data["parts"]["encoder"]["worst"]["relative_l2"] == 0.0


def test_it_needs_no_torch(toy: Path, tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['torch'] = sys.modules['onnx'] = sys.modules['matplotlib'] = None\n"
        "from pathlib import Path; from evit_deploy.profiles.sam.verify import verify_parts\n"
        f"print(verify_parts(Path({str(toy)!r}), Path({str(tmp_path)!r}))[0].passed)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.stdout.strip() == "True", result.stderr


def test_parts_for_a_gpu_are_emulated(toy_workspace: Path, tmp_path: Path) -> None:
    verdict, path = verify_parts(toy_workspace / "engines" / "l0-sam.orin.fp16", tmp_path)
    assert verdict.passed
    assert list(verdict.parts) == ["encoder", "decoder-2", "decoder-5"]
    for agreement in (*verdict.parts.values(), verdict.whole):
        assert agreement.method.startswith("faithful emulation of the typed graph")
        assert agreement.budget == BUDGETS["fp16"]
    assert json.loads(path.read_text())["method"].startswith("faithful emulation")


def test_a_part_by_itself(toy: Path, tmp_path: Path) -> None:
    for name, frames in (("encoder", 2), ("decoder", 6)):
        _, agreement, path = verify_engine(toy / name, tmp_path)
        assert agreement.passed
        assert len(agreement.frames) == frames
        assert path == tmp_path / toy.name / name / "agreement.json"


@pytest.mark.parametrize("name", ["encoder/encoder.onnx", "decoder/reference.npz", "decoder/manifest.json"])
def test_a_damaged_part_is_refused(name: str, own_toy: Path, tmp_path: Path) -> None:
    path = own_toy / name if (own_toy / name).exists() else next(own_toy.glob(name.replace(".onnx", "*.onnx")))
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(ArtifactError):
        verify_parts(own_toy, tmp_path / "profiles")
    assert not (tmp_path / "profiles").exists()


def test_an_export_is_no_engine(toy_workspace: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is an export, not an engine"):
        verify_parts(toy_workspace / "export" / "l0-sam", tmp_path)
    with pytest.raises(UsageError, match="several graphs"):
        verify_engine(toy_workspace / "engines" / "l0-sam.cpu.fp32", tmp_path)


def test_images_without_torch(toy: Path, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingExtraError, match=r"evit-deploy\[export\]"):
        verify_parts(toy, tmp_path, images)


def test_other_weights_are_refused(toy: Path, images: Path, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="not the ones this engine was made from"):
        verify_parts(toy, tmp_path / "profiles", images)


@pytest.mark.parametrize("option", [[], ["--json"]])
def test_the_command_exits_1_on_disagreement(
    option: list[str],
    toy: Path,
    tmp_path: Path,
    evit: Program,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert evit("verify", toy).code == 0
    monkeypatch.setitem(BUDGETS, "fp32", IMPOSSIBLE)
    answer = evit("verify", toy, *option)
    assert answer.code == 1
    assert f"{toy / 'encoder'} does not agree with PyTorch" in answer.message
    assert json.loads((tmp_path / "profiles" / toy.name / "agreement.json").read_text())["passed"] is False
    if option:
        data = json.loads(answer.out)
        assert (data["passed"], list(data["parts"])) == (False, ["encoder", "decoder"])
    else:
        assert "FAILED against PyTorch" in answer.out
        assert [line for line in answer.out.splitlines() if line in ("encoder", "decoder", "from picture to masks")]


def test_layers_are_those_of_one_graph(toy_workspace: Path, evit: Program) -> None:
    folder = toy_workspace / "engines" / "l0-sam.orin.fp16"
    answer = evit("verify", folder, "--layers")
    assert answer.code == 2
    assert f"evit-deploy verify {folder / 'encoder'} --layers" in answer.message
    whole = evit("verify", folder / "encoder", "--layers")
    assert whole.code == 0, whole.err


def test_a_decoder_sees_no_images(toy: Path, images: Path, evit: Program) -> None:
    answer = evit("verify", toy / "decoder", "--images", images)
    assert answer.code == 2
    assert "a mask decoder sees no images" in answer.message


@pytest.mark.slow
def test_on_photos_with_the_very_weights(tmp_path: Path, frame: np.ndarray, images: Path) -> None:
    export, engine = tmp_path / "export", tmp_path / "l0-sam.cpu.fp32"
    export_model("l0-sam", export, ExportOptions(weights="random"))
    build_bundle(export, engine, target="cpu", compiler="onnxruntime")
    verdict, path = verify_parts(engine, tmp_path / "profiles", images)
    assert verdict.passed
    assert verdict.parts == {}
    kinds = {frame.frame.partition(" [")[0].partition(": ")[2] for frame in verdict.whole.frames}
    assert kinds == {"", "point", "point and mask", "two points", "box", "point and box"}
    for row in verdict.whole.frames:
        assert (row.relative_l2 is None) != (row.mask_iou is None)
    assert {row.frame for row in verdict.whole.frames if row.mask_iou is None} == {"more/tall.png", "wide.png"}
    assert json.loads(path.read_text())["images"] == str(images.resolve())
    manifest, agreement, _ = verify_engine(engine / "encoder", tmp_path / "profiles", images)
    assert agreement.passed
    assert manifest.graph.output == "embedding"
