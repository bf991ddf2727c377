# SPDX-License-Identifier: Apache-2.0
"""Capsules: what they say, and who keeps the memory."""

from __future__ import annotations

import ctypes
import gc

import numpy as np
import pytest

from evit_deploy.runtime.cuda import dlpack
from tests.runtime.doubles.bench import Foreign, agree, frame


@pytest.mark.parametrize("use_stream", [True, False, None])
def test_outputs_have_dlpack(machine, foreign, use_stream):
    with machine.load() as engine:
        stream = machine.stream()
        pending = engine.submit({"image": foreign(frame(3))})
        found = pending.result(stream=int(stream))["confidence"]
        asked = {True: int(stream), False: -1, None: None}[use_stream]
        capsule = found.__dlpack__(stream=asked)
        contents = dlpack.read_capsule(capsule)
        assert found.__dlpack_device__() == (dlpack.CUDA, 0)
        assert (contents.dtype, contents.shape, contents.pointer) == ("float32", (1, 32, 64), found.pointer)
        machine.cudart.cudaStreamSynchronize(stream)
        assert agree({"confidence": found.numpy(), "classes": engine.infer({"image": frame(3)})["classes"]}, frame(3))
        machine.cudart.cudaStreamDestroy(stream)
    del capsule


@pytest.mark.parametrize("asked", [{"copy": True}, {"dl_device": (dlpack.CPU, 0)}])
def test_dlpack_gives_no_copies(machine, foreign, asked):
    with machine.load() as engine:
        found = engine.infer({"image": foreign(frame(3))})["classes"]
        with pytest.raises(BufferError, match="without a copy"):
            found.__dlpack__(**asked)


def test_a_capsule_keeps_the_memory_until_it_is_let_go(double):
    image = Foreign(frame(4))
    engine = double.load()
    array = engine.infer({"image": image})["confidence"]
    capsule = array.__dlpack__(stream=None)
    engine.close()
    del engine, array
    gc.collect()
    assert double.world.alive()["device memory"] == 2  # the output's, and the image
    del capsule
    gc.collect()
    assert double.world.alive() == {"device memory": 1}
    image.free()


def test_a_capsule_that_was_consumed_is_let_go_by_its_taker(double):
    """The taker renames the capsule, and calls the deleter when it is done."""
    image = Foreign(frame(4))
    engine = double.load()
    capsule = engine.infer({"image": image})["classes"].__dlpack__()
    address = dlpack._capsule_pointer(capsule, b"dltensor")
    ctypes.pythonapi.PyCapsule_SetName.argtypes = (ctypes.py_object, ctypes.c_char_p)
    name = b"used_dltensor"
    ctypes.pythonapi.PyCapsule_SetName(capsule, name)
    del capsule
    gc.collect()
    assert dlpack._lent
    deleter = dlpack._Managed.from_address(address).deleter
    ctypes.CFUNCTYPE(None, ctypes.c_void_p)(deleter)(address)
    assert not dlpack._lent
    engine.close()
    image.free()


@pytest.mark.parametrize("dtype", ["uint8", "int8", "float16", "float32", "int32", "int64", "bool"])
def test_capsules_of_numpy_say_what_they_hold(dtype):
    """Ours are read by numpy, and numpy's by us: the structure is the one of the standard."""
    array = np.zeros((2, 3, 4), dtype)[:, ::2]
    contents = dlpack.read_capsule(array.__dlpack__())
    assert (contents.dtype, contents.shape, contents.device_type) == (dtype, (2, 2, 4), dlpack.CPU)
    assert contents.pointer == array.ctypes.data
    assert tuple(step * array.itemsize for step in contents.strides) == array.strides


def test_complex_numbers_are_unknown():
    assert dlpack.read_capsule(np.zeros(3, np.complex64).__dlpack__()).dtype == "unknown"


def test_what_is_no_capsule():
    with pytest.raises(ValueError, match=r"PyCapsule|capsule"):
        dlpack.read_capsule(3)
