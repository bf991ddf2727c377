# SPDX-License-Identifier: Apache-2.0
"""Typed graphs for GPUs: what is written, what the manifest says of it, and what is refused."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

import evit_deploy
from evit_deploy.agreement import BUDGETS
from evit_deploy.engines import build, build_engine
from evit_deploy.engines import lowered as lowered_module
from evit_deploy.engines.lowering import check_opset, emulated, lower_graph
from evit_deploy.errors import (
    ArtifactError,
    CheckFailedError,
    EvitError,
    MissingExtraError,
    UnavailableError,
    UsageError,
)
from evit_deploy.export import ExportOptions, export_model
from evit_deploy.manifest import GraphInfo, Manifest, read_artifact, sha256_of
from evit_deploy.precision.attention import FORMS
from evit_deploy.runtime import open_engine
from evit_deploy.runtime.verify import Reference
from evit_deploy.targets import TARGETS
from tests.conftest import SMALL, require
from tests.engines.conftest import edit_graph, write_again
from tests.manifest.sample import entries, snapshot
from tests.precision.typed import half_graph

DEVICES = [spec for spec in TARGETS.values() if not spec.compilers]
GPUS = [spec for spec in TARGETS.values() if spec.attention is not None]
LAST = "head.output_ops.0.op_list.1.conv"


@pytest.fixture(scope="module")
def export(small_workspace: Path) -> Path:
    """The small export. Do not change it."""
    return small_workspace / "export" / "b0-seg"


@pytest.fixture
def lowered(export: Path, tmp_path: Path) -> Path:
    """An engine for orin that a test may replace."""
    build_engine(export, tmp_path / "engines" / "e", target="orin", precision="fp16")
    return tmp_path / "engines" / "e"


def _types(path: Path) -> dict[str, str]:
    graph = onnx.load(path).graph
    return {
        value.name: np.dtype(helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)).name
        for value in (*graph.input, *graph.output)
    }


def _said(manifest: Manifest) -> dict[str, str]:
    return {tensor.name: tensor.dtype for tensor in (*manifest.graph.inputs, *manifest.graph.outputs)}


# What is written


@pytest.mark.parametrize("spec", DEVICES, ids=lambda spec: spec.name)
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_every_device_gets_a_verified_typed_graph(spec, precision: str, export: Path, tmp_path: Path) -> None:
    manifest, written = build_engine(export, tmp_path / "e", target=spec.name, precision=precision)
    source = read_artifact(export)
    assert written
    assert manifest == read_artifact(tmp_path / "e")
    assert entries(tmp_path / "e") == ["manifest.json", "model.onnx", "reference.npz"]
    assert manifest.files["reference.npz"] == source.files["reference.npz"]
    assert manifest.files["model.onnx"] != source.files["model.onnx"]
    engine = manifest.engine
    assert engine is not None
    assert (engine.target, engine.precision, engine.state) == (spec.name, precision, "lowered")
    assert (engine.compiler, engine.compiler_version, engine.backend, engine.entry) == ("", "", "", "model.onnx")
    assert engine.attention == spec.attention
    assert engine.notes == (f"attention arranged as '{spec.attention}', the choice for {spec.name}",)
    assert "arch" not in engine.machine
    assert manifest.graph == replace(source.graph, precision=precision)
    assert manifest.agreement.passed
    assert manifest.agreement.budget == BUDGETS[precision]
    assert manifest.agreement.method.startswith("faithful emulation of the typed graph, ONNX Runtime ")
    assert (manifest.weights, manifest.warnings) == (source.weights, source.warnings)
    onnx.checker.check_model(tmp_path / "e" / "model.onnx", full_check=True)


def test_the_logits_behind_a_class_map_are_checked_too(export: Path, lowered: Path) -> None:
    frames = read_artifact(lowered).agreement.frames
    assert [frame.frame for frame in frames] == list(Reference.load(export).names)
    errors = [frame.relative_l2 for frame in frames]
    assert all(error is not None and 1e-5 < error < 1e-2 for error in errors)  # FP16 it is, and not FP32


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize(
    ("options", "types"),
    [
        ({"input": "image", "output": "classes"}, {"image": "uint8", "classes": "uint8"}),
        ({"input": "image", "output": "confidence"}, {"image": "uint8", "classes": "uint8", "confidence": "float"}),
        ({"input": "tensor", "output": "logits"}, {"image": "float", "logits": "float"}),
    ],
    ids=lambda value: "-".join(value.values()) if "input" in value else "",
)
def test_floats_at_the_ends_have_the_precision_and_bytes_stay(
    options: dict[str, str], types: dict[str, str], precision: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    budget = BUDGETS[precision]
    monkeypatch.setitem(BUDGETS, precision, replace(budget, class_agreement=0.95))  # random, and 128 pixels only
    export_model("b0-seg", tmp_path / "e", ExportOptions(weights="random", resolution=SMALL, **options))
    manifest, _ = build_engine(tmp_path / "e", tmp_path / "o", target="orin", precision=precision)
    floats = {"fp32": "float32", "fp16": "float16"}[precision]
    expected = {name: kind.replace("float", floats) for name, kind in types.items()}
    assert _types(tmp_path / "o" / "model.onnx") == _said(manifest) == expected
    assert [tensor.shape for tensor in manifest.graph.outputs] == [
        tensor.shape for tensor in read_artifact(tmp_path / "e").graph.outputs
    ]


@pytest.mark.parametrize("batch", [(2, 2), (1, 3)], ids=str)
def test_batches_are_kept(batch: tuple[int, int], tmp_path: Path) -> None:
    export_model("b0-seg", tmp_path / "e", ExportOptions(weights="random", resolution=SMALL, batch=batch))
    manifest, _ = build_engine(tmp_path / "e", tmp_path / "o", target="orin", precision="fp16")
    assert manifest.graph.batch == batch
    assert len(manifest.agreement.frames) >= len(Reference.load(tmp_path / "e").names)


def test_a_classifier_is_lowered_too(tmp_path: Path) -> None:
    export_model("b0-cls", tmp_path / "e", ExportOptions(weights="random", resolution=(64, 64)))
    manifest, _ = build_engine(tmp_path / "e", tmp_path / "o", target="a100", precision="fp16")
    assert manifest.agreement.passed
    assert _said(manifest) == {"image": "uint8", "logits": "float16"}


# Building again


def test_an_equal_build_is_a_no_op(lowered: Path, export: Path) -> None:
    before = {path.name: (path.stat().st_mtime_ns, sha256_of(path)) for path in lowered.iterdir()}
    manifest, written = build_engine(export, lowered, target="orin", precision="fp16")
    assert not written
    assert manifest == read_artifact(lowered)
    assert not build_engine(export, lowered, target="orin", precision="fp16", attention="conv")[1]  # the same choice
    assert {path.name: (path.stat().st_mtime_ns, sha256_of(path)) for path in lowered.iterdir()} == before


def test_an_equal_build_elsewhere_gives_the_same_graph(lowered: Path, export: Path, tmp_path: Path) -> None:
    build_engine(export, tmp_path / "other", target="orin", precision="fp16")
    assert sha256_of(tmp_path / "other" / "model.onnx") == sha256_of(lowered / "model.onnx")


@pytest.mark.parametrize("attention", ["matmul", "portable"])
def test_another_attention_is_another_engine(attention: str, lowered: Path, export: Path) -> None:
    before = read_artifact(lowered)
    manifest, written = build_engine(export, lowered, target="orin", precision="fp16", attention=attention)
    assert written
    assert manifest.key != before.key
    assert manifest.files["model.onnx"] != before.files["model.onnx"]
    assert manifest.engine is not None
    assert manifest.engine.attention == attention
    assert manifest.engine.notes == (f"attention arranged as '{attention}', as asked for",)
    assert manifest.agreement.passed


@pytest.mark.parametrize("change", [{"target": "thor"}, {"precision": "fp32"}], ids=str)
def test_another_target_or_precision_is_another_engine(change: dict[str, str], lowered: Path, export: Path) -> None:
    key = read_artifact(lowered).key
    manifest, written = build_engine(export, lowered, **{"target": "orin", "precision": "fp16", **change})
    assert written
    assert manifest.key != key


def test_the_attention_asked_for_is_part_of_the_name() -> None:
    name = build.engine_name(Path("export/b0-seg"), "orin", "fp16", attention="matmul")
    assert name == "b0-seg.orin.fp16.matmul"
    assert build.engine_name(Path("export/b0-seg"), "rtx", "fp16", "tensorrt_rtx", "sm80", "conv") == (
        "b0-seg.rtx-sm80.fp16.tensorrt_rtx.conv"
    )


# Choices that are refused


@pytest.mark.parametrize("name", ["", "Conv", "flash", "../../elsewhere"])
def test_an_unknown_attention_lists_the_known_ones(name: str, export: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no attention") as caught:
        build_engine(export, tmp_path / "e", target="orin", attention=name)
    assert caught.value.expected == f"one of {', '.join(FORMS)}"
    assert entries(tmp_path) == []


def test_a_cpu_has_no_attention_to_choose(export: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cpu runs graphs as exported") as caught:
        build_engine(export, tmp_path / "e", target="cpu", attention="conv")
    assert caught.value.found == "--attention conv"
    assert entries(tmp_path) == []


@pytest.mark.parametrize("spec", GPUS, ids=lambda spec: spec.name)
@pytest.mark.parametrize("opset", range(17, 21))
def test_every_exported_opset_is_read_by_every_gpu(opset: int, spec) -> None:
    check_opset(opset, spec)


@pytest.mark.parametrize(
    ("opset", "able"),
    [(21, "opset 21, which JetPack 7.2 (TensorRT 10.16) can read"), (26, "opset 26")],
)
def test_an_opset_that_is_too_new_names_the_release_that_reads_it(opset: int, able: str) -> None:
    with pytest.raises(
        UsageError, match=f"opset {opset} cannot be read by every TensorRT of Jetson AGX Orin"
    ) as caught:
        check_opset(opset, TARGETS["orin"])
    assert caught.value.found == able
    assert caught.value.expected == "at most 20"
    assert caught.value.fix == "export with --opset 17"


def test_a_cpu_takes_any_opset() -> None:
    check_opset(26, TARGETS["cpu"])


def test_without_onnx_the_extra_is_named(export: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "evit_deploy.precision.lower", None)
    with pytest.raises(MissingExtraError, match=r"evit-deploy\[export\]"):
        build_engine(export, tmp_path / "e", target="orin")
    assert entries(tmp_path) == []


# Graphs that are not exports


def _anonymous(model: onnx.ModelProto) -> None:
    for index, node in enumerate(model.graph.node):
        node.name = f"node_{index}"


def _fewer_scopes(model: onnx.ModelProto) -> None:
    """As another exporter might: the module's name, but other nodes in it."""
    node = next(node for node in model.graph.node if ".context_module." in node.name and node.op_type == "Conv")
    node.name = "fused"


def _insert(model: onnx.ModelProto, node: onnx.NodeProto) -> None:
    """Put a node that reads "inner" behind the first convolution."""
    index, first = next((i, n) for i, n in enumerate(model.graph.node) if n.op_type == "Conv")
    node.output.append(first.output[0])
    first.output[0] = "inner"
    model.graph.node.insert(index + 1, node)


def _nested(model: onnx.ModelProto) -> None:
    branches = [
        helper.make_graph(
            [helper.make_node("Identity", ["inner"], ["chosen"])], side, [],
            [helper.make_tensor_value_info("chosen", TensorProto.FLOAT, None)],
        )
        for side in ("then", "else")
    ]  # fmt: skip
    model.graph.initializer.append(numpy_helper.from_array(np.array(True), "always"))
    branch = helper.make_node("If", ["always"], [], name="If", then_branch=branches[0], else_branch=branches[1])
    _insert(model, branch)


def _other_domain(model: onnx.ModelProto) -> None:
    model.opset_import.append(helper.make_opsetid("com.example", 1))
    _insert(model, helper.make_node("Mystery", ["inner"], [], name="odd", domain="com.example"))


def _half(model: onnx.ModelProto) -> None:
    model.CopyFrom(half_graph(model))


def _no_opset(model: onnx.ModelProto) -> None:
    del model.opset_import[:]


def _other_network(model: onnx.ModelProto) -> None:
    """A convolution, with the names of the inputs and outputs of an export."""
    values = [
        helper.make_tensor_value_info(value.name, TensorProto.FLOAT, (1, 3, 8, 8))
        for value in (model.graph.input[0], model.graph.output[0])
    ]
    node = helper.make_node("Relu", [values[0].name], [values[1].name], name="relu")
    model.graph.CopyFrom(helper.make_graph([node], "other", values[:1], values[1:]))


def _other_names(model: onnx.ModelProto) -> None:
    for node in model.graph.node:
        node.input[:] = ["pixels" if name == "image" else name for name in node.input]
    model.graph.input[0].name = "pixels"


FOREIGN = {
    "anonymous": (_anonymous, "no attention under the names"),
    "fewer scopes": (_fewer_scopes, "3 convolutions"),
    "subgraph": (_nested, ""),
    "other domain": (_other_domain, ""),
    "half already": (_half, ""),
    "no opset": (_no_opset, ""),
    "other network": (_other_network, "no attention under the names"),
    "other names": (_other_names, "pixels where the manifest says image"),
}


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("kind", FOREIGN)
def test_a_graph_that_is_no_export_is_refused(kind: str, precision: str, own_export: Path, tmp_path: Path) -> None:
    change, words = FOREIGN[kind]
    write_again(own_export, lambda folder: edit_graph(folder / "model.onnx", change))
    with pytest.raises(EvitError) as caught:
        build_engine(own_export, tmp_path / "e", target="orin", precision=precision)
    assert isinstance(caught.value, (ArtifactError, UsageError))
    assert "export" in str(caught.value)
    assert words in str(caught.value)
    assert len(str(caught.value)) < 1000
    assert entries(tmp_path) == ["export"]


@pytest.mark.parametrize("content", [b"", b"no graph", b"\x08"], ids=["empty", "text", "cut"])
def test_a_file_that_is_no_graph_is_refused(content: bytes, own_export: Path, tmp_path: Path) -> None:
    write_again(own_export, lambda folder: (folder / "model.onnx").write_bytes(content))
    with pytest.raises(ArtifactError, match=r"model\.onnx") as caught:
        build_engine(own_export, tmp_path / "e", target="orin", precision="fp16")
    assert caught.value.fix
    assert entries(tmp_path) == ["export"]


# Weights that do not fit FP16


def _as_reference(export: Path, change: Callable[[onnx.ModelProto], None]) -> None:
    """Change the weights of an export, and let its own FP32 logits be the reference."""

    def edit(folder: Path) -> None:
        edit_graph(folder / "model.onnx", change)
        shown = onnx.load(folder / "model.onnx")
        shown.graph.output.append(helper.make_tensor_value_info("logits", TensorProto.FLOAT, None))
        session = ort.InferenceSession(shown.SerializeToString(), providers=["CPUExecutionProvider"])
        reference = Reference.load(folder)
        logits = [session.run(["logits"], {"image": image[None]})[0] for image in reference.images]
        replace(reference, logits=np.concatenate(logits)).save(folder)

    write_again(export, edit)


def _set(model: onnx.ModelProto, name: str, value: Callable[[np.ndarray], np.ndarray]) -> None:
    tensor = next(tensor for tensor in model.graph.initializer if tensor.name == name)
    tensor.CopyFrom(numpy_helper.from_array(value(numpy_helper.to_array(tensor)).astype(np.float32), name))


def _with_largest(largest: float) -> Callable[[np.ndarray], np.ndarray]:
    return lambda weights: weights * (largest / np.abs(weights).max())


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("tensor", ["weight", "bias"])
def test_weights_that_are_not_finite(value: float, tensor: str, own_export: Path, tmp_path: Path) -> None:
    def spoil(array: np.ndarray) -> np.ndarray:
        return np.where(np.arange(array.size).reshape(array.shape) == 1, value, array)

    name = f"{LAST}.{tensor}"
    write_again(own_export, lambda folder: edit_graph(folder / "model.onnx", lambda model: _set(model, name, spoil)))
    with pytest.raises(CheckFailedError, match=f"{name} is not finite"):
        build_engine(own_export, tmp_path / "e", target="orin", precision="fp16")
    with pytest.raises(CheckFailedError, match="does not agree with PyTorch"):
        build_engine(own_export, tmp_path / "e", target="orin", precision="fp32")
    assert entries(tmp_path) == ["export"]


def test_a_bias_that_overflows(own_export: Path, tmp_path: Path) -> None:
    _as_reference(own_export, lambda model: _set(model, f"{LAST}.bias", lambda bias: np.eye(bias.size)[3] * 1e5))
    with pytest.raises(CheckFailedError, match=f"{LAST}.bias does not fit FP16") as caught:
        build_engine(own_export, tmp_path / "e", target="orin", precision="fp16")
    assert caught.value.expected == "at most 65504"
    assert caught.value.fix == "build with --fp32"
    assert entries(tmp_path) == ["export"]
    assert build_engine(own_export, tmp_path / "e", target="orin", precision="fp32")[0].agreement.passed


def _small_weights(model: onnx.ModelProto) -> None:
    """A branch beside a shortcut that is next to nothing."""
    _set(model, "head.middle.op_list.0.main.point_conv.conv.weight", _with_largest(1e-8))


def _large_weights(model: onnx.ModelProto) -> None:
    """Logits in the thousands from activations of a thousandth."""
    _set(model, "head.output_ops.0.op_list.0.conv.weight", lambda array: array * 1e-3)  # its bias is zero
    _set(model, f"{LAST}.weight", _with_largest(1e6))


@pytest.mark.parametrize(
    ("change", "name", "largest", "reason"),
    [
        (_small_weights, "head.middle.op_list.0.main.point_conv.conv.weight", "1.0e-08", "loses"),
        (_large_weights, f"{LAST}.weight", "1.0e+06", "overflows FP16"),
    ],
    ids=["small", "large"],
)
def test_weights_beyond_fp16_are_scaled_and_said(
    change: Callable[[onnx.ModelProto], None], name: str, largest: str, reason: str, own_export: Path, tmp_path: Path
) -> None:
    _as_reference(own_export, change)
    manifest, _ = build_engine(own_export, tmp_path / "e", target="orin", precision="fp16")
    assert manifest.agreement.passed
    assert manifest.engine is not None
    notes = manifest.engine.notes[1:]
    assert len(notes) == 1
    assert notes[0].startswith(f"{name} (largest {largest}) {reason}")
    assert "scaled, and back" in notes[0]
    graph = onnx.load(tmp_path / "e" / "model.onnx").graph
    assert all(np.isfinite(numpy_helper.to_array(tensor)).all() for tensor in graph.initializer)
    assert name not in [tensor.name for tensor in graph.initializer]
    plain, _ = build_engine(own_export, tmp_path / "e32", target="orin", precision="fp32")
    assert plain.engine is not None
    assert len(plain.engine.notes) == 1


# Disagreement


def _scaled(weight: np.ndarray) -> np.ndarray:
    return weight * 1.05


def _nan(weight: np.ndarray) -> np.ndarray:
    return np.full_like(weight, np.nan)


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("change", [_scaled, _nan, np.zeros_like])
def test_a_typed_graph_that_disagrees_is_not_written(
    change: Callable[[np.ndarray], np.ndarray], precision: str, perturb_lowering: Callable[..., None], lowered: Path,
    export: Path,
) -> None:  # fmt: skip
    before = snapshot(lowered.parent)
    perturb_lowering(change)
    for folder in (lowered.with_name("new"), lowered):
        with pytest.raises(CheckFailedError, match=f"the typed {precision} graph does not agree") as caught:
            build_engine(export, folder, target="thor", precision=precision)
        assert caught.value.exit_code == 1
        assert "--check-range" in str(caught.value.fix)
    assert snapshot(lowered.parent) == before
    assert entries(lowered.parent) == [lowered.name]


def test_an_unchanged_graph_passes_the_same_way(
    perturb_lowering: Callable[..., None], export: Path, tmp_path: Path
) -> None:
    perturb_lowering(lambda weight: weight)
    assert build_engine(export, tmp_path / "e", target="orin", precision="fp16")[1]


def test_a_class_map_alone_that_is_wrong_is_found(
    export: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Right logits do not excuse a wrong answer."""

    def shifted(source: Path, result: Path, info: GraphInfo, precision: str, *rest: str):
        typed = lower_graph(source, result, info, precision, *rest)
        model = onnx.load(result)
        (scales,) = [tensor for tensor in model.graph.initializer if tensor.name == "classify.class"]
        scales.CopyFrom(numpy_helper.from_array(np.asarray(1, numpy_helper.to_array(scales).dtype), scales.name))
        onnx.save(model, result)
        return typed

    monkeypatch.setattr(lowered_module, "lower_graph", shifted)
    with pytest.raises(CheckFailedError, match="of classes equal"):
        build_engine(export, tmp_path / "e", target="orin", precision="fp16")
    assert entries(tmp_path) == []


# Running


def test_emulation_gives_the_outputs_and_the_logits(lowered: Path) -> None:
    manifest, reference = read_artifact(lowered), Reference.load(lowered)
    infer, method = emulated(lowered, manifest)
    outputs = infer({"image": reference.images[:1]})
    assert {name: array.dtype.name for name, array in outputs.items()} == {"classes": "uint8", "logits": "float16"}
    assert method == manifest.agreement.method


def test_an_engine_for_a_gpu_does_not_run_here(gpu_engine: Path) -> None:
    words = {"lowered": "lowered but not compiled yet", "compiled": "needs an NVIDIA GPU"}
    engine = read_artifact(gpu_engine).engine
    assert engine is not None
    for load in (evit_deploy.load, lambda folder: open_engine(folder, read_artifact(folder))):
        with pytest.raises(UnavailableError, match=words[engine.state]) as caught:
            load(gpu_engine)
        assert str(gpu_engine) in str(caught.value)
        assert caught.value.fix
        assert caught.value.exit_code == 3


def test_the_compiled_engine_carries_its_typed_graph(gpu_workspace: Path) -> None:
    require("tensorrt_rtx")
    lowered, compiled = (read_artifact(gpu_workspace / "engines" / f"b0-seg.{n}.fp16") for n in ("orin", "rtx-sm80"))
    assert lowered.files["model.onnx"] == compiled.files["model.onnx"]
    assert lowered.graph == compiled.graph
    assert lowered.agreement == compiled.agreement
    assert compiled.engine is not None
    assert (compiled.engine.state, compiled.engine.entry) == ("compiled", "engine.rtx")
    assert compiled.engine.notes[:-1] == ("attention arranged as 'conv', the choice for rtx",)
    assert compiled.engine.notes[-1].startswith("not run where it was compiled: ")
