# SPDX-License-Identifier: Apache-2.0
"""Engines against PyTorch, from the reference and on images of one's own."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from evit_deploy.agreement import BUDGETS
from evit_deploy.cli.main import main
from evit_deploy.errors import ArtifactError, MissingExtraError, UsageError
from evit_deploy.manifest import ITSELF, Manifest, read_manifest
from evit_deploy.manifest.model import to_json
from evit_deploy.profiles import verify_engine
from evit_deploy.profiles.original import original_model, weights_seed
from tests.profiles.conftest import IMPOSSIBLE


def test_verify_on_the_reference(engine_folder: Path, tmp_path: Path) -> None:
    manifest, agreement, path = verify_engine(engine_folder, tmp_path)
    assert agreement.passed
    assert len(agreement.frames) == 3
    assert path == tmp_path / engine_folder.name / "agreement.json"
    data = json.loads(path.read_text())
    assert data["passed"] is True
    assert data["key"] == manifest.key
    assert data["images"] is None
    assert [frame["frame"] for frame in data["frames"]] == [frame.frame for frame in agreement.frames]
    assert data["worst"]["class_agreement"] == min(frame.class_agreement for frame in agreement.frames)
    assert [file.name for file in path.parent.iterdir()] == ["agreement.json"]


def test_verify_on_the_reference_needs_no_torch(engine_folder: Path, tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['torch'] = sys.modules['onnx'] = sys.modules['matplotlib'] = None\n"
        "from pathlib import Path; from evit_deploy.profiles.verify import verify_engine\n"
        f"print(verify_engine(Path({str(engine_folder)!r}), Path({str(tmp_path)!r}))[1].passed)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.stdout.strip() == "True", result.stderr


def test_an_engine_for_a_gpu_is_emulated(gpu_engine: Path, tmp_path: Path) -> None:
    manifest, agreement, path = verify_engine(gpu_engine, tmp_path)
    assert agreement.passed
    assert agreement.budget == BUDGETS["fp16"]
    assert agreement.method.startswith("faithful emulation of the typed graph, ONNX Runtime ")
    assert agreement == manifest.agreement  # the same frames, the same emulation, the same machine
    data = json.loads(path.read_text())
    assert (data["passed"], data["method"]) == (True, agreement.method)
    assert all(frame["relative_l2"] > 1e-5 for frame in data["frames"])


def test_an_engine_for_a_cpu_runs_itself(engine_folder: Path, tmp_path: Path) -> None:
    _, agreement, path = verify_engine(engine_folder, tmp_path)
    assert agreement.method == json.loads(path.read_text())["method"] == ITSELF


def test_an_engine_for_a_gpu_on_images(gpu_engine: Path, images: Path, tmp_path: Path) -> None:
    _, agreement, path = verify_engine(gpu_engine, tmp_path, images)
    assert agreement.passed
    assert [frame.frame for frame in agreement.frames] == ["more/tall.png", "wide.png"]
    assert agreement.against.startswith("PyTorch 2.")
    assert json.loads(path.read_text())["method"].startswith("faithful emulation")


def test_a_disagreement_of_an_engine_for_a_gpu_is_returned(
    gpu_engine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(BUDGETS, "fp16", IMPOSSIBLE)
    _, agreement, path = verify_engine(gpu_engine, tmp_path)
    assert not agreement.passed
    assert json.loads(path.read_text())["worst"]["broken"]


def test_emulation_without_onnx_names_the_extra(gpu_engine: Path, tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['onnx'] = None\n"
        "from evit_deploy.cli.main import main\n"
        f"sys.argv = ['evit-deploy', 'verify', {str(gpu_engine)!r}, '--workspace', {str(tmp_path)!r}]\n"
        "main()"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 3, result.stderr
    assert "pip install 'evit-deploy[export]'" in result.stderr
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "profiles").exists()


def test_verify_on_images(engine_folder: Path, images: Path, tmp_path: Path) -> None:
    _, agreement, path = verify_engine(engine_folder, tmp_path, images)
    assert agreement.passed
    assert [frame.frame for frame in agreement.frames] == ["more/tall.png", "wide.png"]
    assert agreement.against.startswith("PyTorch 2.")
    assert json.loads(path.read_text())["images"] == str(images.resolve())


def test_verify_on_images_without_torch(
    engine_folder: Path, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingExtraError, match=r"evit-deploy\[export\]"):
        verify_engine(engine_folder, tmp_path, images)


def test_verify_without_images_in_the_folder(engine_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no image"):
        verify_engine(engine_folder, tmp_path, tmp_path)


def test_other_weights_are_refused(own_engine: Path, images: Path, tmp_path: Path) -> None:
    manifest = read_manifest(own_engine)
    other = replace(manifest, weights=replace(manifest.weights, sha256="0" * 64))
    (own_engine / "manifest.json").write_text(json.dumps(to_json(other)))
    with pytest.raises(ArtifactError, match="not the ones this engine was made from") as caught:
        verify_engine(own_engine, tmp_path / "profiles", images)
    assert "0000000000000000" in str(caught.value)
    assert not (tmp_path / "profiles").exists()


def test_weights_that_are_gone(manifest: Manifest, tmp_path: Path) -> None:
    gone = replace(manifest.weights, source="path", location=str(tmp_path / "gone.pt"))
    with pytest.raises(UsageError, match=r"gone\.pt"):
        original_model(replace(manifest, weights=gone))


def test_the_seed_of_random_weights_is_read_back(manifest: Manifest) -> None:
    assert weights_seed(manifest.weights) == 0
    assert weights_seed(replace(manifest.weights, location="seed 17")) == 17
    assert weights_seed(replace(manifest.weights, source="path", location="seed 17")) == 0


def test_a_disagreement_is_written_and_returned(
    engine_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(BUDGETS, "fp32", IMPOSSIBLE)
    _, agreement, path = verify_engine(engine_folder, tmp_path)
    assert not agreement.passed
    data = json.loads(path.read_text())
    assert data["passed"] is False
    assert all(frame["broken"] for frame in data["frames"])
    assert data["worst"]["broken"]


@pytest.mark.parametrize("json_option", [[], ["--json"]])
def test_the_command_exits_1_on_disagreement(
    engine_folder: Path,
    tmp_path: Path,
    json_option: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(BUDGETS, "fp32", IMPOSSIBLE)
    arguments = ["evit-deploy", "verify", str(engine_folder), "--workspace", str(tmp_path), *json_option]
    monkeypatch.setattr(sys, "argv", arguments)
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 1
    output = capsys.readouterr()
    assert "does not agree with PyTorch" in output.err
    assert (tmp_path / "profiles" / engine_folder.name / "agreement.json").is_file()
    if json_option:
        assert json.loads(output.out)["passed"] is False
    else:
        assert "FAILED" in output.out


def test_an_export_is_no_engine(own_export: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is an export, not an engine"):
        verify_engine(own_export, tmp_path)
