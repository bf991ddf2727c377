# SPDX-License-Identifier: Apache-2.0
"""Runs in flight: order, limits, errors, and ends of all kinds."""

from __future__ import annotations

import gc

import numpy as np
import pytest

from evit_deploy.errors import UsageError
from evit_deploy.runtime.cuda.api import CudaError, DeviceLostError
from tests.runtime.doubles.bench import Foreign, agree, frame


def test_a_stream_of_frames(machine):
    """Two in flight, as a camera loop does it."""
    with machine.load() as engine:
        pending = engine.submit({"image": frame(0)})
        for seed in range(1, 20):
            following = engine.submit({"image": frame(seed)})
            assert agree(pending.result(), frame(seed - 1))
            pending = following
        assert agree(pending.result(), frame(19))


@pytest.mark.parametrize("in_flight", [1, 2, 3, 5])
def test_as_many_as_asked_for(machine, in_flight):
    with machine.load(in_flight=in_flight) as engine:
        for round_ in range(3):
            seeds = [round_ * 10 + i for i in range(in_flight)]
            pending = [engine.submit({"image": frame(seed)}) for seed in seeds]
            with pytest.raises(UsageError, match=f"{in_flight} runs are in flight"):
                engine.submit({"image": frame(0)})
            assert all(agree(one.result(), frame(seed)) for one, seed in zip(pending, seeds, strict=True))


def test_results_in_any_order(machine):
    with machine.load(in_flight=3) as engine:
        pending = [engine.submit({"image": frame(seed)}) for seed in range(3)]
        for index in (2, 0, 1):
            assert agree(pending[index].result(), frame(index))


def test_input_may_change_once_it_was_submitted(machine):
    with machine.load() as engine:
        image = frame(1)
        first = engine.submit({"image": image})
        image[...] = frame(2)
        second = engine.submit({"image": image})
        image[...] = 0
        assert agree(first.result(), frame(1))
        assert agree(second.result(), frame(2))


def test_asking_again_gives_the_same(machine):
    with machine.load() as engine:
        pending = engine.submit({"image": frame(1)})
        assert pending.result() is pending.result()


def test_done(machine):
    with machine.load() as engine:
        pending = engine.submit({"image": frame(1)})
        for _ in range(100_000):
            if pending.done():
                break
        assert pending.done()
        assert agree(pending.result(), frame(1))
        assert pending.done()


def test_infer_waits_for_nobody(machine):
    with machine.load() as engine:
        pending = engine.submit({"image": frame(1)})
        with pytest.raises(UsageError, match="1 submitted run is still in flight"):
            engine.infer({"image": frame(2)})
        with pytest.raises(UsageError, match="still in flight"):
            engine.input_buffer("image")
        assert agree(pending.result(), frame(1))
        assert agree(engine.infer({"image": frame(2)}), frame(2))


def test_forgotten_runs_make_room(machine):
    with machine.load() as engine:
        for seed in range(7):
            engine.submit({"image": frame(seed)})
        assert agree(engine.infer({"image": frame(9)}), frame(9))
        pending = [engine.submit({"image": frame(seed)}) for seed in (1, 2)]
        assert agree(pending[0].result(), frame(1))


def test_other_batches_in_flight(machine):
    """A batch that is new captures a graph, and must not run into what is in flight."""
    with machine.load((1, 4), in_flight=4) as engine:
        sizes = (1, 3, 2, 4)
        pending = [engine.submit({"image": frame(size, size)}) for size in sizes]
        for one, size in zip(pending, sizes, strict=True):
            assert agree(one.result(), frame(size, size))


def test_device_arrays_in_flight(machine):
    with machine.load() as engine:
        images = [Foreign(frame(seed)) for seed in range(2)]
        for _ in range(5):  # plain at first, then with graphs of their own
            pending = [engine.submit({"image": image}) for image in images]
            assert all(agree(one.result(), frame(seed)) for seed, one in enumerate(pending))
        for image in images:
            image.free()


class Freed(Foreign):
    """Gives its memory back when nobody holds it any more."""

    def __del__(self):
        self.free()


def test_arrays_are_held_while_they_are_read(double):
    with double.load() as engine:
        pending = engine.submit({"image": Freed(frame(1))})
        gc.collect()
        assert agree(pending.result(), frame(1))


@pytest.mark.parametrize("next_one", ["infer", "submit"])
def test_arrays_of_a_forgotten_run_are_held_too(double, next_one):
    with double.load(in_flight=1) as engine:
        engine.submit({"image": Freed(frame(1))})
        image = Foreign(frame(2))
        inputs = {"image": image}
        assert agree(engine.infer(inputs) if next_one == "infer" else engine.submit(inputs).result(), frame(2))
        image.free()


def test_a_stream_waits_in_the_caller_s_place(machine):
    """The consumer's work comes behind the engine's, and the host waits for neither until the end."""
    cudart, stream = machine.cudart, machine.stream()
    image, sink = Foreign(frame(4)), np.zeros((1, 32, 64), np.uint8)
    with machine.load() as engine:
        pending = engine.submit({"image": image})
        classes = pending.result(stream=int(stream))["classes"]
        copy = Foreign(np.zeros_like(sink))
        kind = cudart.cudaMemcpyKind.cudaMemcpyDeviceToDevice
        assert not cudart.cudaMemcpyAsync(copy.pointer, classes.pointer, classes.nbytes, kind, stream)[0]
        assert not cudart.cudaStreamSynchronize(stream)[0]
        kind = cudart.cudaMemcpyKind.cudaMemcpyDeviceToHost
        assert not cudart.cudaMemcpy(sink.ctypes.data, copy.pointer, sink.nbytes, kind)[0]
        from tests.runtime.doubles.bench import expected

        assert np.mean(sink == expected(frame(4))["classes"]) > 0.99
        assert agree(engine.infer({"image": frame(5)}), frame(5))
    image.free()
    copy.free()
    cudart.cudaStreamDestroy(stream)


def test_host_arrays_are_not_handed_to_a_stream(machine):
    with machine.load() as engine:
        pending = engine.submit({"image": frame(1)})
        with pytest.raises(UsageError, match="only outputs on the GPU"):
            pending.result(stream=1)
        assert agree(pending.result(), frame(1))


def test_a_failure_shows_in_the_result(double):
    double.world.spoil_capture = "nothing"
    with pytest.warns(UserWarning):
        engine = double.load()
    double.world.refuse_enqueue = lambda capturing: True
    pending = engine.submit({"image": frame(1)})
    with pytest.raises(CudaError, match="the double refuses"):
        pending.result()
    double.world.refuse_enqueue = lambda capturing: False
    assert agree(engine.submit({"image": frame(2)}).result(), frame(2))
    engine.close()


def test_a_failure_shows_each_time(double):
    """And never as the outputs that a later run leaves in the buffers."""
    with double.load(in_flight=1) as engine:
        pending = engine.submit({"image": frame(1)})
        double.world.fail("cudaStreamSynchronize", "cudaErrorInvalidValue")
        with pytest.raises(CudaError, match="waiting for the engine"):
            pending.result()
        assert agree(engine.submit({"image": frame(2)}).result(), frame(2))
        with pytest.raises(CudaError, match="waiting for the engine"):
            pending.result()


def test_a_lost_gpu_shows_in_every_result(double):
    engine = double.load()
    pending = [engine.submit({"image": frame(seed)}) for seed in (1, 2)]
    del pending  # the second run's buffers were made, which waited for the first run
    pending = [engine.submit({"image": frame(seed)}) for seed in (1, 2)]
    double.world.kernel_fault = "cudaErrorIllegalAddress"
    for one in pending:
        with pytest.raises(DeviceLostError, match="cudaErrorIllegalAddress"):
            one.result()
    with pytest.raises(DeviceLostError):
        engine.submit({"image": frame(1)})
    engine.close()


def test_closed_with_work_in_flight(machine):
    engine = machine.load()
    pending = [engine.submit({"image": frame(seed)}) for seed in (1, 2)]
    engine.close()
    for one in pending:
        with pytest.raises(UsageError, match="closed"):
            one.result()
        with pytest.raises(UsageError, match="closed"):
            one.done()


@pytest.mark.parametrize("in_flight", [0, -1])
def test_nothing_in_flight(machine, in_flight):
    with pytest.raises(UsageError, match="at least one"):
        machine.load(in_flight=in_flight)


def test_a_cpu_s_engine_is_done_at_once(engine_folder):
    """And its results are not overwritten by the next run."""
    import evit_deploy
    from evit_deploy.data.scenes import render_scene

    images = [np.ascontiguousarray(render_scene(seed, 64, 128).image[None]) for seed in (1, 2)]
    with evit_deploy.load(engine_folder) as task:
        wanted = [task.infer({"image": image})["classes"].copy() for image in images]
        pending = [task.engine.submit({"image": image}) for image in images]
        assert all(one.done() for one in pending)
        assert all(np.array_equal(p.result()["classes"], w) for p, w in zip(pending, wanted, strict=True))
        assert task.engine.memory is None
        assert task.engine.notes == ()
