# SPDX-License-Identifier: Apache-2.0
"""The double beside NVIDIA's bindings: the same arguments, as many values; and as strict as it says."""

from __future__ import annotations

import inspect
import re

import numpy as np
import pytest
from cuda.bindings import driver as real_driver
from cuda.bindings import runtime as real

from tests.runtime.doubles.bench import Foreign, modules
from tests.runtime.doubles.cudart import Cudart, Driver

CALLS = sorted(name.removeprefix("_call_") for name in dir(Cudart) if name.startswith("_call_"))
DRIVER_CALLS = sorted(name for name in dir(Driver) if name.startswith("cu"))


def arguments(function):
    """How many arguments NVIDIA's documentation names."""
    inside = re.search(r"\((.*)\)", function.__doc__.strip().splitlines()[0])[1]
    return len([part for part in inside.split(",") if part.strip()])


def values(function):
    """How many values it names beside the status."""
    section = inspect.cleandoc(function.__doc__).partition("Returns\n-------\n")[2].partition("\nSee Also")[0]
    return len(re.findall(r"^\w+ : ", section, re.MULTILINE))


@pytest.mark.parametrize("name", CALLS)
def test_runtime_calls(name):
    parameters = inspect.signature(getattr(Cudart, f"_call_{name}")).parameters
    assert len(parameters) - 1 == arguments(getattr(real, name))


@pytest.mark.parametrize("name", DRIVER_CALLS)
def test_driver_calls(name):
    parameters = inspect.signature(getattr(Driver, name)).parameters
    assert len(parameters) - 1 == arguments(getattr(real_driver, name))


@pytest.mark.parametrize("name", CALLS)
def test_values_of_a_call_that_fails(double, name):
    """As many as of one that succeeds, as the bindings have it."""
    double.world.sticky = "cudaErrorUnknown"
    function = getattr(double.cudart, name)
    count = len(inspect.signature(getattr(Cudart, f"_call_{name}")).parameters) - 1
    assert len(function(*[0] * count)) == 1 + values(getattr(real, name))


def test_calls_that_nobody_wrote_are_not_there(double):
    with pytest.raises(AttributeError, match="the double has no cudaMallocManaged"):
        double.cudart.cudaMallocManaged  # noqa: B018


def test_work_waits_until_somebody_waits_for_it(double):
    cudart, stream = double.cudart, double.stream()
    image = Foreign(np.zeros(16, np.uint8))
    image.put_later(np.full(16, 7, np.uint8), stream)
    seen = np.zeros(16, np.uint8)
    kind = cudart.cudaMemcpyKind.cudaMemcpyDeviceToHost
    cudart.cudaMemcpy(seen.ctypes.data, image.pointer, 16, kind)
    assert not seen.any()
    cudart.cudaStreamSynchronize(stream)
    cudart.cudaMemcpy(seen.ctypes.data, image.pointer, 16, kind)
    assert (seen == 7).all()
    image.free()
    cudart.cudaStreamDestroy(stream)


def test_memory_beyond_the_end_ends_the_gpu(double):
    cudart, _ = modules()
    pointer = cudart.cudaMalloc(256)[1]
    cudart.cudaMemsetAsync(pointer, 0, 257, 1)
    assert cudart.cudaStreamSynchronize(1)[0] == cudart.cudaError_t.cudaErrorIllegalAddress
    assert cudart.cudaMalloc(1)[0] == cudart.cudaError_t.cudaErrorIllegalAddress
