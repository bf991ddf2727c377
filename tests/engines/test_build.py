# SPDX-License-Identifier: Apache-2.0
"""Building: refused with a reason, a no-op when nothing changed, and written only if the engine agrees with PyTorch."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from evit_deploy.agreement import BUDGETS
from evit_deploy.engines import build, build_engine
from evit_deploy.engines import onnxruntime as ort_compiler
from evit_deploy.engines import openvino as ov_compiler
from evit_deploy.engines.compiler import Job
from evit_deploy.errors import ArtifactError, CheckFailedError, MissingExtraError, UnavailableError, UsageError
from evit_deploy.export import ExportOptions, export_model
from evit_deploy.manifest import Budget, read_artifact, sha256_of, write_artifact
from evit_deploy.progress import Progress
from evit_deploy.runtime.engine import open_engine
from evit_deploy.runtime.verify import Reference
from evit_deploy.targets import TARGETS
from tests.conftest import SMALL
from tests.manifest.sample import entries, snapshot

LENIENT = Budget(relative_l2=0.5, class_agreement=0.5, conceded_margin=5.0, confidence_error=1.0)
"""Random weights decide by a hair's breadth, so BF16 flips more pixels than with trained ones."""
HAS_BF16 = ov_compiler.COMPILER.version() is not None and ov_compiler.COMPILER.obstacle("bf16", TARGETS["cpu"]) is None


@pytest.fixture(scope="module")
def export(small_workspace: Path) -> Path:
    """The small export. Do not change it."""
    return small_workspace / "export" / "b0-seg"


@pytest.fixture(scope="module")
def logits_export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small export ending in logits. Do not change it."""
    folder = tmp_path_factory.mktemp("logits") / "export" / "b0-seg"
    export_model("b0-seg", folder, ExportOptions(weights="random", resolution=SMALL, output="logits"))
    return folder


@pytest.fixture
def perturb(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[np.ndarray], np.ndarray]], None]:
    """Make ONNX Runtime's compiler change the weights of every convolution it compiles."""

    class Perturbing(ort_compiler.OnnxRuntimeCompiler):
        def __init__(self, change: Callable[[np.ndarray], np.ndarray]) -> None:
            self.change = change

        def version(self) -> str:
            return "perturbing"

        def compile(self, job: Job, progress: Progress) -> str:
            model = onnx.load(job.graph)
            for tensor in model.graph.initializer:
                if len(tensor.dims) == 4:
                    changed = self.change(numpy_helper.to_array(tensor)).astype(np.float32)
                    tensor.CopyFrom(numpy_helper.from_array(changed, tensor.name))
            onnx.save(model, job.folder / "perturbed.onnx")
            return super().compile(replace(job, graph=job.folder / "perturbed.onnx"), progress)

    return lambda change: monkeypatch.setattr(ort_compiler, "COMPILER", Perturbing(change))


def _run(folder: Path, images: np.ndarray) -> np.ndarray:
    with open_engine(folder, read_artifact(folder)) as engine:
        return np.concatenate([engine.infer({"image": image[None]})["logits"].copy() for image in images])


def _difference(ours: np.ndarray, theirs: np.ndarray) -> float:
    return float(np.linalg.norm(ours - theirs) / np.linalg.norm(theirs))


# Refusals


def test_an_unknown_target_names_the_nearest(export: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no target 'orinnx'") as caught:
        build_engine(export, tmp_path / "e", target="orinnx")
    assert "orin-nx" in str(caught.value.expected)
    assert entries(tmp_path) == []


@pytest.mark.parametrize(
    ("precision", "reason"), [("fp16", "CPUs compute FP16 graphs in FP32"), ("int8", "what INT8 gains on a CPU")]
)
def test_a_precision_that_cpus_do_not_have(precision: str, reason: str, export: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=f"{precision} is not built for cpu") as caught:
        build_engine(export, tmp_path / "e", target="cpu", precision=precision)
    assert reason in str(caught.value.found)
    assert caught.value.expected == "--fp32 or --bf16"
    assert caught.value.exit_code == 2
    assert entries(tmp_path) == []


def test_a_batch_takes_the_matmul_form_and_says_so(tmp_path: Path) -> None:
    options = ExportOptions(weights="random", resolution=SMALL, batch=(1, 2), output="logits")
    export_model("b0-seg", tmp_path / "export" / "b0-seg", options)
    manifest, _ = build_engine(tmp_path / "export" / "b0-seg", tmp_path / "e", target="orin", precision="fp32")
    assert manifest.engine is not None
    assert manifest.engine.attention == "matmul"
    assert "because 'conv' is for batch 1" in manifest.engine.notes[0]


@pytest.mark.parametrize("constant", ["lowering.LOWERING", "lowering.onnx"])
def test_another_lowering_is_another_engine(
    constant: str, export: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert build_engine(export, tmp_path / "e", target="orin", precision="fp32")[1]
    assert not build_engine(export, tmp_path / "e", target="orin", precision="fp32")[1]
    if constant.endswith("LOWERING"):
        monkeypatch.setattr("evit_deploy.engines.lowering.LOWERING", 0)
    else:
        monkeypatch.setattr(onnx, "__version__", "0")
    assert build_engine(export, tmp_path / "e", target="orin", precision="fp32")[1]


@pytest.mark.parametrize("target", [name for name, spec in TARGETS.items() if spec.attention])
def test_a_precision_that_gpus_do_not_have(target: str, export: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=f"bf16 is not built for {target}") as caught:
        build_engine(export, tmp_path / "e", target=target, precision="bf16")
    assert "not offered on GPUs" in str(caught.value.found)
    assert str(caught.value.expected).startswith("--fp32 or --fp16")
    assert entries(tmp_path) == []


@pytest.mark.parametrize(
    ("options", "words"),
    [({"compiler": "openvino"}, "openvino does not build for orin"), ({"arch": "sm87"}, "no architecture to choose")],
    ids=["compiler", "arch"],
)
def test_a_device_that_compiles_for_itself_leaves_no_choice(
    options: dict[str, str], words: str, export: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=words):
        build_engine(export, tmp_path / "e", target="orin", precision="fp16", **options)
    assert entries(tmp_path) == []


def test_an_architecture_means_nothing_to_a_cpu(export: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no architecture to choose for cpu"):
        build_engine(export, tmp_path / "e", target="cpu", arch="sm86")
    assert entries(tmp_path) == []


def test_bf16_is_refused_by_onnxruntime(export: Path, tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="bf16") as caught:
        build_engine(export, tmp_path / "e", target="cpu", precision="bf16", compiler="onnxruntime")
    assert "computes in FP32" in str(caught.value.found)
    assert entries(tmp_path) == []


def test_a_missing_compiler_names_the_extra(export: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ov_compiler.OpenVinoCompiler, "version", lambda self: None)
    with pytest.raises(UnavailableError, match=r"evit-deploy\[openvino\]"):
        build_engine(export, tmp_path / "e", target="cpu", compiler="openvino")
    assert entries(tmp_path) == []


def test_an_engine_cannot_be_built_again(own_engine: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is an engine, not an export"):
        build_engine(own_engine, tmp_path / "e", target="cpu")
    assert entries(tmp_path) == ["engine"]


def test_a_folder_that_is_no_export(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not an artifact"):
        build_engine(tmp_path, tmp_path / "e", target="cpu")


def _edit_weight(path: Path) -> None:
    model = onnx.load(path)
    tensor = next(tensor for tensor in model.graph.initializer if len(tensor.dims) == 4)
    tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * np.float32(1.0001), tensor.name))
    onnx.save(model, path)


@pytest.mark.parametrize(
    "damage", [_edit_weight, lambda path: path.write_bytes(path.read_bytes()[:-100])], ids=["edited", "truncated"]
)
@pytest.mark.parametrize("compiler", ["onnxruntime", "openvino"])
def test_a_damaged_export_is_refused(
    damage: Callable[[Path], None], compiler: str, own_export: Path, tmp_path: Path
) -> None:
    damage(own_export / "model.onnx")
    with pytest.raises(ArtifactError, match=r"model\.onnx is not the file that was verified"):
        build_engine(own_export, tmp_path / "e", target="cpu", compiler=compiler)
    assert entries(tmp_path) == ["export"]


# What is written


def test_an_engine_explains_itself(engine_folder: Path, export: Path) -> None:
    manifest, source = read_artifact(engine_folder), read_artifact(export)
    assert manifest.engine is not None
    assert manifest.kind == "engine"
    assert (manifest.engine.target, manifest.engine.precision, manifest.engine.state) == ("cpu", "fp32", "compiled")
    assert manifest.engine.compiler in engine_folder.name
    assert manifest.engine.compiler_version
    assert manifest.engine.entry in manifest.files
    assert manifest.agreement.passed
    assert manifest.agreement.against.startswith("PyTorch")
    assert manifest.warnings == source.warnings
    assert (manifest.weights, manifest.model, manifest.graph) == (source.weights, source.model, source.graph)
    for name in ("model.onnx", "reference.npz"):
        assert manifest.files[name] == source.files[name]


@pytest.mark.parametrize(
    ("path", "compiler", "name"),
    [
        ("export/b0-seg", None, "b0-seg.cpu.fp32"),
        ("export/b0-seg/", "openvino", "b0-seg.cpu.fp32.openvino"),
        ("export/b0-seg/../b0-seg", None, "b0-seg.cpu.fp32"),
    ],
)
def test_the_name_of_an_engine(path: str, compiler: str | None, name: str) -> None:
    assert build.engine_name(Path(path), "cpu", "fp32", compiler) == name


def test_an_architecture_is_part_of_the_name_of_an_engine() -> None:
    assert build.engine_name(Path("export/b1-seg"), "rtx", "fp16", arch="sm80") == "b1-seg.rtx-sm80.fp16"


def test_the_name_of_an_engine_from_inside_its_export(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "b0-seg").mkdir()
    monkeypatch.chdir(tmp_path / "b0-seg")
    assert build.engine_name(Path(), "cpu", "fp32") == "b0-seg.cpu.fp32"


# Building again


@pytest.fixture
def built(small_workspace: Path, tmp_path: Path) -> Path:
    """A copy of the engine made by ONNX Runtime."""
    source = small_workspace / "engines" / "b0-seg.cpu.fp32.onnxruntime"
    return Path(shutil.copytree(source, tmp_path / "engines" / source.name))


def test_building_again_is_a_no_op(built: Path, export: Path) -> None:
    before = {path.name: (path.stat().st_mtime_ns, sha256_of(path)) for path in built.iterdir()}
    manifest, written = build_engine(export, built, target="cpu", compiler="onnxruntime")
    assert not written
    assert manifest == read_artifact(built)
    assert {path.name: (path.stat().st_mtime_ns, sha256_of(path)) for path in built.iterdir()} == before


def test_another_compiler_is_not_a_no_op(built: Path, export: Path) -> None:
    manifest, written = build_engine(export, built, target="cpu", compiler="openvino")
    assert written
    assert manifest.engine is not None
    assert manifest.engine.compiler == "openvino"
    assert entries(built) == ["manifest.json", "model.bin", "model.onnx", "model.xml", "reference.npz"]


def test_another_version_of_the_compiler_is_not_a_no_op(
    built: Path, export: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = read_artifact(built).key
    monkeypatch.setattr(ort_compiler.OnnxRuntimeCompiler, "version", lambda self: "99.0")
    manifest, written = build_engine(export, built, target="cpu", compiler="onnxruntime")
    assert written
    assert manifest.key != key
    assert manifest.engine is not None
    assert manifest.engine.compiler_version == "99.0"


def test_another_processor_is_not_a_no_op(built: Path, export: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = {**build.describe(), "processor": "another processor"}
    monkeypatch.setattr(build, "describe", lambda: machine)
    assert build_engine(export, built, target="cpu", compiler="onnxruntime")[1]


def test_another_export_is_not_a_no_op(built: Path, logits_export: Path) -> None:
    manifest, written = build_engine(logits_export, built, target="cpu", compiler="onnxruntime")
    assert written
    assert manifest.graph.output == "logits"


def test_another_graph_under_the_same_key_is_not_a_no_op(built: Path, own_export: Path) -> None:
    manifest, reference = read_artifact(own_export), (own_export / "reference.npz").read_bytes()
    model = onnx.load(own_export / "model.onnx")
    model.doc_string = "written by another version of the exporter's libraries"
    with write_artifact(own_export) as writer:
        onnx.save(model, writer.folder / "model.onnx")
        (writer.folder / "reference.npz").write_bytes(reference)
        writer.commit(manifest)
    rebuilt, written = build_engine(own_export, built, target="cpu", compiler="onnxruntime")
    assert written
    assert rebuilt.files["model.onnx"] == read_artifact(own_export).files["model.onnx"]


@pytest.mark.skipif(not HAS_BF16, reason="this CPU has no BF16 instructions, or OpenVINO is missing")
def test_another_precision_is_not_a_no_op(built: Path, export: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BUDGETS, "bf16", LENIENT)
    build_engine(export, built, target="cpu", precision="fp32", compiler="openvino")
    manifest, written = build_engine(export, built, target="cpu", precision="bf16", compiler="openvino")
    assert written
    assert manifest.engine is not None
    assert manifest.engine.precision == "bf16"


def test_a_damaged_engine_is_built_again(built: Path, export: Path) -> None:
    (built / "model.optimised.onnx").write_bytes(b"")
    assert build_engine(export, built, target="cpu", compiler="onnxruntime")[1]
    assert read_artifact(built).agreement.passed


# Disagreement


def _scaled(weight: np.ndarray) -> np.ndarray:
    return weight * 1.05


def _nan(weight: np.ndarray) -> np.ndarray:
    return np.full_like(weight, np.nan)


@pytest.mark.parametrize("change", [_scaled, _nan, np.zeros_like])
def test_an_engine_that_disagrees_is_not_written(
    change: Callable[[np.ndarray], np.ndarray], perturb: Callable[..., None], export: Path, tmp_path: Path
) -> None:
    perturb(change)
    with pytest.raises(CheckFailedError, match="does not agree with PyTorch") as caught:
        build_engine(export, tmp_path / "e", target="cpu", compiler="onnxruntime")
    assert caught.value.exit_code == 1
    assert "of classes equal, at least 99.9%" in str(caught.value.found)
    assert entries(tmp_path) == []


@pytest.mark.parametrize(
    ("change", "words"), [(lambda weight: weight * 1.0002, "relative L2"), (_nan, "NaN or infinity")], ids=["l2", "nan"]
)
def test_logits_that_drift_are_measured(
    change: Callable[[np.ndarray], np.ndarray], words: str, perturb: Callable[..., None], logits_export: Path,
    tmp_path: Path,
) -> None:  # fmt: skip
    perturb(change)
    with pytest.raises(CheckFailedError) as caught:
        build_engine(logits_export, tmp_path / "e", target="cpu", compiler="onnxruntime")
    assert words in str(caught.value.found)
    assert "another --compiler" in str(caught.value.fix)
    assert entries(tmp_path) == []


def test_an_unchanged_graph_passes_the_same_way(perturb: Callable[..., None], export: Path, tmp_path: Path) -> None:
    perturb(lambda weight: weight)
    assert build_engine(export, tmp_path / "e", target="cpu", compiler="onnxruntime")[1]


def test_disagreement_leaves_the_earlier_engine(perturb: Callable[..., None], built: Path, export: Path) -> None:
    before = snapshot(built.parent)
    perturb(_scaled)
    with pytest.raises(CheckFailedError):
        build_engine(export, built, target="cpu", compiler="onnxruntime")
    assert snapshot(built.parent) == before
    assert entries(built.parent) == [built.name]


# Compilers that fail


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (RuntimeError("first line\nlast line"), UnavailableError, "last line"),
        (ValueError(""), UnavailableError, "ValueError"),
        (MissingExtraError("openvino", "openvino", "It"), MissingExtraError, r"evit-deploy[openvino]"),
        (PermissionError(13, "Permission denied", "/x"), UsageError, "Permission denied (/x)"),
    ],
)
def test_a_compiler_that_fails_is_put_into_words(
    error: Exception, kind: type[Exception], words: str, built: Path, export: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: object) -> str:
        raise error

    before = snapshot(built.parent)
    monkeypatch.setattr(ort_compiler.OnnxRuntimeCompiler, "version", lambda self: "99.0")
    monkeypatch.setattr(ort_compiler.OnnxRuntimeCompiler, "compile", failing)
    with pytest.raises(kind) as caught:
        build_engine(export, built, target="cpu", compiler="onnxruntime")
    assert type(caught.value) is kind
    assert words in str(caught.value)
    assert snapshot(built.parent) == before
    assert entries(built.parent) == [built.name]


@pytest.fixture
def disk_for_the_copy_alone(export: Path, mount_disk: Callable[[int], Path]) -> Path:
    """A disk that holds a copy of the export, but not what a compiler adds to it."""
    return mount_disk(sum(path.stat().st_size for path in export.iterdir()) + 300_000)


@pytest.mark.parametrize("compiler", ["onnxruntime", "openvino"])
def test_a_disk_that_fills_up_while_compiling(compiler: str, disk_for_the_copy_alone: Path, export: Path) -> None:
    with pytest.raises(UsageError, match="cannot write") as caught:
        build_engine(export, disk_for_the_copy_alone / "e", target="cpu", compiler=compiler)
    assert "No space left on device" in str(caught.value.found)
    assert entries(disk_for_the_copy_alone) == []


# Precision


@pytest.fixture(scope="module")
def logits(logits_export: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, np.ndarray]:
    """What engines of several compilers and precisions answer to the same frames."""
    folder = tmp_path_factory.mktemp("engines")
    images = Reference.load(logits_export).images
    pairs = [("onnxruntime", "fp32"), ("openvino", "fp32"), *([("openvino", "bf16")] if HAS_BF16 else [])]
    answers = {"PyTorch": Reference.load(logits_export).logits}
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(BUDGETS, "bf16", LENIENT)
        for compiler, precision in pairs:
            engine = folder / f"{compiler}.{precision}"
            build_engine(logits_export, engine, target="cpu", precision=precision, compiler=compiler)
            answers[engine.name] = _run(engine, images)
    return answers


@pytest.mark.parametrize("name", ["onnxruntime.fp32", "openvino.fp32"])
def test_fp32_is_really_fp32(name: str, logits: dict[str, np.ndarray]) -> None:
    assert _difference(logits[name], logits["PyTorch"]) < 1e-4
    assert _difference(logits["openvino.fp32"], logits["onnxruntime.fp32"]) < 1e-4


@pytest.mark.skipif(not HAS_BF16, reason="this CPU has no BF16 instructions, or OpenVINO is missing")
def test_bf16_really_differs_from_fp32(logits: dict[str, np.ndarray]) -> None:
    assert 1e-3 < _difference(logits["openvino.bf16"], logits["openvino.fp32"]) < 0.1


def test_an_export_listing_no_reference_is_refused(own_export: Path, tmp_path: Path) -> None:
    manifest = read_artifact(own_export)
    graph = (own_export / "model.onnx").read_bytes()
    with write_artifact(tmp_path / "bare") as writer:
        (writer.folder / "model.onnx").write_bytes(graph)
        writer.commit(replace(manifest, files={}))
    with pytest.raises(ArtifactError, match=r"reference\.npz"):
        build_engine(tmp_path / "bare", tmp_path / "e", target="cpu")
    assert not (tmp_path / "e").exists()
