# SPDX-License-Identifier: Apache-2.0
"""Engines on a GPU: numbers, buffers, batches, CUDA graphs. On the double, and unchanged on a real GPU."""

from __future__ import annotations

import gc
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from evit_deploy.data.scenes import render_scene
from evit_deploy.errors import UsageError
from evit_deploy.runtime.cuda import sides
from evit_deploy.runtime.engine import EngineBusyError
from evit_deploy.runtime.preprocess import fit_frame
from evit_deploy.runtime.segment import Segmenter
from tests.runtime.doubles.bench import HEIGHT, WIDTH, agree, expected, frame

COPIES = ("cudaMemcpyAsync", "cudaMemcpy")


def test_numbers(machine):
    with machine.load() as engine:
        for seed in range(4):
            assert agree(engine.infer({"image": frame(seed)}), frame(seed))
        assert engine.notes == ()


def test_outputs_are_the_engine_s_own_buffers(machine):
    with machine.load() as engine:
        first = engine.infer({"image": frame(0)})["confidence"]
        kept = first.copy()
        assert engine.infer({"image": frame(1)})["confidence"] is first
        assert not np.array_equal(kept, first)


def test_batches_come_and_go(machine):
    """Each batch size has buffers and a graph of its own, and changing between them changes nothing."""
    with machine.load((1, 4)) as engine:
        for batch in (1, 4, 2, 1, 4, 3, 2):
            image = frame(batch, batch)
            assert agree(engine.infer({"image": image}), image)
        assert engine.notes == ()


def test_a_graph_is_captured_anew_for_another_batch(double):
    calls = double.world.calls
    with double.load((1, 4)) as engine:
        assert calls["cudaStreamBeginCapture"] == 1  # at load, for the smallest batch
        for batch, captures in ((1, 1), (3, 2), (1, 2), (4, 3), (3, 3)):
            plain = calls["cudaGraphLaunch"]
            assert agree(engine.infer({"image": frame(0, batch)}), frame(0, batch))
            assert calls["cudaStreamBeginCapture"] == captures
            assert calls["cudaGraphLaunch"] > plain


@pytest.mark.parametrize("size", [(0, 1), (5, 6)])
def test_batches_out_of_range(machine, size):
    with machine.load((1, 4)) as engine, pytest.raises(UsageError, match=r"1\.\.4"):
        engine.infer({"image": frame(0, size[0])})


def test_values_are_taken_before_the_call_returns(machine):
    image = frame(5)
    with machine.load() as engine:
        found = engine.infer({"image": image})
        image[...] = 0
        assert agree(found, frame(5))


def test_what_is_written_into_the_input_buffer_is_not_copied(machine, monkeypatch):
    with machine.load() as engine:
        buffer = engine.input_buffer("image")
        buffer[...] = frame(3)
        monkeypatch.setattr(sides, "np", None)  # which copies what is not in the buffer yet
        assert agree(engine.infer({"image": buffer}), frame(3))
        view = buffer[0]
        view[...] = frame(4)[0]
        assert agree(engine.infer({"image": view[None]}), frame(4))


@pytest.mark.parametrize(("name", "batch"), [("picture", 1), ("image", 2)])
def test_there_is_no_such_input_buffer(machine, name, batch):
    with machine.load() as engine, pytest.raises(UsageError, match="has no input"):
        engine.input_buffer(name, batch)


def test_frames_are_fitted_into_what_the_gpu_reads(machine, monkeypatch):
    """A frame is written once on the host, where OpenCV does it."""
    pytest.importorskip("cv2")
    image = render_scene(3, 2 * HEIGHT, 2 * WIDTH).image
    with Segmenter(machine.load()) as task:
        wanted = expected(fit_frame(image, task.manifest.preprocess, HEIGHT, WIDTH)[None])["classes"][0]
        monkeypatch.setattr(sides, "np", None)  # which copies what is not in the buffer yet
        found = task(image).class_map
        assert np.mean(found[::2, ::2] == wanted) > 0.99


def test_a_frame_does_not_disturb_what_is_in_flight(machine):
    with Segmenter(machine.load()) as task:
        pending = task.engine.submit({"image": frame(1)})
        with pytest.raises(UsageError, match="still in flight"):
            task(render_scene(3, 90, 140).image)
        assert agree(pending.result(), frame(1))


def test_nothing_is_copied_where_memory_is_shared(make_double):
    machine = make_double(integrated=True)
    calls = machine.world.calls
    with machine.load() as engine:
        before = [calls[name] for name in COPIES]
        for seed in range(3):
            assert agree(engine.infer({"image": frame(seed)}), frame(seed))
        assert [calls[name] for name in COPIES] == before
        assert engine.memory.device == 0
        assert engine.memory.host == HEIGHT * WIDTH * (3 + 1 + 4)


def test_one_launch_and_one_wait_per_call(double):
    """A call of the steady state: an upload, the graph, a download per output, one wait, and no more."""
    world = double.world
    with double.load() as engine:
        before = world.calls.copy()
        engine.infer({"image": frame(0)})
        made = world.calls - before
    assert made == {"cudaMemcpyAsync": 3, "cudaGraphLaunch": 1, "cudaStreamSynchronize": 1}


def test_memory_report(double):
    with double.load() as engine:
        report = engine.memory
    size = HEIGHT * WIDTH * (3 + 1 + 4)
    assert (report.device, report.host, report.scratch, report.plan) == (size, size, 4096, 1 << 16)


def test_a_call_allocates_no_large_array(machine):
    image = frame(0)
    with machine.load() as engine:
        engine.infer({"image": image})
        tracemalloc.start()
        for _ in range(3):
            engine.infer({"image": image})
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    limit = 8 << 10 if machine.world is None else 64 << 10  # the double's kernels allocate
    assert peak < limit


@pytest.mark.parametrize("machine", ["lazy", pytest.param("gpu", marks=pytest.mark.gpu)], indirect=True)
def test_soak(machine):
    """Ten thousand calls, on a GPU a hundred thousand: the numbers stay, no memory grows, and no handle remains."""
    images = [frame(seed) for seed in range(7)]
    with machine.load() as engine:
        for image in images:
            engine.infer({"image": image})
        alive = machine.world.alive() if machine.world else {}
        gc.collect()
        tracemalloc.start()
        for index in range(10_000 if machine.world else 100_000):
            found = engine.infer({"image": images[index % 7]})
            if index % 500 == 0:
                assert agree(found, images[index % 7])
            if index == 1000:
                gc.collect()
                start, _ = tracemalloc.get_traced_memory()
        gc.collect()
        end, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert end - start < 32 << 10
        assert (machine.world.alive() if machine.world else {}) == alive


def test_a_second_thread_is_refused(machine):
    with machine.load() as engine, engine.exclusive(), ThreadPoolExecutor() as pool:
        for call in (engine.infer, engine.submit):
            error = pool.submit(call, {"image": frame(0)}).exception(timeout=20)
            assert isinstance(error, EngineBusyError)


def test_an_engine_per_thread(machine):
    """Each thread with its own engine gets its own answers."""
    machine.folder()

    def work(seed):
        with machine.load() as engine:
            return all(agree(engine.infer({"image": frame(seed + i)}), frame(seed + i)) for i in range(10))

    with ThreadPoolExecutor(3) as pool:
        assert all(pool.map(work, (0, 100, 200)))


def test_another_thread_than_the_one_that_loaded(machine):
    with machine.load() as engine, ThreadPoolExecutor(1) as pool:
        found = pool.submit(lambda: {k: v.copy() for k, v in engine.infer({"image": frame(1)}).items()}).result()
        assert agree(found, frame(1))


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({}, "found: +none"),
        ({"picture": frame(0)}, "expected: +image"),
        ({"image": frame(0).astype(np.float32)}, "found: +float32"),
        ({"image": frame(0)[:, ::2]}, "does not fit"),
        ({"image": np.asfortranarray(frame(0))}, "not contiguous"),
        ({"image": frame(0).tolist()}, "found: +list"),
        ({"image": None}, "found: +NoneType"),
    ],
)
def test_inputs_that_do_not_fit(machine, inputs, message):
    with machine.load() as engine:
        for call in (engine.infer, engine.submit):
            with pytest.raises(UsageError, match=message):
                call(inputs)
        assert agree(engine.infer({"image": frame(0)}), frame(0))
