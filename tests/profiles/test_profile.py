# SPDX-License-Identifier: Apache-2.0
"""A whole profile of a real engine: what is measured, written and said."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest

from evit_deploy.agreement import BUDGETS
from evit_deploy.cli.profile import _print_report as print_report
from evit_deploy.engines import build_engine
from evit_deploy.errors import ArtifactError, MissingExtraError, UnavailableError, UsageError
from evit_deploy.export import ExportOptions, export_model
from evit_deploy.manifest import Manifest
from evit_deploy.profiles import ProfileReport, profile_engine
from evit_deploy.profiles import profile as profile_module
from evit_deploy.profiles.environment import environment
from evit_deploy.profiles.latency import Latency
from evit_deploy.profiles.memory import Footprint, measure_footprint
from evit_deploy.profiles.original import eager_call, original_model, work_name
from evit_deploy.profiles.power.record import PowerRecord
from evit_deploy.profiles.predict.prediction import Conditions, Prediction, Terms
from evit_deploy.profiles.reading import read_report
from evit_deploy.profiles.report import commands
from evit_deploy.runtime import load
from evit_deploy.runtime.preprocess import graph_input
from evit_deploy.runtime.verify import Reference
from tests.profiles.conftest import IMPOSSIBLE


def test_the_report(profiled: tuple[ProfileReport, Path]) -> None:
    report, page = profiled
    assert [item.name for item in report.latencies] == [
        "engine infer", "engine call", "PyTorch eager + upsampling + argmax",
    ]  # fmt: skip
    assert all(item.runs >= 100 for item in report.latencies)
    assert report.agreement.passed
    assert report.speedup == report.latencies[2].p50 / report.latencies[0].p50
    low, high = report.speedup_range
    assert 0 < low <= high
    assert 1 < report.peak_memory_mb < 2000
    assert 0 < report.load_seconds < 60
    assert report.engine_mb == pytest.approx(sum(info.bytes for info in report.manifest.files.values()) / 1e6, rel=0.01)
    assert {"date", "processor", "cores", "governor", "python", "numpy", "onnxruntime", "torch"} <= {
        *report.environment
    }
    assert page.name == "report.html"
    assert sorted(path.name for path in page.parent.iterdir()) == [
        "pictures.json", "report.html", "report.json",
    ]  # fmt: skip


def test_report_json_says_the_same(profiled: tuple[ProfileReport, Path]) -> None:
    report, page = profiled
    data = json.loads((page.parent / "report.json").read_text())
    assert data == json.loads(json.dumps(report.to_json()))
    assert data["manifest"]["weights"]["sha256"] == report.manifest.weights.sha256
    assert data["agreement"]["passed"] is True
    for stored, item in zip(data["latencies"], report.latencies, strict=True):
        assert stored["runs"] == len(stored["samples_ms"]) == item.runs
        assert stored["p50"] == pytest.approx(np.median(stored["samples_ms"]), abs=1e-3)


def test_a_report_is_read_as_it_was_written(profiled: tuple[ProfileReport, Path]) -> None:
    report, page = profiled
    found = read_report(page.parent / "report.json")
    assert found.layer_times == report.layer_times
    assert found.stages == report.stages
    assert found.to_json()["latencies"][0]["p50"] == pytest.approx(report.engine_infer.p50, abs=1e-3)


def test_what_it_tells_beyond_latency(profiled: tuple[ProfileReport, Path]) -> None:
    report, _ = profiled
    assert report.layer_times.tool.startswith("ONNX Runtime ")
    assert [stage.stage for stage in report.stages][:2] == ["input", "stem"]
    assert 0 < report.wrapper_ms < 0.5
    assert 0 < report.first_call_ms < 60_000
    assert report.engine_infer.drift is not None
    assert (report.modes, report.device_memory, report.frames_per_second, report.prediction) == ((), {}, None, None)
    if Path("/proc/stat").exists():
        assert "while measured" in report.environment["other load"]


def test_what_the_command_prints(profiled: tuple[ProfileReport, Path], capsys: pytest.CaptureFixture[str]) -> None:
    report, page = profiled
    power = PowerRecord("NVML, A100", (), ("board",), "board", 251.5, 0.5, 60.0, 20.0, 200, 100.0, 5000, 20.12, 0.04)
    machine = Conditions("a100", "80 GB SXM", None, 108, 1410.0, 2039.0, 312.0)
    guess = Prediction(
        "b0-seg", "b0-seg", (64, 128), 1, "fp16", "image", "classes", "TensorRT-RTX", machine, 1e6, 2e6, 0.8,
        Terms(traffic=1.5e6), {}, (),
    )  # fmt: skip
    full = replace(report, power=power, prediction=guess, frames_per_second=1234.5, modes=(report.engine_infer,))
    fast = replace(report.engine_infer, samples_ms=(0.743,) * 100)
    print_report(replace(report, latencies=(fast, *report.latencies[1:])), page)
    assert re.search(r"^engine infer +0\.743 +0\.743 ", capsys.readouterr().out, re.MULTILINE)
    print_report(full, page)
    text = capsys.readouterr().out
    assert "power: 251.5 ± 0.5 W (board), 20.12 ± 0.04 mJ per frame" in text
    assert "b0-seg: 1,500,000.0 ms predicted, not measured, between 1,000,000.0 and 2,000,000.0" in text
    assert "the measured median of the raw graph is outside" in text
    assert "throughput with two runs in flight: 1234.5 frames/s" in text
    assert "ms, predicted" not in text  # no kernel of it is known
    assert re.search(r"^stage 1 +\d+\.\d+$", text, re.MULTILINE)
    assert re.search(r"^checks and lock of Engine.infer, in every run: \d+ µs$", text, re.MULTILINE)
    assert re.search(r"^load: [\d.]+ s, then [\d.]+ ms for the first frame$", text, re.MULTILINE)


def test_commands_that_make_it_again(profiled: tuple[ProfileReport, Path]) -> None:
    assert commands(profiled[0]) == [
        "evit-deploy export b0-seg --weights random --resolution 64x128 --opset 17 --batch 1 --input image "
        "--output classes",
        "evit-deploy build b0-seg --target cpu --fp32 --compiler onnxruntime",
        "evit-deploy profile b0-seg.cpu.fp32.onnxruntime --runs 100",
    ]


def test_commands_of_a_renamed_export_with_a_path(profiled: tuple[ProfileReport, Path]) -> None:
    report = profiled[0]
    manifest = replace(
        report.manifest,
        weights=replace(report.manifest.weights, source="path", location="/my weights/b0.pt"),
        graph=replace(report.manifest.graph, batch=(1, 8)),
    )
    export, build, _ = commands(replace(report, engine="front.cpu.fp32", manifest=manifest))
    assert "--weights '/my weights/b0.pt'" in export
    assert "--batch 1..8" in export
    assert export.endswith("--name front")
    assert build == "evit-deploy build front --target cpu --fp32"


def test_commands_name_the_engine_that_they_build(profiled: tuple[ProfileReport, Path]) -> None:
    """A folder that was named otherwise is not what ``build`` makes."""
    _, build, profile = commands(replace(profiled[0], engine="front camera"))
    assert build == "evit-deploy build b0-seg --target cpu --fp32"
    assert profile == "evit-deploy profile b0-seg.cpu.fp32 --runs 100"


@pytest.mark.parametrize("output", ["classes", "confidence", "logits"])
def test_pytorch_does_what_the_engine_does(small_workspace: Path, manifest: Manifest, output: str) -> None:
    folder = small_workspace / "engines" / "b0-seg.cpu.fp32.onnxruntime"
    reference = Reference.load(folder)
    images = reference.images[:1]
    graph = replace(manifest.graph, output=output)
    results = eager_call(original_model(manifest), images, graph, manifest.preprocess)()
    if output == "logits":
        np.testing.assert_array_equal(results[0].numpy(), reference.logits[:1])
        return
    with load(folder) as task:
        found = task.infer({"image": graph_input(images, manifest.graph, manifest.preprocess)})["classes"]
    assert (results[0].numpy() == found).mean() > 0.999
    assert results[0].dtype.itemsize == 1
    if output == "confidence":
        assert ((results[1] > 0) & (results[1] <= 1)).all()
    assert work_name(graph).startswith("PyTorch eager + upsampling + argmax")


def quick(monkeypatch: pytest.MonkeyPatch, forbid_pytorch: bool = False) -> None:
    """Replace the slow parts: the timing of each subject by one call, the fresh process by nothing."""

    def once(subjects: list, advance: object) -> tuple[Latency, ...]:
        for subject in subjects:
            subject.call()
            assert not (forbid_pytorch and subject.name.startswith("PyTorch"))
        return tuple(Latency(subject.name, (1.0,) * subject.runs, subject.frames) for subject in subjects)

    monkeypatch.setattr(profile_module, "measure_together", once)
    monkeypatch.setattr(profile_module, "measure_footprint", lambda *_: Footprint(1.0, 0.1))


def test_without_torch_the_report_says_so(engine_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quick(monkeypatch, forbid_pytorch=True)
    monkeypatch.setitem(sys.modules, "torch", None)
    report, page = profile_engine(engine_folder, tmp_path)
    assert report.pytorch is None
    assert report.speedup is None
    assert report.speedup_range is None
    assert any("'torch', which is not installed" in note for note in report.notes)
    assert "which is not installed" in page.read_text()


def test_without_the_weights_the_report_says_so(
    engine_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(manifest: Manifest) -> None:
        raise UnavailableError("the checkpoint is out of reach", found="offline")

    quick(monkeypatch, forbid_pytorch=True)
    monkeypatch.setattr(profile_module, "original_model", gone)
    report, _ = profile_engine(engine_folder, tmp_path)
    assert "PyTorch was not timed: the checkpoint is out of reach; found offline." in report.notes


def test_pytorch_not_wanted(engine_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quick(monkeypatch, forbid_pytorch=True)
    report, _ = profile_engine(engine_folder, tmp_path, pytorch=False, runs=7)
    assert [item.runs for item in report.latencies] == [100, 100]
    assert any("not asked for" in note for note in report.notes)


def test_a_fixed_batch_is_timed_as_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quick(monkeypatch)
    options = ExportOptions(weights="random", resolution=(32, 64), batch=(2, 2))
    export_model("b0-seg", tmp_path / "export", options)
    build_engine(tmp_path / "export", tmp_path / "pair", target="cpu", compiler="onnxruntime")
    assert measure_footprint(tmp_path / "pair").peak_memory_mb > 1
    report, page = profile_engine(tmp_path / "pair", tmp_path / "profiles")
    assert [item.name for item in report.latencies] == ["engine infer", "PyTorch eager + upsampling + argmax"]
    assert [item.frames for item in report.latencies] == [2, 2]
    assert report.engine_call is None
    assert "fixed batch of 2" in page.read_text()
    assert commands(report)[0].endswith("--batch 2 --input image --output classes")


def test_few_pytorch_runs_and_a_busy_machine_are_noted() -> None:
    latencies = (Latency("engine infer", (1.0,) * 100), Latency("PyTorch eager", (900.0,) * 20))
    notes = profile_module._notes(latencies, None, 99.0)
    assert "load average of 99.0" in notes[0]
    assert "timed 20 times only" in notes[1]
    assert profile_module._notes(latencies[:1], None, 0.0) == []


@pytest.mark.parametrize("package", ["jinja2", "matplotlib"])
def test_a_missing_package_is_told_before_anything_is_measured(
    engine_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == package else real(name))
    monkeypatch.setattr(profile_module, "load", lambda *_, **__: pytest.fail("measured first"))
    with pytest.raises(MissingExtraError, match=rf"{package}(.|\n)*evit-deploy\[report\]"):
        profile_engine(engine_folder, tmp_path)


def test_a_place_that_cannot_be_written_is_told_before_anything_is_measured(
    engine_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(profile_module, "load", lambda *_, **__: pytest.fail("measured first"))
    (tmp_path / "profiles").write_text("a file")
    with pytest.raises(UsageError, match="no profile can be written to"):
        profile_engine(engine_folder, tmp_path / "profiles")
    assert (tmp_path / "profiles").read_text() == "a file"


def test_the_command_exits_1_on_disagreement_and_writes(
    engine_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from evit_deploy.cli.main import main

    quick(monkeypatch)
    monkeypatch.setitem(BUDGETS, "fp32", IMPOSSIBLE)
    monkeypatch.setattr(sys, "argv", ["evit-deploy", "profile", str(engine_folder), "--workspace", str(tmp_path)])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 1
    output = capsys.readouterr()
    assert "engine infer" in output.out
    assert "does not agree with PyTorch" in output.err
    page = (tmp_path / "profiles" / engine_folder.name / "report.html").read_text()
    assert '<dd class="value bad">Failed</dd>' in page


def test_footprint_is_the_engines_not_the_parents(engine_folder: Path) -> None:
    ballast = np.ones(60_000_000)  # 480 MB that a child's ru_maxrss would inherit
    footprint = measure_footprint(engine_folder)
    assert ballast[0] == 1
    assert 1 < footprint.peak_memory_mb < 450
    assert 0 < footprint.load_seconds < 60
    assert 0 < footprint.first_call_ms < 60_000


def test_footprint_of_a_damaged_engine(own_engine: Path) -> None:
    (own_engine / "model.onnx").write_bytes(b"")
    with pytest.raises(UnavailableError, match="fresh process"):
        measure_footprint(own_engine)
    with pytest.raises(ArtifactError):
        profile_engine(own_engine, own_engine.parent)


def test_environment_names_what_is_imported() -> None:
    found = environment("numpy")
    assert found["numpy"] == np.__version__
    assert "not_imported" not in environment("not_imported")


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino", "tensorrt", "tensorrt_rtx"])
def test_only_engines_for_gpus_have_bindings(monkeypatch: pytest.MonkeyPatch, backend: str) -> None:
    monkeypatch.setitem(sys.modules, "cuda.bindings", Mock(__version__="12.9"))
    found = environment(backend)
    assert found.get("cuda.bindings") == ("12.9" if backend.startswith("tensorrt") else None)
    assert all(isinstance(value, str) for value in found.values())
