# SPDX-License-Identifier: Apache-2.0
"""Graphs with their plans, from names and folders; TensorRT for RTX really compiles."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from evit_deploy.engines.plan import Plan, write_plan
from evit_deploy.errors import UsageError
from evit_deploy.manifest import write_artifact
from evit_deploy.manifest.store import content_key
from evit_deploy.models.zoo import find_model, list_models
from evit_deploy.profiles.predict import conditions, predict_plan, store
from evit_deploy.profiles.predict.artifacts import artifact_subjects
from evit_deploy.profiles.predict.cost import Work, calibration, run_ms
from evit_deploy.profiles.predict.fit import plans
from evit_deploy.profiles.predict.plans import maker
from evit_deploy.profiles.predict.sources import find_subjects, key_of, model_subjects
from evit_deploy.profiles.predict.subject import FALLBACK
from tests.conftest import require
from tests.manifest.sample import sample_manifest
from tests.profiles.predict.made import kernel

SMALL = (64, 128)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_a_model() -> None:
    require("tensorrt_rtx")
    (found,) = model_subjects(find_model("b0-seg"), SMALL)
    assert (found.name, found.model, found.resolution, found.batch) == ("b0-seg", "b0-seg", SMALL, 1)
    assert (found.input, found.output, found.precision, found.origin) == ("image", "classes", "fp16", maker())
    assert (found.inputs, found.outputs) == (64 * 128 * 3, 64 * 128)
    assert 50 < len(found.plan.working) < 120
    stages = list(predict_plan(found, conditions("orin")).stages)
    assert stages == ["input", "stem", "stage 1", "stage 2", "stage 3", "stage 4", "head", "output"]


def test_the_plan_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    require("tensorrt_rtx")
    first = model_subjects(find_model("b0-seg"), SMALL, "logits")
    monkeypatch.setattr("evit_deploy.profiles.predict.graphs.whole_graph", lambda *_: pytest.fail("traced again"))
    assert model_subjects(find_model("b0-seg"), SMALL, "logits") == first


def test_the_reference_s_graph() -> None:
    """Float in, float out, and more to move than ours."""
    require("tensorrt_rtx")
    (plain,) = model_subjects(find_model("b0-seg"), SMALL, plain=True)
    (ours,) = model_subjects(find_model("b0-seg"), SMALL, "logits")
    assert (plain.input, plain.output) == ("tensor", "logits")
    assert plain.inputs == 4 * ours.inputs
    assert "(plain)" in plain.name
    assert plain.plan != ours.plan


def test_a_batch_moves_more() -> None:
    require("tensorrt_rtx")
    one, four = (model_subjects(find_model("b0-seg"), SMALL, "logits", batch)[0] for batch in (1, 4))
    assert four.inputs == 4 * one.inputs
    assert four.plan.flops == 4 * one.plan.flops


def test_without_a_compiler_the_graph_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    require("tensorrt_rtx")
    (real,) = model_subjects(find_model("b0-seg"), SMALL)
    monkeypatch.setattr("evit_deploy.profiles.predict.plans.COMPILER.version", lambda: None)
    (guessed,) = model_subjects(find_model("b0-seg"), SMALL)
    assert guessed.origin == FALLBACK
    assert guessed.plan.flops == real.plan.flops
    assert guessed.inputs == real.inputs
    found, expected = (predict_plan(each, conditions("orin")).ms for each in (guessed, real))
    assert found == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize("name", list_models())
def test_every_model_s_plan_is_shipped_and_current(name: str) -> None:
    """Otherwise: python tools/make_plans.py."""
    for subject in model_subjects(find_model(name), find_model(name).resolution):
        assert content_key(**key_of(subject)) in store._shipped()
        assert subject.origin.startswith("TensorRT for RTX")
        assert predict_plan(subject, conditions("orin")).ms > 0


def test_a_shipped_plan_is_read_without_pytorch() -> None:
    """A robot has none, and a laptop that has it need not wait seconds for it."""
    program = (
        "import sys; from pathlib import Path; from evit_deploy.profiles.predict import Asked, predict;"
        "predict('b1-seg', Path('nowhere'), Asked('orin')); print(sys.modules.keys() & {'torch', 'onnx', 'onnxsim'})"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "set()"


def test_a_shipped_plan_is_what_is_compiled_now(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    require("tensorrt_rtx")
    (shipped,) = model_subjects(find_model("b0-cls"))
    monkeypatch.setattr(store, "SHIPPED", tmp_path / "none")
    store._shipped.cache_clear()
    try:
        assert model_subjects(find_model("b0-cls")) == (shipped,)
    finally:
        store._shipped.cache_clear()


def test_a_published_plan_is_what_is_compiled_now() -> None:
    require("tensorrt_rtx")
    (subject,) = model_subjects(find_model("b1-cls"), plain=True)
    work, kernels = Work.of(subject.plan.working), plans()["plans"]["b1-cls 224x224"]["kernels"]
    assert len(work.flops) == len(kernels)
    assert work.activations.sum() == pytest.approx(sum(kernel[0] for kernel in kernels))
    assert run_ms(work, 0, conditions("orin"), calibration().constants) > 1


def test_segment_anything_is_encoder_and_decoder() -> None:
    encoder, decoder = model_subjects(find_model("l0-sam"))
    assert (encoder.output, decoder.input, decoder.output) == ("embedding", "prompts", "masks")
    assert decoder.name == "l0-sam decoder"
    assert 50 < len(decoder.plan.working) < 200


def write_engine(folder: Path) -> Path:
    manifest = sample_manifest("engine")
    assert manifest.engine is not None
    manifest = replace(manifest, engine=replace(manifest.engine, target="rtx"))
    with write_artifact(folder) as writer:
        (writer.folder / manifest.graph.file).write_bytes(b"a graph")
        write_plan(writer.folder, Plan("tensorrt_rtx", "1.7", "sm86", (kernel("backbone.stages.0.conv", 100, 10),)))
        writer.commit(manifest)
    return folder


def test_an_engine_s_own_plan(tmp_path: Path) -> None:
    folder = write_engine(tmp_path / "engines" / "some.engine")
    for what in (folder, str(folder), "some.engine"):
        (found,) = find_subjects(what, tmp_path)
        assert found.origin == "tensorrt_rtx 1.7, sm86"
        assert len(found.plan.kernels) == 1
    with pytest.raises(UsageError, match="made already"):
        find_subjects("some.engine", tmp_path, resolution=(64, 128))


def test_an_export(tmp_path: Path) -> None:
    require("tensorrt_rtx")
    from evit_deploy.export import ExportOptions, export_model

    export_model("b0-seg", tmp_path / "export" / "mine", ExportOptions(weights="random", resolution=SMALL))
    (found,) = find_subjects("mine", tmp_path)
    (model,) = model_subjects(find_model("b0-seg"), SMALL)
    assert found.name == "mine"
    assert found.plan.flops == model.plan.flops
    assert len(found.plan.working) == len(model.plan.working)
    assert (found.inputs, found.outputs) == (model.inputs, model.outputs)


def test_the_plan_of_an_export_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    require("tensorrt_rtx")
    from evit_deploy.export import ExportOptions, export_model

    export_model("b0-cls", tmp_path / "export" / "one", ExportOptions(weights="random", resolution=SMALL))
    (first,) = find_subjects("one", tmp_path)
    (tmp_path / "export" / "one").rename(tmp_path / "export" / "other")
    monkeypatch.setattr("evit_deploy.precision.lower.lower", lambda *_: pytest.fail("lowered again"))
    (again,) = find_subjects("other", tmp_path)
    assert (first.name, again.name) == ("one", "other")
    assert again.plan == first.plan


@pytest.mark.parametrize("precision", ["fp16", "fp32"])
def test_an_engine_that_was_lowered_and_not_compiled(tmp_path: Path, precision: str) -> None:
    require("tensorrt_rtx")
    from evit_deploy.engines import build_engine
    from evit_deploy.export import ExportOptions, export_model

    export_model("b0-cls", tmp_path / "export" / "b0-cls", ExportOptions(weights="random", resolution=SMALL))
    name = f"b0-cls.orin.{precision}"
    build_engine(tmp_path / "export" / "b0-cls", tmp_path / "engines" / name, target="orin", precision=precision)
    (found,) = find_subjects(name, tmp_path)
    assert (found.precision, found.target, found.origin) == (precision, "orin", maker())
    assert predict_plan(found, conditions("orin")).precision == precision


def test_a_model_s_name_means_the_model(tmp_path: Path) -> None:
    """An export of that name has a folder to be named by."""
    from evit_deploy.export import ExportOptions, export_model

    export_model("b0-cls", tmp_path / "export" / "b0-cls", ExportOptions(weights="random", resolution=SMALL))
    (found,) = find_subjects("b0-cls", tmp_path)
    assert found.resolution == (224, 224)
    assert any("for the export of that name: evit-deploy predict" in note for note in found.notes)
    assert find_subjects("b0-cls", tmp_path / "elsewhere")[0].notes == ()


def test_an_export_of_many_batch_sizes(tmp_path: Path) -> None:
    from evit_deploy.export import ExportOptions, export_model

    options = ExportOptions(weights="random", resolution=SMALL, batch=(1, 4))
    export_model("b0-cls", tmp_path / "export" / "many", options)
    with pytest.raises(UsageError, match=r"takes batches of 1 to 4(?s:.*)--batch N"):
        find_subjects("many", tmp_path)


@pytest.mark.parametrize("more", [{"output": "logits"}, {"batch": 4}])
def test_the_reference_s_graph_has_no_choice(more: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="gives logits"):
        find_subjects("b1-seg", tmp_path, plain=True, **more)


def test_a_batch_of_none(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="batch is out of range"):
        find_subjects("b1-seg", tmp_path, batch=0)


def test_an_engine_of_a_cpu_is_measured(engine_folder: Path) -> None:
    with pytest.raises(UsageError, match="engine for a CPU"):
        artifact_subjects(engine_folder)


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("no/such/folder", "no engine or export"), ("b9-seg", "no model"), ("x" * 300, "no model"),
        ("notes.txt", "no engine or export in notes.txt"),
    ],
)  # fmt: skip
def test_nothing_of_that_name(what: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes.txt").touch()
    with pytest.raises(UsageError, match=message):
        find_subjects(what, tmp_path)
