# SPDX-License-Identifier: Apache-2.0
"""Real libraries on a real GPU, as docs/runtime.md shows them. Each is skipped where it is not installed."""

from __future__ import annotations

from typing import Any

import pytest

from tests.runtime.cuda.conftest import Machine, real_machine
from tests.runtime.doubles.bench import agree, expected, frame

pytestmark = pytest.mark.gpu


@pytest.fixture
def real(tmp_path: Any) -> Machine:
    return real_machine(tmp_path)


def test_pytorch(real):
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("this PyTorch is built without CUDA")
    side = torch.cuda.Stream()
    with real.load() as engine, torch.cuda.stream(side):
        for seed in range(50):
            image = torch.from_numpy(frame(seed)).pin_memory().cuda(non_blocking=True)
            torch.cuda._sleep(1_000_000)  # the producer is not done when the engine is called
            image.add_(1).sub_(1)
            found = torch.from_dlpack(engine.infer({"image": image})["confidence"])
            assert found.is_cuda
            assert abs(found.cpu().numpy() - expected(frame(seed))["confidence"]).max() < 1e-2


def test_cupy(real):
    cupy = pytest.importorskip("cupy")
    with real.load() as engine, cupy.cuda.Stream(non_blocking=True):
        for seed in range(50):
            image = cupy.asarray(frame(seed))
            found = engine.infer({"image": image})["confidence"]
            for array in (cupy.from_dlpack(found), cupy.asarray(found)):
                assert array.data.ptr == found.pointer
                assert abs(cupy.asnumpy(array) - expected(frame(seed))["confidence"]).max() < 1e-2


def test_pycuda(real):
    pytest.importorskip("pycuda.autoprimaryctx")
    from pycuda import driver, gpuarray

    before = driver.Context.get_current()
    with real.load() as engine:
        for seed in range(50):
            found = engine.infer({"image": gpuarray.to_gpu(frame(seed))})
            assert agree(found, frame(seed))
            array = found["confidence"]
            taken = gpuarray.GPUArray(array.shape, array.dtype, gpudata=array.pointer, base=None)
            assert abs(taken.get() - expected(frame(seed))["confidence"]).max() < 1e-2
    assert driver.Context.get_current() == before


def test_pycuda_with_a_context_of_its_own(real):
    """As code written for PyCUDA's `autoinit` has it: current all the time, and left alone."""
    driver = pytest.importorskip("pycuda.driver")
    driver.init()
    context = driver.Device(0).make_context()
    try:
        with real.load() as engine:
            for seed in range(10):
                assert agree(engine.infer({"image": frame(seed)}), frame(seed))
                assert driver.Context.get_current() == context
    finally:
        context.pop()
