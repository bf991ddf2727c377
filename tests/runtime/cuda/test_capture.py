# SPDX-License-Identifier: Apache-2.0
"""CUDA graphs are used only if they do what a plain run does; else the engine runs without, and says so."""

from __future__ import annotations

import gc

import pytest

from evit_deploy.runtime.cuda.api import CudaError, DeviceLostError
from tests.runtime.doubles.bench import Foreign, agree, frame


@pytest.mark.parametrize(
    ("spoil", "note"),
    [
        ("nothing", "a graph of nothing"),
        ("half", "other outputs than a plain run"),
        ("invalid", "cudaErrorStreamCaptureInvalidated"),
    ],
)
def test_captures_that_went_wrong_unnoticed(double, spoil, note):
    """`execute_async_v3` said yes each time."""
    double.world.spoil_capture = spoil
    with pytest.warns(UserWarning, match=f"without a CUDA graph at batch 1: .*{note}"):
        engine = double.load()
    launches = double.world.calls["cudaGraphLaunch"]
    for seed in range(3):
        assert agree(engine.infer({"image": frame(seed)}), frame(seed))
    assert double.world.calls["cudaGraphLaunch"] == launches
    assert note in engine.notes[0]
    engine.close()


@pytest.mark.parametrize(("spoil", "note"), [("nothing", "a graph of nothing"), ("half", "other outputs")])
def test_graphs_for_device_arrays_are_compared_too(double, spoil, note):
    """On the values that are in them, which nobody may change: what the plain run left behind would pass for right."""
    image = Foreign(frame(1))
    engine = double.load()
    double.world.spoil_capture = spoil
    for _ in range(2):
        assert agree(engine.infer({"image": image}), frame(1))
    with pytest.warns(UserWarning, match=note):
        assert agree(engine.infer({"image": image}), frame(1))
    image.put(frame(2))
    assert agree(engine.infer({"image": image}), frame(2))
    engine.close()
    image.free()


def test_a_refused_capture(double):
    double.world.refuse_enqueue = lambda capturing: capturing
    with pytest.warns(UserWarning, match="the double refuses"):
        engine = double.load()
    assert agree(engine.infer({"image": frame(1)}), frame(1))
    engine.close()


@pytest.mark.parametrize(
    ("call", "error"),
    [
        ("cudaStreamEndCapture", "cudaErrorStreamCaptureInvalidated"),
        ("cudaGraphGetNodes", "cudaErrorInvalidValue"),
        ("cudaGraphInstantiate", "cudaErrorMemoryAllocation"),
        ("cudaGraphLaunch", "cudaErrorInvalidValue"),
    ],
)
def test_calls_of_a_capture_that_fail(double, call, error):
    double.world.fail(call, error)
    with pytest.warns(UserWarning, match="without a CUDA graph"):
        engine = double.load()
    assert agree(engine.infer({"image": frame(1)}), frame(1))
    engine.close()


def test_a_gpu_that_is_lost_while_recording_is_not_taken_for_a_bad_graph(double):
    double.world.fail("cudaGraphLaunch", "cudaErrorLaunchFailure")
    with pytest.raises(DeviceLostError):
        double.load()


def test_an_engine_that_cannot_even_run_plainly_does_not_load(double):
    double.world.refuse_enqueue = lambda capturing: True
    with pytest.raises(CudaError, match=r"(?s)could not enqueue the engine.*the double refuses"):
        double.load()
    gc.collect()  # of what the error's traceback held
    assert not double.world.alive()


def test_a_refused_run_is_an_error_and_the_engine_goes_on(double):
    """The bool of `execute_async_v3`, without a graph: no outputs of the run before are given out."""
    double.world.spoil_capture = "nothing"
    with pytest.warns(UserWarning):
        engine = double.load()
    double.world.refuse_enqueue = lambda capturing: True
    with pytest.raises(CudaError, match="the double refuses"):
        engine.infer({"image": frame(2)})
    double.world.refuse_enqueue = lambda capturing: False
    assert agree(engine.infer({"image": frame(3)}), frame(3))
    engine.close()


def test_garbage_is_not_collected_while_recording(double):
    seen = []
    double.world.refuse_enqueue = lambda capturing: seen.append((capturing, gc.isenabled())) or False
    double.load().close()
    assert (True, False) in seen
    assert (True, True) not in seen
    assert gc.isenabled()
