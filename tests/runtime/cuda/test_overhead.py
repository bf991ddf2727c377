# SPDX-License-Identifier: Apache-2.0
"""Python's part of a call, measured with a CUDA and a TensorRT that answer at once.

    pytest -s tests/runtime/cuda/test_overhead.py

prints it in microseconds; docs/runtime.md has the numbers of one machine.
"""

from __future__ import annotations

import sys
import time
import tracemalloc

import cuda.bindings
import numpy as np
import pytest

from evit_deploy.manifest import read_artifact
from evit_deploy.runtime import compatibility, open_engine
from evit_deploy.runtime.cuda import api
from tests.runtime.cuda.conftest import ORIN, real_machine
from tests.runtime.doubles.bench import Foreign, frame, write_engine
from tests.runtime.doubles.null import NullCudart, NullDriver, null_trt

GOAL, GPU_GOAL = 30e-6, 50e-6
CROWDED = 5
"""CI machines are slow and shared; the goal itself holds on the machine of docs/runtime.md."""


@pytest.fixture(params=[False, True], ids=["discrete", "integrated"])
def engine(request, monkeypatch, tmp_path):
    monkeypatch.setattr(cuda.bindings, "runtime", NullCudart(integrated=request.param))
    monkeypatch.setattr(cuda.bindings, "driver", NullDriver())
    monkeypatch.setitem(sys.modules, "tensorrt", null_trt())
    monkeypatch.setattr(compatibility, "this_device", lambda: ORIN)
    monkeypatch.setattr(api, "_OPEN", {})
    write_engine(tmp_path / "engine", b"null")
    with open_engine(tmp_path / "engine", read_artifact(tmp_path / "engine")) as engine:
        yield engine


def microseconds(call, calls=2000, rounds=15):
    """Time of a call, the best of several rounds."""
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        for _ in range(calls):
            call()
        times.append((time.perf_counter() - start) / calls)
    return min(times)


def calls_of_cuda(engine):
    """What the same calls cost alone: on a GPU they are the work itself."""
    cudart, driver = cuda.bindings.runtime, cuda.bindings.driver
    lane = engine._backend._lanes[0]
    side, stream, kinds = lane._hosts[1], lane.stream, cudart.cudaMemcpyKind
    copies = [(t.pointer, t.address, t.nbytes, kinds.cudaMemcpyHostToDevice) for t in side.inputs if t.device]
    back = [(t.address, t.pointer, t.nbytes, kinds.cudaMemcpyDeviceToHost) for t in side.outputs if t.device]
    handle = side.binding._handle

    def bare():
        driver.cuCtxGetCurrent()
        for copy in copies:
            cudart.cudaMemcpyAsync(*copy, stream)
        cudart.cudaGraphLaunch(handle, stream)
        for copy in back:
            cudart.cudaMemcpyAsync(*copy, stream)
        cudart.cudaStreamSynchronize(stream)

    return microseconds(bare)


@pytest.mark.parametrize("way", ["infer", "infer from the input buffer", "submit", "device array"])
def test_python_per_call(engine, way):
    image = {"image": engine.input_buffer("image") if "buffer" in way else frame(0)}
    if way == "device array":
        image = {"image": Foreign(frame(0))}
    call = {"submit": lambda: engine.submit(image).result()}.get(way, lambda: engine.infer(image))
    for _ in range(10):
        call()
    total = microseconds(call)
    own = total - (calls_of_cuda(engine) if way != "device array" else 0)
    print(f"\n{way}: {own * 1e6:.1f} µs of Python per call ({total * 1e6:.1f} µs with the doubles' own)")
    assert own < GOAL * CROWDED


@pytest.mark.gpu
def test_wrapper_on_a_gpu(tmp_path):
    """A whole call beside the bare calls of CUDA, with a CUDA graph."""
    with real_machine(tmp_path).load() as engine:
        assert engine.notes == ()
        image = {"image": engine.input_buffer("image")}
        total, bare = microseconds(lambda: engine.infer(image)), calls_of_cuda(engine)
    print(f"\non the GPU: {(total - bare) * 1e6:.1f} µs above {bare * 1e6:.1f} µs of CUDA's own")
    assert total - bare < GPU_GOAL


def test_nothing_large_is_allocated(engine):
    image = {"image": frame(0)}
    engine.infer(image)
    tracemalloc.start()
    for _ in range(100):
        engine.infer(image)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4096 < np.prod((32, 64)) * 3
