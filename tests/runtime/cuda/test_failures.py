# SPDX-License-Identifier: Apache-2.0
"""What goes wrong, and what the person at the terminal reads. Nothing is left behind."""

from __future__ import annotations

import gc
import sys
import warnings

import cuda.bindings
import numpy as np
import pytest

from evit_deploy.errors import ArtifactError, MissingExtraError, UnavailableError, UsageError
from evit_deploy.manifest import read_artifact
from evit_deploy.runtime import compatibility, open_engine
from evit_deploy.runtime.backends import obstacle
from evit_deploy.runtime.cuda import api
from evit_deploy.runtime.cuda.api import STICKY, CudaError, DeviceLostError, DeviceMemoryError
from evit_deploy.targets import device as targets_device
from tests.runtime.cuda.conftest import ORIN
from tests.runtime.doubles.bench import agree, frame, small_graph, write_engine
from tests.runtime.doubles.trt import plan_of


def test_out_of_memory_says_how_much_there_is(make_double):
    machine = make_double(total=(1 << 16) + 8000)
    with pytest.raises(DeviceMemoryError, match=r"(?s)does not suffice for 0\.0 MB for 'image'.*MB free of 0 MB"):
        machine.load()
    gc.collect()
    assert not machine.world.alive()


def test_out_of_memory_while_tensorrt_loads_the_plan(make_double):
    with pytest.raises(UnavailableError, match=r"(?s)cannot load.*OutOfMemory.*MB free of 0 MB.*evit-deploy build"):
        make_double(total=100).load()


def test_out_of_memory_for_another_batch_leaves_the_engine_usable(double):
    engine = double.load((1, 4))
    double.world.total = double.world.used + 100
    for call in (engine.infer, lambda inputs: engine.submit(inputs).result()):
        with pytest.raises(DeviceMemoryError):
            call({"image": frame(1, 4)})
    gc.collect()
    assert agree(engine.infer({"image": frame(1)}), frame(1))
    double.world.total = 1 << 30
    assert agree(engine.infer({"image": frame(1, 4)}), frame(1, 4))
    engine.close()


@pytest.mark.parametrize("integrated", [True, False])
def test_page_locked_memory_runs_out(make_double, integrated):
    machine = make_double(integrated=integrated)
    machine.world.fail("cudaHostAlloc", "cudaErrorMemoryAllocation", nth=2)
    with pytest.raises(DeviceMemoryError, match="page-locked memory for 'classes'"):
        machine.load()


CALLS = (
    "cudaDeviceGetAttribute", "cudaMemGetInfo", "cudaMalloc", "cudaHostAlloc", "cudaStreamCreateWithFlags",
    "cudaEventCreateWithFlags", "cudaMemcpyAsync", "cudaMemcpy", "cudaMemsetAsync", "cudaStreamSynchronize",
    "cudaStreamBeginCapture",
)  # fmt: skip


@pytest.mark.parametrize("nth", [1, 2, 3])
@pytest.mark.parametrize("call", CALLS)
def test_any_call_may_fail_at_load(double, call, nth):
    """An error in words or a working engine, and nothing left behind."""
    double.world.fail(call, "cudaErrorInvalidValue", nth)
    warnings.simplefilter("ignore")  # until the test is over
    try:
        with double.load() as engine:
            double.world.faults.clear()
            assert agree(engine.infer({"image": frame(1)}), frame(1))
    except CudaError as error:
        assert "cudaErrorInvalidValue" in str(error)
        assert error.exit_code == 3
        del error
    gc.collect()
    assert not double.world.alive()


@pytest.mark.parametrize("call", ["cudaMemcpyAsync", "cudaGraphLaunch", "cudaStreamSynchronize"])
@pytest.mark.parametrize("way", ["infer", "submit"])
def test_any_call_may_fail_in_a_run(double, call, way):
    """The engine goes on with the next one, and gives no outputs of the run before."""
    run = {"infer": lambda e, x: e.infer(x), "submit": lambda e, x: e.submit(x).result()}[way]
    with double.load() as engine:
        for _ in range(2):
            run(engine, {"image": frame(0)})
        double.world.fail(call, "cudaErrorInvalidValue")
        with pytest.raises(CudaError, match=r"CUDA failed while .*\n.*cudaErrorInvalidValue: invalid argument"):
            run(engine, {"image": frame(1)})
        for seed in (2, 3, 4):
            assert agree(run(engine, {"image": frame(seed)}), frame(seed))


def test_the_last_error_is_not_left_to_others(double):
    with double.load() as engine:
        double.world.fail("cudaMemcpyAsync", "cudaErrorInvalidValue")
        with pytest.raises(CudaError):
            engine.infer({"image": frame(1)})
        assert not double.cudart.cudaGetLastError()[0]


@pytest.mark.parametrize("error", sorted(STICKY))
def test_sticky_errors_end_every_engine_on_the_gpu(double, error):
    if not hasattr(double.cudart.cudaError_t, error):
        pytest.skip("these bindings do not know it")
    first, second = double.load(), double.load()
    double.world.kernel_fault = error
    with pytest.raises(
        DeviceLostError, match=f"(?s)cannot be used any more.*{error}.*waiting.*start the process again"
    ):
        first.infer({"image": frame(1)})
    double.world.kernel_fault = None
    for engine in (first, second):
        for call in (engine.infer, engine.submit):
            with pytest.raises(DeviceLostError, match=error):
                call({"image": frame(1)})
    with pytest.raises(DeviceLostError, match=error):
        double.load()
    first.close()
    second.close()


def test_a_gpu_that_is_lost_between_calls(double):
    engine = double.load()
    double.world.sticky = "cudaErrorECCUncorrectable"
    with pytest.raises(DeviceLostError, match="ECC"):
        engine.infer({"image": frame(1)})
    engine.close()
    with pytest.raises(UsageError, match="closed"):
        engine.infer({"image": frame(1)})


def test_no_driver(double, monkeypatch):
    """What the real bindings answer on a machine without one."""
    double.world.fail("cudaGetDeviceCount", "cudaErrorInsufficientDriver")
    with pytest.raises(UnavailableError, match=r"(?s)no NVIDIA GPU.*cudaErrorInsufficientDriver.*driver"):
        double.load()


def test_the_real_bindings_without_a_driver(monkeypatch):
    from cuda.bindings import runtime

    if not runtime.cudaGetDeviceCount()[0]:
        pytest.skip("this machine has a driver")
    monkeypatch.setattr(api, "_OPEN", {})
    with pytest.raises(UnavailableError, match=r"no NVIDIA GPU that CUDA can use"):
        api.open_device(0)


def test_no_such_gpu(double, monkeypatch):
    with pytest.raises(UsageError, match="there is no GPU 3"):
        double.load(device=3)
    with pytest.raises(UsageError, match=r"(?s)there is no GPU 1.*expected: +0"):
        api.open_device(1)


@pytest.mark.parametrize("module", ["tensorrt", "tensorrt_rtx"])
def test_no_tensorrt(make_double, monkeypatch, module):
    machine = make_double(rtx=module == "tensorrt_rtx")
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setattr("evit_deploy.targets.packages.this_device", lambda: ORIN)
    with pytest.raises(UnavailableError, match=f"{module}.*not installed") as caught:
        machine.load()
    # an Orin gets TensorRT with its JetPack, never from pip
    assert ("apt install" if module == "tensorrt" else "evit-deploy[rtx]") in str(caught.value.fix)


def test_no_cuda_bindings(double, monkeypatch):
    monkeypatch.delattr(cuda.bindings, "runtime")
    monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", None)
    with pytest.raises(MissingExtraError, match=r"(?s)cuda-bindings.*evit-deploy\[cuda\]"):
        double.load()


def test_tensorrt_8_is_too_old(double, monkeypatch):
    monkeypatch.delattr(sys.modules["tensorrt"].ICudaEngine, "num_io_tensors")
    with pytest.raises(UnavailableError, match=r"(?s)too old.*TensorRT 10\.0 or newer.*JetPack"):
        double.load()


def test_an_altered_plan_never_reaches_tensorrt(double):
    """Not even when it is altered after its folder was checked."""
    folder = double.folder()
    manifest = read_artifact(folder)
    plan = folder / "engine.plan"
    plan.write_bytes(plan.read_bytes()[:-1] + b"x")
    with pytest.raises(ArtifactError, match="is not the file that was verified"):
        open_engine(folder, manifest)
    assert not double.world.alive()


def test_what_tensorrt_refuses_is_said_in_its_words(double):
    folder = double.tmp / "nonsense"
    write_engine(folder, b"nonsense")
    with pytest.raises(UnavailableError, match=r"(?s)tensorrt 10\.3\.0 cannot load.*magicTag.*evit-deploy build"):
        open_engine(folder, read_artifact(folder))


def test_a_plan_of_another_graph(double):
    folder = double.tmp / "other"
    write_engine(folder, plan_of(small_graph(2)))
    with pytest.raises(ArtifactError, match=r"(?s)not the plan of this engine's graph.*\[2, 32, 64, 3\]"):
        open_engine(folder, read_artifact(folder))


def test_tensorrt_without_a_context(double):
    double.world.faults["create_execution_context"] = (1, "")
    with pytest.raises(CudaError, match="cannot create an execution context"):
        double.load()


@pytest.mark.parametrize("missing", ["tensorrt", "cuda.bindings", "gpu", None])
def test_obstacle(double, monkeypatch, missing):
    import importlib.util

    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == missing else find("os"))
    monkeypatch.setattr(targets_device, "this_device", lambda: None if missing == "gpu" else ORIN)
    manifest = read_artifact(double.folder())
    found = obstacle(manifest)
    assert (found is None) is (missing is None)
    assert missing is None or {"gpu": "no NVIDIA GPU"}.get(missing, missing) in found


def test_obstacle_of_another_gpu(double, monkeypatch):
    import importlib.util

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(targets_device, "this_device", lambda: ORIN)
    manifest = write_engine(double.tmp / "a100", b"", machine={"compute capability": "8.0"})
    assert "SM 8.0" in obstacle(manifest)
    monkeypatch.setattr(compatibility, "this_device", lambda: ORIN)
    with pytest.raises(UnavailableError, match=r"SM 8\.0"):
        open_engine(double.tmp / "a100", manifest)


def test_obstacle_of_an_engine_for_cpus(engine_folder):
    assert obstacle(read_artifact(engine_folder)) is None


def test_arrays_of_a_failed_run_are_not_wrong_ones(double):
    """A run that fails raises; it does not return what the run before left in the buffers."""
    with double.load() as engine:
        before = engine.infer({"image": frame(1)})["confidence"].copy()
        double.world.fail("cudaGraphLaunch", "cudaErrorInvalidValue")
        with pytest.raises(CudaError):
            engine.infer({"image": frame(2)})
        assert not np.array_equal(engine.infer({"image": frame(2)})["confidence"], before)
