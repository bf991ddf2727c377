# SPDX-License-Identifier: Apache-2.0
"""TensorRT for RTX, really compiling: small typed graphs for GPUs that are not here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from evit_deploy.engines import build_engine, choose_arch, choose_compiler, tensorrt_rtx
from evit_deploy.engines.compiler import Job
from evit_deploy.engines.flops import graph_math
from evit_deploy.engines.plan import Plan, read_plan
from evit_deploy.engines.tensorrt_rtx import COMPILER
from evit_deploy.engines.typed_network import TypedNetwork, in_words
from evit_deploy.errors import CheckFailedError, EvitError, UnavailableError, UsageError
from evit_deploy.export import ExportOptions, export_model
from evit_deploy.manifest import read_artifact
from evit_deploy.progress import silent
from evit_deploy.runtime.cuda.logger import shared_logger
from evit_deploy.targets import TARGETS
from tests.conftest import SMALL, require
from tests.engines.graphs import FLOPS, HEIGHT, WIDTH, save, two_convolutions
from tests.manifest.sample import entries

require("tensorrt_rtx")
RTX = TARGETS["rtx"]
ARCHS = ("sm75", "sm80", "sm86", "sm89", "sm120", "sm121")


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without a GPU, whatever this one has."""
    monkeypatch.setattr("evit_deploy.engines.compiler.gpu_compute_capability", lambda: None)


@pytest.fixture(scope="module")
def tensor_export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """b0-seg as its network alone: floats in, logits out. Do not change it."""
    folder = tmp_path_factory.mktemp("tensors") / "export" / "b0-seg"
    options = ExportOptions(weights="random", resolution=SMALL, input="tensor", output="logits")
    export_model("b0-seg", folder, options)
    return folder


def _compile(graph: Path, folder: Path, precision: str = "fp16", arch: str = "sm80") -> Plan:
    folder.mkdir()
    entry = COMPILER.compile(Job(graph, folder, precision, arch), silent)
    assert entries(folder) == [entry, "plan.json"] == ["engine.rtx", "plan.json"]
    assert (folder / entry).stat().st_size > 10_000
    return read_plan(folder)


# Compiling


@pytest.mark.parametrize("arch", ["sm80", "sm86"])
@pytest.mark.parametrize(("dtype", "precision", "size"), [("float16", "fp16", 2), ("float32", "fp32", 4)])
def test_the_plan_of_two_convolutions(arch: str, dtype: str, precision: str, size: int, tmp_path: Path) -> None:
    """The ReLU is part of the first convolution; what else runs only changes the layout of input and output."""
    plan = _compile(two_convolutions(tmp_path / "g.onnx", dtype), tmp_path / "e", precision, arch)
    assert (plan.compiler, plan.version, plan.arch) == ("tensorrt_rtx", COMPILER.version(), arch)
    pixels = HEIGHT * WIDTH * size
    first, second = (kernel for kernel in plan.kernels if kernel.flops)
    assert (first.layers, second.layers) == (("first", "relu"), ("second",))
    assert (first.bytes_read, first.bytes_written) == (8 * pixels, 16 * pixels)
    assert (second.bytes_read, second.bytes_written) == (16 * pixels, 32 * pixels)
    assert (first.flops, second.flops) == (FLOPS["first"], FLOPS["second"])
    assert first.constants >= 16 * 8 * 9 * size
    layouts = [kernel for kernel in plan.working if not kernel.flops]
    assert all(kernel.bytes_read == kernel.bytes_written for kernel in layouts)
    assert plan.traffic == 72 * pixels + sum(kernel.traffic for kernel in layouts)


def test_the_plan_of_one_kernel(tmp_path: Path) -> None:
    node = helper.make_node("Relu", ["x"], ["y"], name="only")
    graph = save(tmp_path / "g.onnx", [node], {"x": (1, 3, 10, 7)}, {"y": (1, 3, 10, 7)})
    plan = _compile(graph, tmp_path / "e")
    assert len(plan.working) == 1
    assert (plan.bytes_read, plan.bytes_written, plan.flops) == (420, 420, 0)


def test_nodes_without_names_are_counted(tmp_path: Path) -> None:
    plan = _compile(two_convolutions(tmp_path / "g.onnx", names=False), tmp_path / "e")
    assert plan.flops == sum(FLOPS.values())


def test_the_whole_network_is_in_the_plan(tensor_export: Path, tmp_path: Path) -> None:
    graph = tensor_export / "model.onnx"
    plan = _compile(graph, tmp_path / "e", "fp32", "sm86")
    nodes = graph_math(graph).flops
    assert plan.flops == sum(nodes.values())
    assert set(nodes) <= {layer for kernel in plan.kernels for layer in kernel.layers}
    assert 50 < len(plan.working) < 200


def test_fp32_is_really_fp32(tmp_path: Path) -> None:
    import tensorrt_rtx as trt

    graph = two_convolutions(tmp_path / "g.onnx", "float32")
    typed = TypedNetwork(trt, Job(graph, tmp_path, "fp32", "sm80"), COMPILER)
    assert typed.builder.create_builder_config().get_flag(trt.BuilderFlag.TF32)
    config = tensorrt_rtx._for_arch(trt, typed.new_config(), "sm80")
    assert not config.get_flag(trt.BuilderFlag.TF32)
    assert config.get_flag(trt.BuilderFlag.REQUIRE_USER_ALLOCATION)
    assert config.get_compute_capability(0) == trt.ComputeCapability.SM80


# Graphs that are refused


def _refused(graph: Path, folder: Path, kind: type[EvitError], precision: str = "fp16") -> EvitError:
    folder.mkdir()
    with pytest.raises(kind) as caught:
        COMPILER.compile(Job(graph, folder, precision, "sm80"), silent)
    assert type(caught.value) is kind
    assert entries(folder) == []
    assert "/_src/" not in str(caught.value)
    assert "CUDA" not in str(caught.value)
    return caught.value


def test_a_wrong_type_names_the_node(tmp_path: Path) -> None:
    error = _refused(two_convolutions(tmp_path / "g.onnx", weights="float32"), tmp_path / "e", UnavailableError)
    assert error.what == f"tensorrt_rtx {COMPILER.version()} cannot compile the graph in fp16"
    assert str(error.found).startswith("Conv node 'first': IConvolutionLayer")
    assert "must be of same type" in str(error.found)
    assert "Half" in str(error.found)
    assert "Float" in str(error.found)


def test_an_unknown_operator_names_the_node(tmp_path: Path) -> None:
    node = helper.make_node("Frobnicate", ["x"], ["y"], name="odd one")
    error = _refused(save(tmp_path / "g.onnx", [node], {"x": (4,)}, {"y": (4,)}), tmp_path / "e", UnavailableError)
    assert str(error.found).startswith("Frobnicate node 'odd one': Plugin not found")


def test_frames_of_bytes_cannot_be_transposed(small_workspace: Path, tmp_path: Path) -> None:
    """The graph as exported, image in and classes out, is not typed for this compiler."""
    graph = small_workspace / "export" / "b0-seg" / "model.onnx"
    error = _refused(graph, tmp_path / "e", UnavailableError, "fp32")
    assert "Transpose node" in str(error.found)
    assert "UInt8" in str(error.found)


@pytest.mark.parametrize(
    ("dtype", "precision", "found", "expected"),
    [("float32", "fp16", "in FLOAT", "FLOAT16"), ("float16", "fp32", "in FLOAT16", "FLOAT")],
)
def test_a_graph_typed_otherwise(dtype: str, precision: str, found: str, expected: str, tmp_path: Path) -> None:
    graph = two_convolutions(tmp_path / "g.onnx", dtype)
    error = _refused(graph, tmp_path / "e", UsageError, precision)
    assert error.what == f"the graph is not typed in {precision}"
    assert str(error.found).endswith(found)
    assert error.expected == expected


def test_a_graph_in_fp16_may_keep_products_in_fp32(tmp_path: Path) -> None:
    two_convolutions(tmp_path / "g.onnx")
    model = onnx.load(tmp_path / "g.onnx")
    second = model.graph.node.pop()
    wide = numpy_helper.to_array(model.graph.initializer[1]).astype(np.float32)
    model.graph.initializer[1].CopyFrom(numpy_helper.from_array(wide, "w2"))
    model.graph.node.append(helper.make_node("Cast", ["b"], ["b32"], name="up", to=onnx.TensorProto.FLOAT))
    second.input[0], second.output[0] = "b32", "y32"
    model.graph.node.append(second)
    model.graph.node.append(helper.make_node("Cast", ["y32"], ["y"], name="down", to=onnx.TensorProto.FLOAT16))
    onnx.save(model, tmp_path / "g.onnx")
    assert _compile(tmp_path / "g.onnx", tmp_path / "e").flops == sum(FLOPS.values())


def test_a_dynamic_batch(tmp_path: Path) -> None:
    error = _refused(two_convolutions(tmp_path / "g.onnx", batch="N"), tmp_path / "e", UsageError)
    assert error.found == "the input 'x' of shape [-1, 8, 32, 64]"
    assert "--batch 1" in str(error.fix)


def test_a_file_that_is_no_graph(tmp_path: Path) -> None:
    (tmp_path / "g.onnx").write_bytes(b"no graph")
    _refused(tmp_path / "g.onnx", tmp_path / "e", UnavailableError)


def test_nothing_is_written_without_a_plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensorrt_rtx.TensorRtRtxCompiler, "version", lambda self: "1.7.1.116")
    monkeypatch.setattr("evit_deploy.engines.build_log._SECTION", "Kernels:")
    error = _refused(two_convolutions(tmp_path / "g.onnx"), tmp_path / "e", UnavailableError)
    assert "cannot read" in error.what


def test_many_errors_become_one_that_can_be_read() -> None:
    noise = (
        "[checkMacros.cpp::catchCudaError::250] Error Code 1: Cuda Runtime (In catchCudaError at /_src/x.cpp:2"
        " (cudaError 35: CUDA driver version is insufficient for CUDA runtime version))"
    )
    lines = [
        f"Invalid Node - n{n}\nshape: Error Code 4: API Usage Error (n{n}: wrong. In f at /_src/x.cpp:1)\n{noise}"
        for n in range(7)
    ]
    found = in_words([*lines, noise, lines[0]])
    assert found == "n0: wrong; n1: wrong; n2: wrong; n3: wrong; n4: wrong; and 2 more"
    assert in_words([]) == "it does not say why"
    assert in_words([noise]) == "CUDA: cudaError 35: CUDA driver version is insufficient for CUDA runtime version"
    other = noise.replace("35: CUDA driver version is insufficient", "100: no CUDA-capable device")
    assert in_words([other, "x"]) == "x"


def test_a_build_while_an_engine_is_loaded_keeps_its_plan(tmp_path: Path) -> None:
    """The first logger of a process hears everything, and the plan is read from the log."""
    import tensorrt_rtx as trt

    runtime = trt.Runtime(shared_logger(trt))
    assert runtime.deserialize_cuda_engine(b"no plan" * 20) is None
    assert _compile(two_convolutions(tmp_path / "g.onnx"), tmp_path / "e").flops == sum(FLOPS.values())


# Precision and architecture


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_precisions_that_it_builds(precision: str) -> None:
    assert COMPILER.obstacle(precision, RTX) is None
    assert choose_compiler(RTX, precision) is COMPILER


@pytest.mark.parametrize(("precision", "words"), [("bf16", "not offered"), ("int8", "would be slower than FP16")])
def test_precisions_that_it_refuses(precision: str, words: str) -> None:
    with pytest.raises(UsageError, match=f"{precision} is not built for rtx") as caught:
        choose_compiler(RTX, precision)
    assert caught.value.found == COMPILER.obstacle(precision, RTX)
    assert words in str(caught.value.found)
    assert caught.value.expected == "--fp32 or --fp16"
    assert "--fp16" in str(caught.value.fix)


def test_the_architectures_are_those_of_the_library() -> None:
    assert COMPILER.archs() == ARCHS


@pytest.mark.parametrize(
    ("text", "arch"), [("sm80", "sm80"), ("SM86", "sm86"), ("8.0", "sm80"), ("12.1", "sm121"), ("7.5", "sm75")]
)
def test_names_of_an_architecture(text: str, arch: str) -> None:
    assert choose_arch(COMPILER, RTX, text) == arch


@pytest.mark.parametrize("text", ["sm87", "8.7", "current", "none", "", "80", "8.0.1", "٨.٠", "ampere"])
def test_an_unknown_architecture_lists_the_known_ones(text: str) -> None:
    with pytest.raises(UsageError, match="does not build for the architecture") as caught:
        choose_arch(COMPILER, RTX, text)
    assert f"'{text}'" in caught.value.what
    assert caught.value.expected == f"one of {', '.join(ARCHS)}"


@pytest.mark.usefixtures("no_gpu")
def test_without_a_gpu_an_architecture_is_needed(tensor_export: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no NVIDIA GPU") as caught:
        build_engine(tensor_export, tmp_path / "e", target="rtx")
    assert all(arch in str(caught.value.expected) for arch in ARCHS)
    assert entries(tmp_path) == []


@pytest.mark.parametrize(("capability", "arch"), [("8.9", "sm89"), ("12.0", "sm120")])
def test_the_gpu_at_hand_is_the_default(capability: str, arch: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evit_deploy.engines.compiler.gpu_compute_capability", lambda: capability)
    assert choose_arch(COMPILER, RTX, None) == arch
    assert choose_arch(COMPILER, RTX, "sm80") == "sm80"


# The engine folder


def test_the_architecture_is_part_of_the_artifact(tensor_export: Path, tmp_path: Path) -> None:
    keys = set()
    for arch in ("sm80", "8.6"):
        manifest, written = build_engine(tensor_export, tmp_path / arch, target="rtx", arch=arch)
        assert written
        assert not build_engine(tensor_export, tmp_path / arch, target="rtx", arch=arch.upper())[1]
        assert manifest.engine is not None
        assert manifest.engine.entry == "engine.rtx"
        assert manifest.engine.machine["arch"] == read_plan(tmp_path / arch).arch == choose_arch(COMPILER, RTX, arch)
        assert {"engine.rtx", "model.onnx", "plan.json"} < read_artifact(tmp_path / arch).files.keys()
        keys.add(manifest.key)
    assert len(keys) == 2


def test_an_engine_says_what_it_computes(tensor_export: Path, tmp_path: Path) -> None:
    manifest, _ = build_engine(tensor_export, tmp_path / "e", target="rtx", arch="sm86")
    engine = manifest.engine
    assert engine is not None
    assert (engine.state, engine.compiler, engine.backend) == ("compiled", "tensorrt_rtx", "tensorrt_rtx")
    assert engine.compiler_version == COMPILER.version()
    assert engine.attention == RTX.attention
    assert engine.lowered is not None
    assert engine.lowered.notes == (f"attention arranged as '{RTX.attention}', the choice for rtx",)
    assert engine.notes[:1] == engine.lowered.notes
    assert manifest.agreement.method.startswith("faithful emulation of the typed graph")
    assert manifest.agreement.passed


def test_the_attention_asked_for_is_compiled(tensor_export: Path, tmp_path: Path) -> None:
    plans = {}
    for attention in ("conv", "portable"):
        build_engine(tensor_export, tmp_path / attention, target="rtx", arch="sm80", attention=attention)
        plans[attention] = read_plan(tmp_path / attention)
    assert len(plans["conv"].working) < len(plans["portable"].working)


def test_a_failed_build_leaves_nothing(
    tensor_export: Path, tmp_path: Path, perturb_lowering: Callable[..., None]
) -> None:
    perturb_lowering(lambda weight: weight * 1.05)
    with pytest.raises(CheckFailedError, match="the typed fp32 graph does not agree with PyTorch"):
        build_engine(tensor_export, tmp_path / "e", target="rtx", arch="sm80")
    assert entries(tmp_path) == []
