# SPDX-License-Identifier: Apache-2.0
"""TensorRT as a compiler: with a stand-in that keeps what it is told, and with TensorRT-RTX in its place.

tests/conformance shows that the names are TensorRT's own. What it makes of them needs a device.
"""

from __future__ import annotations

import json
import sys
import types
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from evit_deploy.engines import compilation, compiler, tensorrt, workspace
from evit_deploy.engines.compilation import compile_engine
from evit_deploy.engines.compiler import BF16_REFUSAL, Job
from evit_deploy.engines.flops import count_math, write_math
from evit_deploy.engines.plan import read_plan
from evit_deploy.engines.tensorrt import COMPILER
from evit_deploy.engines.timing_cache import cache_path
from evit_deploy.engines.workspace import MIB
from evit_deploy.errors import EvitError, UnavailableError, UsageError
from evit_deploy.manifest import Manifest, read_artifact
from evit_deploy.progress import silent
from evit_deploy.runtime.cuda.logger import shared_logger
from evit_deploy.targets import TARGETS, packages
from evit_deploy.targets.device import Device
from tests.conftest import require
from tests.engines.devices import A100, ORIN
from tests.engines.fake_tensorrt import World, make_tensorrt
from tests.engines.graphs import FLOPS, two_convolutions
from tests.engines.test_inspector import ELEVEN, TEN
from tests.manifest.sample import entries

FREE = 8192 * MIB


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> World:
    """An AGX Orin with TensorRT 10.3, as far as Python sees it."""
    found = World(answer=json.dumps(TEN))
    install(monkeypatch, make_tensorrt(found))
    stand_on(monkeypatch, ORIN)
    monkeypatch.setattr(workspace, "free_memory", lambda device: FREE)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return found


def stand_on(monkeypatch: pytest.MonkeyPatch, device: Device | None) -> None:
    """The GPU at hand, as far as building asks for it."""
    for module in (tensorrt, compiler, packages):
        monkeypatch.setattr(module, "this_device", lambda: device)


def install(monkeypatch: pytest.MonkeyPatch, module: types.ModuleType) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", module)


def build(tmp_path: Path, graph: Path | None = None, **fields: Any) -> Path:
    """Compile a graph into a new folder."""
    folder = tmp_path / "engine"
    folder.mkdir(exist_ok=True)
    graph = graph or two_convolutions(tmp_path / "g.onnx")
    assert COMPILER.compile(Job(graph, folder, **{"precision": "fp16", **fields}), silent) == "engine.plan"
    return folder


def refused(tmp_path: Path, kind: type[EvitError], graph: Path | None = None, **fields: Any) -> EvitError:
    with pytest.raises(kind) as caught:
        build(tmp_path, graph, **fields)
    assert entries(tmp_path / "engine") == []
    return caught.value


# What it is told


def test_an_engine_its_inspector_and_its_plan(world: World, tmp_path: Path) -> None:
    folder = build(tmp_path)
    assert entries(folder) == ["engine.plan", "inspector.json", "plan.json"]
    assert (folder / "engine.plan").read_bytes() == b"the plan"
    assert json.loads((folder / "inspector.json").read_text()) == TEN
    plan = read_plan(folder)
    assert (plan.compiler, plan.version, plan.arch) == ("tensorrt", "10.3.0", "sm87")
    assert plan.flops == sum(FLOPS.values())
    assert [kernel.flops for kernel in plan.working if kernel.flops] == [FLOPS["first"], FLOPS["second"]]


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_the_settings_of_a_build(precision: str, world: World, tmp_path: Path) -> None:
    graph = two_convolutions(tmp_path / "g.onnx", {"fp32": "float32", "fp16": "float16"}[precision])
    build(tmp_path, graph, precision=precision)
    (config,) = world.configs
    assert config._flags == set(), "TF32 would round FP32 without saying so"
    assert config.profiling_verbosity.name == "DETAILED"
    pools = {pool.name: size for pool, size in config._pools.items()}
    assert pools == {"WORKSPACE": (FREE - 1536 * MIB) // 2, "TACTIC_DRAM": 4096 * MIB}
    assert config._profiles == []
    assert config.builder_optimization_level == 3
    assert config.progress_monitor is not None
    assert world.networks[0].flags == 1 << 1


def test_a_gpu_with_memory_of_its_own_needs_one_limit(
    world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    stand_on(monkeypatch, A100)
    build(tmp_path)
    assert {pool.name for pool in world.configs[0]._pools} == {"WORKSPACE"}


def test_a_library_without_that_pool(world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    install(monkeypatch, make_tensorrt(world, without=("MemoryPoolType.TACTIC_DRAM",)))
    build(tmp_path)
    assert {pool.name for pool in world.configs[0]._pools} == {"WORKSPACE"}


def test_what_the_builder_itself_takes_is_not_given_away(
    world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Memory is measured again with the builder loaded, which takes 1.2 GiB here."""
    monkeypatch.setattr(workspace, "free_memory", lambda device: FREE - 1200 * MIB * len(world.builders))
    build(tmp_path)
    workspace_size, tactics = world.configs[0]._pools.values()
    assert workspace_size == (FREE - 2736 * MIB) // 2
    assert tactics == 4096 * MIB


def test_too_little_memory_once_the_builder_is_there(
    world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(workspace, "free_memory", lambda device: (2500 - 1200 * len(world.builders)) * MIB)
    error = refused(tmp_path, UnavailableError)
    assert error.found == "1300 MiB of memory, which CPU and GPU share, with TensorRT's builder loaded"
    assert str(error.expected).startswith("at least 1792 MiB")


def test_a_library_that_knows_no_other_networks(world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """TensorRT 11 ignores the flag; one day it may be gone."""
    install(monkeypatch, make_tensorrt(world, "12.0.0", ("NetworkDefinitionCreationFlag.STRONGLY_TYPED",)))
    assert COMPILER.obstacle("fp16", TARGETS["orin"]) is None
    build(tmp_path)
    assert world.networks[0].flags == 0


@pytest.mark.parametrize("level", [0, 5])
def test_the_level(level: int, world: World, tmp_path: Path) -> None:
    build(tmp_path, level=level)
    assert world.configs[0].builder_optimization_level == level


@pytest.mark.parametrize("level", [-1, 6])
def test_a_level_that_is_none(level: int, world: World, tmp_path: Path) -> None:
    error = refused(tmp_path, UsageError, level=level)
    assert error.what == f"tensorrt 10.3.0 has no level {level}"
    assert error.expected == "0 to 5"


def test_a_library_without_levels(world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    install(monkeypatch, make_tensorrt(world, without=("IBuilderConfig.builder_optimization_level",)))
    refused(tmp_path, UsageError, level=3)
    build(tmp_path)


def test_a_library_without_monitors(world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    install(monkeypatch, make_tensorrt(world, without=("IProgressMonitor",)))
    build(tmp_path)
    assert world.configs[0].progress_monitor is None


def test_kernels_are_timed_once_per_device(world: World, tmp_path: Path) -> None:
    build(tmp_path)
    path = cache_path("10.3.0", ORIN)
    assert json.loads(path.read_bytes()) == {"device": "here", "times": {"kernel": 1}}
    build(tmp_path)
    assert world.configs[1].get_timing_cache()._content["times"] == {"kernel": 1}


def test_while_it_builds_the_kernel_would_end_it_first(world: World, tmp_path: Path) -> None:
    score = Path("/proc/self/oom_score_adj")
    seen: list[str] = []
    world.during = world.asking = lambda: seen.append(score.read_text())
    before = score.read_text()
    build(tmp_path)
    assert seen == ["1000\n", "1000\n"], "while it builds, and while the engine is loaded to be asked"
    assert score.read_text() == before


def test_the_builder_is_gone_before_the_engine_is_loaded(world: World, tmp_path: Path) -> None:
    alive: list[int] = []
    world.during = world.asking = lambda: alive.append(len(world.builders))
    build(tmp_path)
    assert alive == [1, 0]


# A dynamic batch


def dynamic(tmp_path: Path) -> Path:
    """A graph for any batch, and beside it what a lowered engine says that it computes."""
    graph = two_convolutions(tmp_path / "g.onnx", batch="N")
    write_math(graph, 2)
    return graph


def test_a_profile_for_a_dynamic_batch(world: World, tmp_path: Path) -> None:
    folder = build(tmp_path, dynamic(tmp_path), batch=(2, 8))
    (profile,) = world.configs[0]._profiles
    smallest, largest = (2, 8, 32, 64), (8, 8, 32, 64)
    assert profile._shapes == {"x": (smallest, largest, largest)}
    assert world.shapes == {"x": smallest}, "the plan is of the smallest batch, like its operations"
    assert read_plan(folder).flops == 2 * sum(FLOPS.values())


def test_only_the_batch_may_be_open(world: World, tmp_path: Path) -> None:
    graph = two_convolutions(tmp_path / "g.onnx", batch="N")
    import onnx

    model = onnx.load(graph)
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "H"
    onnx.save(model, graph)
    (tmp_path / "math.json").write_text('{"batch": 1, "flops": {}, "types": ["FLOAT16"]}')
    error = refused(tmp_path, UsageError, graph, batch=(1, 8))
    assert error.found == "the input 'x' of shape [-1, 8, -1, 64]"


def test_a_fixed_graph_needs_no_context_to_be_inspected(world: World, tmp_path: Path) -> None:
    build(tmp_path)
    assert world.shapes == {}


# Without a plan


@pytest.mark.parametrize(
    ("answer", "kept", "words"),
    [
        (None, ["engine.plan"], "does not load or inspect what it built: it gives no engine: out of memory"),
        ("no JSON", ["engine.plan", "inspector.json"], "the inspector's form is not known here: not JSON"),
        ('{"Layers": []}', ["engine.plan", "inspector.json"], "neither 'Bindings'"),
    ],
)
def test_an_engine_is_as_good_without_its_plan(
    answer: str | None, kept: list[str], words: str, world: World, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    world.answer = answer
    assert entries(build(tmp_path)) == kept
    assert "no plan is kept" in caplog.text
    assert words in caplog.text


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("Runtime", "factory function returned nullptr: CUDA initialization failure with error: 2"),
        ("inspector", "it gives no inspector: it does not say why"),
    ],
)
def test_an_engine_whose_inspector_fails_is_not_lost(
    fault: str, words: str, world: World, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    world.faults = (fault,)
    assert entries(build(tmp_path)) == ["engine.plan"]
    assert "no plan is kept: TensorRT does not load or inspect what it built: " in caplog.text
    assert words in caplog.text


def test_the_inspector_of_eleven(world: World, tmp_path: Path) -> None:
    world.answer = json.dumps(ELEVEN)
    assert read_plan(build(tmp_path)).flops == sum(FLOPS.values())


# What goes wrong


def test_what_the_parser_refuses_names_the_node(world: World, tmp_path: Path) -> None:
    world.parser_errors = [("Frobnicate", "odd one", "odd one: no importer for it")]
    error = refused(tmp_path, UnavailableError)
    assert error.what == "tensorrt 10.3.0 cannot compile the graph in fp16"
    assert error.found == "Frobnicate node 'odd one': no importer for it"
    assert "export it with other options" in str(error.fix)


def test_a_build_that_gives_nothing(world: World, tmp_path: Path) -> None:
    world.errors = [
        "[optimizer.cpp::computeCosts::4052] Error Code 10: Internal Error (Could not find any implementation for node"
        " {ForeignNode[first...second]}. In computeCosts at /_src/optimizer/common/tactic/optimizer.cpp:4052)"
    ]
    error = refused(tmp_path, UnavailableError)
    assert error.found == "Could not find any implementation for node {ForeignNode[first...second]}"
    assert not cache_path("10.3.0", ORIN).exists()


@pytest.mark.parametrize(
    "text",
    [
        "Error Code 2: OutOfMemory (Requested size was 68719476736 bytes.)",
        "Error Code 1: Cuda Runtime (out of memory)",
        "[checkMacros.cpp::catchCudaError::212] Error Code 1: Cuda Runtime (out of memory)",
        "CUDA error 2 for 622329856-byte allocation.",
        "NvMap: error allocating 123-byte buffer",
    ],
)
def test_out_of_memory_while_building(text: str, world: World, tmp_path: Path) -> None:
    world.errors = [text, "Error Code 10: Internal Error (Could not find any implementation for node {first})"]
    error = refused(tmp_path, UnavailableError)
    assert "close what else needs memory" in str(error.fix)


@pytest.mark.parametrize("other", [[], ["Could not find any implementation for node {first}."]])
@pytest.mark.parametrize("loaded", [False, True])
@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[checkMacros.cpp::catchCudaError::212] Error Code 1: Cuda Runtime (out of memory)", "CUDA: out of memory"),
        (
            "[checkMacros.cpp::catchCudaError::203] Error Code 1: Cuda Runtime (an illegal memory access was"
            " encountered)",
            "CUDA: an illegal memory access was encountered",
        ),
        (
            "1: [checkMacros.cpp::catchCudaError::272] Error Code 1: Cuda Runtime (no kernel image is available for"
            " execution on the device)",
            "CUDA: no kernel image is available for execution on the device",
        ),
        (
            "[checkMacros.cpp::catchCudaError::250] Error Code 1: Cuda Runtime (In catchCudaError at /_src/x.cpp:250"
            " (cudaError 700: an illegal memory access was encountered))",
            "CUDA: cudaError 700: an illegal memory access was encountered",
        ),
    ],
)
def test_what_cuda_says_is_told(
    text: str, words: str, loaded: bool, other: list[str], world: World, tmp_path: Path
) -> None:
    """In whichever order engines are loaded and built: the first logger hears everything."""
    trt = sys.modules["tensorrt"]
    runtime = trt.Runtime(shared_logger(trt)) if loaded else None
    world.errors = [text, *other]
    assert refused(tmp_path, UnavailableError).found == "; ".join([words, *other])
    assert runtime is None or len(set(world.loggers)) == 1


def test_a_kernel_that_does_not_fit_is_a_warning_only(world: World, tmp_path: Path) -> None:
    world.errors = ["Could not find any implementation for node {first}."]
    world.warnings = [
        "Some tactics do not have sufficient workspace",
        "Tactic Device request: 800MB Available: 526MB. Device memory is insufficient to use tactic.",
        "Tactic Device request: 900MB Available: 526MB. Device memory is insufficient to use tactic.",
    ]
    error = refused(tmp_path, UnavailableError)
    assert error.found == f"{world.errors[0]}; {world.warnings[1]}"
    assert "close what else needs memory" in str(error.fix)


def test_too_little_memory_to_begin(world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(workspace, "free_memory", lambda device: 100 * MIB)
    assert "too little memory is free" in refused(tmp_path, UnavailableError).what
    assert world.configs == []


def test_a_library_that_cannot_start(world: World, tmp_path: Path) -> None:
    world.starts = False
    error = refused(tmp_path, UnavailableError)
    assert error.what == "tensorrt 10.3.0 cannot start on this machine"
    assert error.found == "CUDA initialization failure with error: 35"


def test_no_gpu_after_all(world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    stand_on(monkeypatch, None)
    assert refused(tmp_path, UnavailableError).found == "no NVIDIA GPU, or no driver"


def test_a_graph_typed_otherwise(world: World, tmp_path: Path) -> None:
    error = refused(tmp_path, UsageError, two_convolutions(tmp_path / "g.onnx", "float32"))
    assert error.what == "the graph is not typed in fp16"


# What stands in the way


def obstacle(
    monkeypatch: pytest.MonkeyPatch, device: Device | None, target: str = "orin", precision: str = "fp16"
) -> str | None:
    stand_on(monkeypatch, device)
    return COMPILER.obstacle(precision, TARGETS[target])


@pytest.mark.parametrize(("device", "target"), [(ORIN, "orin"), (ORIN, "orin-nx"), (A100, "a100"), (A100, "rtx")])
def test_no_obstacle(device: Device, target: str, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    assert obstacle(monkeypatch, device, target) is None
    assert obstacle(monkeypatch, device, target, "fp32") is None
    assert obstacle(monkeypatch, device, target, "int8") is None


def test_a_precision_that_it_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether TensorRT is there or not."""
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    assert obstacle(monkeypatch, ORIN, precision="bf16") == BF16_REFUSAL


def test_without_tensorrt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    assert COMPILER.version() is None
    assert "python3-libnvinfer" in str(obstacle(monkeypatch, ORIN))
    assert "pip install 'evit-deploy[tensorrt]'" in str(obstacle(monkeypatch, A100, "a100"))
    assert "pip install" in str(obstacle(monkeypatch, None))


def test_without_a_gpu(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "no NVIDIA GPU" in str(obstacle(monkeypatch, None))


@pytest.mark.parametrize(("device", "target"), [(A100, "orin"), (ORIN, "a100"), (ORIN, "thor")])
def test_the_gpu_of_another_target(device: Device, target: str, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    found = str(obstacle(monkeypatch, device, target))
    assert device.gpu in found
    assert device.compute_capability in found
    assert f"{target} has {TARGETS[target].compute_capability}" in found


@pytest.mark.parametrize(
    ("device", "advice"),
    [
        (replace(ORIN, jetpack="5.1.2"), "upgrade JetPack 5.1.2 to JetPack 6.2"),
        (replace(ORIN, jetpack="6.0"), "upgrade JetPack 6.0 to JetPack 6.2"),
        (replace(ORIN, jetpack=None), "upgrade this JetPack to JetPack 6.2"),
        (A100, "install TensorRT 10 or later"),
        (None, "install TensorRT 10 or later"),
    ],
)
def test_a_library_that_is_too_old(
    device: Device | None, advice: str, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TensorRT 8: its networks have explicit batches, and no types of their own."""
    old = make_tensorrt(world, "8.6.2", ("NetworkDefinitionCreationFlag.STRONGLY_TYPED",))
    old.NetworkDefinitionCreationFlag.EXPLICIT_BATCH = 0
    install(monkeypatch, old)
    found = str(obstacle(monkeypatch, device))
    assert found.startswith("TensorRT 8.6.2 has no strongly typed networks")
    assert advice in found


def test_it_builds_for_the_gpu_at_hand_only() -> None:
    assert COMPILER.archs() == ()


# With a real library of the family in its place


@pytest.fixture
def rtx(world: World, monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """TensorRT-RTX as TensorRT: it builds without a GPU if told for which, and does not load what it built."""
    require("tensorrt_rtx")
    import tensorrt_rtx as trt

    module = types.ModuleType("tensorrt")
    module.__dict__.update({name: value for name, value in vars(trt).items() if name not in ("__name__", "__spec__")})

    class Builder(trt.Builder):
        def create_builder_config(self) -> Any:
            config = super().create_builder_config()
            config.num_compute_capabilities = 1
            config.set_compute_capability(trt.ComputeCapability.SM80, 0)
            return config

    module.Builder = Builder
    install(monkeypatch, module)
    return module


def test_a_real_library_builds(rtx: types.ModuleType, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = build(tmp_path, level=2)
    assert (folder / "engine.plan").stat().st_size > 10_000
    assert entries(folder) == ["engine.plan"], "without a GPU nothing is loaded"
    assert "no plan is kept" in caplog.text


def test_a_real_library_builds_for_a_dynamic_batch(rtx: types.ModuleType, tmp_path: Path) -> None:
    build(tmp_path, dynamic(tmp_path), batch=(1, 4))


def test_a_real_library_refuses_a_wrong_type(rtx: types.ModuleType, tmp_path: Path) -> None:
    graph = two_convolutions(tmp_path / "g.onnx", weights="float32")
    assert str(refused(tmp_path, UnavailableError, graph).found).startswith("Conv node 'first': IConvolutionLayer")


def test_a_lowered_engine_becomes_a_compiled_one(
    world: World, gpu_workspace: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Through the whole compilation. What the stand-in gives cannot run, so it is not verified."""
    lowered = gpu_workspace / "engines" / "b0-seg.orin.fp16"
    monkeypatch.setattr(compilation, "this_device", lambda: ORIN)
    monkeypatch.setattr(compilation, "obstacle", lambda manifest: None)

    def verified(folder: Path, manifest: Manifest, progress: object) -> Manifest:
        return replace(manifest, agreement=replace(manifest.agreement, method=compilation.ITSELF))

    monkeypatch.setattr(compilation, "verified", verified)
    manifest, written = compile_engine(lowered, tmp_path / "engine", level=1)
    engine = manifest.engine
    assert written
    assert engine is not None
    assert (engine.state, engine.compiler, engine.compiler_version) == ("compiled", "tensorrt", "10.3.0")
    assert (engine.entry, engine.machine["power mode"]) == ("engine.plan", "MAXN")
    assert {"engine.plan", "inspector.json", "plan.json", "model.onnx", "math.json"} < manifest.files.keys()
    assert engine.lowered is not None
    assert engine.lowered.agreement == read_artifact(lowered).agreement
    assert world.configs[0].builder_optimization_level == 1
    assert not compile_engine(lowered, tmp_path / "engine", level=1)[1]


def test_what_a_device_without_onnx_knows_of_a_graph(tmp_path: Path) -> None:
    graph = dynamic(tmp_path)
    assert count_math(graph, 2).flops == {name: 2 * flops for name, flops in FLOPS.items()}
