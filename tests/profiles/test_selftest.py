# SPDX-License-Identifier: Apache-2.0
"""The selftest, really run on the CPU; with a GPU's compiler replaced where there is no GPU."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import pytest

from evit_deploy.engines import build_engine, compilation, compiler, doctor
from evit_deploy.engines.compiler import Job
from evit_deploy.engines.tensorrt import TensorRtCompiler
from evit_deploy.errors import ArtifactError, CheckFailedError, MissingExtraError, UnavailableError, UsageError
from evit_deploy.manifest import Manifest, read_artifact
from evit_deploy.profiles import latency, selftest, selftest_cases
from evit_deploy.profiles.selftest import Selftest, Step, run_selftest
from evit_deploy.profiles.selftest_cases import Case, LeftOut, rename_target
from evit_deploy.profiles.shipped import CLASSES, EXPORT, LOGITS, unpack
from evit_deploy.progress import Progress
from evit_deploy.targets import TARGETS, TargetSpec, device
from evit_deploy.targets.device import Device, this_device
from tests.conftest import require

A100 = Device("NVIDIA A100-SXM4-80GB", "8.0", 108, 85.1, False, "12.8")
RUN = ["build", "load", "verify", "profile"]


def record(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))  # type: ignore[no-any-return]


def test_two_models_are_exported_built_loaded_verified_and_profiled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EVIT_TRUSTED_KEYS", "nobody's")  # its own engines exist for a minute, and nobody signs them
    outcome = run_selftest(tmp_path / "out.json")
    assert os.environ["EVIT_TRUSTED_KEYS"] == "nobody's"
    outcome.require()
    assert [(step.model, step.name) for step in outcome.steps] == [
        (model, name) for model in ("b0-seg", "b0-cls") for name in ("export", *RUN)
    ]
    assert {step.result for step in outcome.steps} == {"ok"}
    data = record(tmp_path / "out.json")
    assert (data["format"], data["gpu"], data["result"], data["reason"]) == (1, False, "passed", None)
    assert [step["name"] for step in data["steps"]] == [step.name for step in outcome.steps]
    assert data["doctor"]["versions"]["evit-deploy"]
    assert "device" in data["doctor"]
    assert data["packages"]["numpy"]
    assert "median" in data["steps"][-1]["detail"]


PROGRAM = """
import sys
for name in ("torch", "onnx", "onnxsim", "matplotlib", "jinja2", "PIL", "cv2", "safetensors"):
    sys.modules[name] = None
from pathlib import Path
from evit_deploy.profiles.selftest import run_selftest
outcome = run_selftest(Path("out.json"))
outcome.require()
print([step.name for step in outcome.steps])
"""


def test_a_cpu_without_pytorch_builds_what_travels_with_the_package(tmp_path: Path) -> None:
    """In a process of its own that sees neither PyTorch nor onnx nor any image library."""
    answer = subprocess.run([sys.executable, "-c", PROGRAM], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.strip() == str(RUN)
    assert record(tmp_path / "out.json")["result"] == "passed"


@pytest.fixture
def without_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    if this_device() is not None:
        pytest.skip("this machine has a GPU")


@pytest.mark.usefixtures("without_gpu")
def test_without_a_gpu_what_can_be_compiled_is(tmp_path: Path) -> None:
    require("tensorrt_rtx")
    outcome = run_selftest(tmp_path / "out.json", gpu=True)
    results = {(step.model, step.name): step.result for step in outcome.steps}
    assert results[CLASSES, "build"] == "ok"
    assert [results[CLASSES, name] for name in RUN[1:]] == ["not here"] * 3
    assert {results[LOGITS, name] for name in RUN} == {"left out"}, "one batch size only"
    with pytest.raises(UnavailableError, match="cannot do 'load'"):
        outcome.require()
    assert record(tmp_path / "out.json")["result"] == "not here"


def _refused(target: Any, precision: str, *, required: bool) -> None:
    raise UnavailableError(f"no compiler on this machine builds {precision} for {target.name}")


@pytest.mark.parametrize("gpu", [False, True])
@pytest.mark.parametrize("device", [None, A100])
def test_a_machine_without_a_compiler_leaves_a_record_too(
    gpu: bool, device: Device | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(selftest_cases, "this_device", lambda: device)
    monkeypatch.setattr(selftest_cases, "choose_compiler", _refused)
    outcome = run_selftest(tmp_path / "out.json", gpu=gpu)
    assert outcome.steps == ()
    name = "cpu" if not gpu else "a100" if device else "rtx"
    with pytest.raises(UnavailableError, match=f"no compiler on this machine builds fp(16|32) for {name}"):
        outcome.require()
    data = record(tmp_path / "out.json")
    assert (data["result"], data["steps"]) == ("not here", [])
    assert "no compiler" in data["reason"]


def test_a_gpu_of_no_target_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    xavier = Device("Xavier", "7.2", 8, 33.0, True, "11.4")
    monkeypatch.setattr(selftest_cases, "this_device", lambda: xavier)
    outcome = run_selftest(tmp_path / "out.json", gpu=True)
    with pytest.raises(UnavailableError, match="no target for this GPU") as caught:
        outcome.require()
    assert "compute capability 7.2" in str(caught.value)


def _jetson(memory_gb: float, sms: int, board: str | None) -> Device:
    return Device("Orin", "8.7", sms, memory_gb, True, "12.6", board, "36.4.3", "6.2", "MAXN_SUPER")


@pytest.mark.parametrize(
    ("device", "target"),
    [
        (_jetson(65.8, 16, "NVIDIA Jetson AGX Orin Developer Kit"), "orin"),
        (_jetson(16.4, 8, "NVIDIA Jetson Orin NX Engineering Reference Developer Kit Super"), "orin-nx"),
        (_jetson(16.4, 8, None), "orin-nx"),
        (_jetson(8.0, 8, "NVIDIA Jetson Orin NX Engineering Reference Developer Kit"), "orin-nx"),
        (_jetson(8.0, 8, "NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super"), "orin-nano"),
        (_jetson(3.7, 4, None), "orin-nano"),
        (_jetson(8.0, 8, None), "orin"),  # in a container: one of two, and neither says which
        (A100, "a100"),
    ],
)
def test_engines_are_compiled_for_the_target_that_the_gpu_is(
    device: Device, target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(selftest_cases, "choose_compiler", lambda *_, **__: None)
    assert selftest_cases._gpu_target(device).name == target


def test_another_target_of_the_same_gpu_is_taken_where_only_that_can_be_compiled_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def choose(spec: TargetSpec, *_: Any, **__: Any) -> None:
        if spec.name != "rtx":
            raise UnavailableError("no TensorRT")

    monkeypatch.setattr(selftest_cases, "choose_compiler", choose)
    assert selftest_cases._gpu_target(A100).name == "rtx"


@pytest.mark.parametrize("content", [None, b"", b"no archive"])
@pytest.mark.parametrize("on", [None, A100])
def test_a_damaged_archive_leaves_a_record(
    content: bytes | None, on: Device | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = tmp_path / "selftest.tar.xz"
    if content is not None:
        archive.write_bytes(content)
    monkeypatch.setattr(selftest_cases, "this_device", lambda: on)
    monkeypatch.setattr(selftest_cases, "choose_compiler", lambda *_, **__: None)
    monkeypatch.setattr(selftest_cases, "unpack", lambda folder: unpack(folder, archive))
    outcome = run_selftest(tmp_path / "out.json", gpu=True)
    with pytest.raises(ArtifactError, match="cannot be read") as caught:
        outcome.require()
    assert caught.value.fix
    data = record(tmp_path / "out.json")
    assert (data["result"], data["steps"]) == ("failed", [])
    assert "cannot be read" in data["reason"]
    assert "in unpack" in data["traceback"]


def test_an_error_that_nobody_thought_of_leaves_a_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("something new")

    monkeypatch.setattr(selftest, "cpu_cases", broken)
    outcome = run_selftest(tmp_path / "out.json")
    with pytest.raises(RuntimeError, match="something new"):
        outcome.require()
    data = record(tmp_path / "out.json")
    assert (data["result"], data["reason"]) == ("failed", "something new")


BROKEN = "libnvinfer.so.10: cannot open shared object file"


def test_why_a_compiler_does_not_import_is_in_the_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tensorrt.py").write_text(f"raise ImportError({BROKEN!r})")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "tensorrt", raising=False)
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", None)
    monkeypatch.setattr(selftest, "cpu_cases", lambda *_: [])
    run_selftest(tmp_path / "out.json")
    packages = record(tmp_path / "out.json")["packages"]
    assert packages["tensorrt"] == f"does not import: {BROKEN}"
    assert packages["tensorrt_rtx"] == "not installed"


@pytest.fixture
def on_an_a100(monkeypatch: pytest.MonkeyPatch) -> list[Manifest]:
    """A machine with an A100 and a TensorRT, whose engines are run by the CPU; the lowered engines it was given."""
    given: list[Manifest] = []

    def compile_engine(source: Path, folder: Path, **_: Any) -> tuple[Manifest, bool]:
        given.append(read_artifact(source))
        logging.getLogger("evit_deploy.engines.tensorrt").warning("no plan is kept")
        return build_engine(source.parent / EXPORT, folder, target="cpu")

    monkeypatch.setattr(selftest_cases, "this_device", lambda: A100)
    monkeypatch.setattr(selftest_cases, "choose_compiler", lambda *_, **__: None)
    monkeypatch.setattr(selftest_cases, "compile_engine", compile_engine)
    return given


def test_a_gpu_compiles_both_lowered_engines(tmp_path: Path, on_an_a100: list[Manifest]) -> None:
    outcome = run_selftest(tmp_path / "out.json", gpu=True)
    outcome.require()
    assert [(step.model, step.name) for step in outcome.steps] == [(m, name) for m in (CLASSES, LOGITS) for name in RUN]
    assert [given.engine.target for given in on_an_a100 if given.engine] == ["a100", "a100"]
    data = record(tmp_path / "out.json")
    assert (data["gpu"], data["result"]) == (True, "passed")
    assert data["log"] == ["WARNING evit_deploy.engines.tensorrt: no plan is kept"] * 2


@pytest.mark.usefixtures("on_an_a100")
@pytest.mark.parametrize(
    ("error", "words"),
    [
        (RuntimeError("out of memory"), "RuntimeError: out of memory"),
        (CheckFailedError("the engine does not agree"), "the engine does not agree"),
        (
            ArtifactError("it is damaged", found="a byte", fix="copy it again"),
            "it is damaged; a byte; fix: copy it again",
        ),
    ],
)
def test_what_fails_is_in_the_record_with_its_traceback(
    error: Exception, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def compile_engine(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(selftest_cases, "compile_engine", compile_engine)
    outcome = run_selftest(tmp_path / "out.json", gpu=True)
    assert [step.result for step in outcome.steps] == ["failed", "left out", "left out", "left out"] * 2
    with pytest.raises(CheckFailedError, match=f"build of {CLASSES}") as caught:
        outcome.require()
    assert caught.value.found == words
    assert "out.json" in str(caught.value.fix)
    data = record(tmp_path / "out.json")
    assert data["result"] == "failed"
    assert f"{type(error).__name__}: " in data["steps"][0]["traceback"]
    assert "in compile_engine" in data["steps"][0]["traceback"]


@pytest.mark.usefixtures("on_an_a100")
def test_too_little_memory_is_no_bug(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def compile_engine(*_: Any, **__: Any) -> None:
        raise UnavailableError("too little memory is free to build an engine", found="90 MiB", fix="stop programs")

    monkeypatch.setattr(selftest_cases, "compile_engine", compile_engine)
    outcome = run_selftest(tmp_path / "out.json", gpu=True)
    assert {step.result for step in outcome.steps} == {"not here"}
    with pytest.raises(UnavailableError, match=f"cannot do 'build' of {CLASSES}") as caught:
        outcome.require()
    assert caught.value.found == "too little memory is free to build an engine; 90 MiB; fix: stop programs"
    data = record(tmp_path / "out.json")
    assert data["result"] == "not here"
    assert "in compile_engine" in data["steps"][0]["traceback"]


@pytest.mark.usefixtures("on_an_a100")
def test_an_engine_that_is_only_emulated_is_not_verified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selftest_cases, "compile_engine", lambda source, folder, **_: _copy(source, folder))
    outcome = run_selftest(tmp_path / "out.json", gpu=True)
    steps = {(step.model, step.name): step for step in outcome.steps}
    assert {steps[CLASSES, name].result for name in RUN[1:]} == {"not here"}
    assert "not compiled yet" in steps[CLASSES, "load"].detail


def _copy(source: Path, folder: Path) -> tuple[Manifest, bool]:
    return rename_target(source, folder, TARGETS["a100"]), True


def test_a_failure_counts_more_than_what_is_not_here(tmp_path: Path) -> None:
    steps = (Step("a", "load", "not here", 0, "no GPU"), Step("b", "load", "failed", 0, "broken"))
    with pytest.raises(CheckFailedError, match="load of b"):
        Selftest(steps, None, tmp_path).require()


@pytest.mark.parametrize("kind", [UnavailableError, LeftOut])
def test_steps_after_one_that_is_not_done_are_not_done(kind: type[Exception]) -> None:
    def stop() -> str:
        raise kind("the reason")

    def never() -> str:
        raise AssertionError

    steps = list(selftest._run(Case("m", (("build", lambda: "fine"), ("load", stop), ("verify", never)))))
    assert steps[0].result == "ok"
    assert {step.result for step in steps[1:]} == {"not here" if kind is UnavailableError else "left out"}
    assert {step.detail for step in steps[1:]} == {"the reason"}


def test_a_missing_extra_is_named_with_its_command() -> None:
    def step() -> str:
        raise MissingExtraError("onnx", "export", "Lowering")

    (found,) = selftest._run(Case("m", (("build", step),)))
    assert found.result == "not here"
    assert found.detail.endswith("fix: pip install 'evit-deploy[export]'")


@pytest.mark.parametrize("place", ["missing/out.json", ".", "file/out.json", "/dev/null", "/proc/out.json"])
def test_a_place_that_is_none_is_refused_before_anything_is_done(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setattr(selftest, "cpu_cases", lambda *_: pytest.fail("it was begun"))
    with pytest.raises(UsageError, match="no place for a file"):
        run_selftest(tmp_path / place)


@pytest.fixture
def an_orin(monkeypatch: pytest.MonkeyPatch) -> None:
    """An Orin as far as everything above the CUDA API sees: what TensorRT would run, ONNX Runtime runs."""
    require("cuda.bindings.runtime")
    from tests.runtime.cuda.conftest import ORIN, install
    from tests.runtime.doubles.trt import plan_of
    from tests.runtime.doubles.world import World

    def compile_plan(self: TensorRtCompiler, job: Job, progress: Progress) -> str:
        (job.folder / "engine.plan").write_bytes(plan_of(job.graph.read_bytes()))
        return "engine.plan"

    install(monkeypatch, World(integrated=True))
    sys.modules["tensorrt"].__spec__ = ModuleSpec("tensorrt", None)
    for place in (device, selftest_cases, doctor, compilation, compiler):
        monkeypatch.setattr(place, "this_device", lambda: ORIN)
    monkeypatch.setattr(TensorRtCompiler, "obstacle", lambda self, precision, target: None)
    monkeypatch.setattr(TensorRtCompiler, "compile", compile_plan)
    monkeypatch.setattr(selftest_cases, "RUNS", 2)  # ONNX Runtime takes half a second for FP16
    monkeypatch.setattr(
        selftest_cases, "measure_together",
        lambda subjects, **_: latency.measure_together(subjects, warm_up_calls=1, warm_up_seconds=0),
    )  # fmt: skip


@pytest.mark.usefixtures("an_orin")
def test_the_whole_way_on_a_gpu(tmp_path: Path) -> None:
    """Compiled, loaded by the CUDA backend, verified and timed: all that is ours, with the double below it."""
    outcome = run_selftest(tmp_path / "out.json", gpu=True)
    outcome.require()
    steps = {(step.model, step.name): step.detail for step in outcome.steps}
    assert len(steps) == 8
    assert steps[CLASSES, "build"] == "tensorrt 10.3.0, fp16"
    assert steps[LOGITS, "load"].endswith("with 10.3.0")
    assert "relative L2" in steps[LOGITS, "verify"]
    data = record(tmp_path / "out.json")
    assert data["doctor"]["device"]["gpu"] == "Orin"


@pytest.mark.parametrize("target", [name for name, spec in TARGETS.items() if spec.attention])
def test_a_lowered_engine_can_be_that_of_any_gpu(target: str, tmp_path: Path) -> None:
    unpack(tmp_path)
    before = read_artifact(tmp_path / CLASSES)
    after = rename_target(tmp_path / CLASSES, tmp_path / "renamed", TARGETS[target])
    assert after == read_artifact(tmp_path / "renamed")
    assert after.engine is not None
    assert before.engine is not None
    assert after.engine.target == target
    assert after.key != before.key
    assert after.files == before.files
    assert after.engine.attention == TARGETS[target].attention


@pytest.mark.gpu
def test_this_gpu_passes(tmp_path: Path) -> None:
    if this_device() is None:
        pytest.skip("needs an NVIDIA GPU")
    run_selftest(tmp_path / "out.json", gpu=True).require()
