# SPDX-License-Identifier: Apache-2.0
"""Arrays of other libraries in and out: no copies, the right order, and clear words for what does not fit."""

from __future__ import annotations

import gc

import numpy as np
import pytest

from evit_deploy.errors import UsageError
from evit_deploy.runtime.cuda import dlpack
from evit_deploy.runtime.cuda.api import CudaError, DeviceLostError
from evit_deploy.runtime.cuda.interop import DeviceArray
from evit_deploy.runtime.cuda.sides import GRAPHS
from tests.runtime.doubles.bench import Foreign, agree, frame, modules
from tests.runtime.doubles.world import FOREIGN


class Tensor:
    """Another library's array with DLPack: orders the taker's stream behind its own, as PyTorch does."""

    def __init__(self, array, stream=None, **changes):
        self.memory = Foreign(array, stream, lazy=stream is not None)
        self.array, self.stream, self.changes, self.asked = array, stream, changes, []

    def __dlpack_device__(self):
        return self.changes.get("device", (dlpack.CUDA, 0))

    def __dlpack__(self, *, stream=None):
        self.asked.append(stream)
        cudart, _ = modules()
        if self.stream is not None:
            event = cudart.cudaEventCreateWithFlags(cudart.cudaEventDisableTiming)[1]
            cudart.cudaEventRecord(event, self.stream)
            cudart.cudaStreamWaitEvent(stream, event, 0)
            cudart.cudaEventDestroy(event)
        shape = self.changes.get("shape", self.array.shape)
        return dlpack.new_capsule(self, self.memory.pointer, shape, self.changes.get("dtype", self.array.dtype), 0)


def test_device_arrays_in_and_out(machine, foreign):
    images = [foreign(frame(seed)) for seed in range(3)]
    with machine.load() as engine:
        for _ in range(6):
            for seed, image in enumerate(images):
                found = engine.infer({"image": image})
                assert all(isinstance(array, DeviceArray) for array in found.values())
                assert agree(found, frame(seed))
        assert agree(engine.infer({"image": frame(9)}), frame(9))
        assert engine.notes == ()


def test_batches_of_device_arrays(machine, foreign):
    with machine.load((1, 4)) as engine:
        for batch in (2, 1, 4, 2, 2, 2, 1):
            assert agree(engine.infer({"image": foreign(frame(batch, batch))}), frame(batch, batch))


def test_nothing_is_copied(double):
    image = Foreign(frame(1))
    calls = double.world.calls
    with double.load() as engine:
        before = calls["cudaMemcpyAsync"], calls["cudaMemcpy"]
        for _ in range(2):
            engine.infer({"image": image})
        assert (calls["cudaMemcpyAsync"], calls["cudaMemcpy"]) == before
    image.free()


def test_an_array_that_comes_again_gets_a_graph(double):
    """From the third time on; the oldest graph makes room, and no memory grows."""
    calls, images = double.world.calls, [Foreign(frame(seed)) for seed in range(GRAPHS + 2)]
    with double.load() as engine:
        captures = calls["cudaStreamBeginCapture"]
        for _ in range(2):
            engine.infer({"image": images[0]})
        assert calls["cudaStreamBeginCapture"] == captures
        for seed, image in enumerate(images):
            for _ in range(4):
                assert agree(engine.infer({"image": image}), frame(seed))
        assert calls["cudaStreamBeginCapture"] == captures + len(images)
        assert double.world.alive()["executable graphs"] == GRAPHS + 1
        images[-1].put(frame(77))  # a graph reads what is there now
        assert agree(engine.infer({"image": images[-1]}), frame(77))
    for image in images:
        image.free()


def test_arrays_that_are_new_every_time(double):
    with double.load() as engine:
        for seed in range(60):
            image = Foreign(frame(seed))
            assert agree(engine.infer({"image": image}), frame(seed))
            image.free()
        assert double.world.calls["cudaStreamBeginCapture"] == 1


@pytest.mark.parametrize("version", [2, 3])
def test_a_producer_that_is_not_done_yet(machine, foreign, version):
    """Work on a foreign stream that nobody has waited for: the engine's comes behind it."""
    stream = machine.stream()
    image = foreign(frame(0))
    with machine.load() as engine:
        for seed in range(5):
            if version == 3:
                image.put_later(frame(seed), stream)
                image.interface["stream"] = int(stream)
            else:  # names no stream: whatever is on the default one comes first
                image.interface.pop("stream", None)
                image.interface["version"] = 2
                image.put_later(frame(seed), 1)
            assert agree(engine.infer({"image": image}), frame(seed))
    machine.cudart.cudaStreamSynchronize(stream)
    machine.cudart.cudaStreamDestroy(stream)


def test_pycuda_names_no_stream(machine, foreign):
    image = foreign(frame(1))
    with machine.load() as engine:
        image.put_later(frame(2), 1)
        image.interface["stream"] = None
        assert agree(engine.infer({"image": image}), frame(2))


def test_a_producer_with_dlpack(machine):
    stream = machine.stream()
    with machine.load() as engine:
        tensor = Tensor(frame(6), stream)
        assert agree(engine.infer({"image": tensor}), frame(6))
        assert tensor.asked[0] > 2  # a stream of the engine's own
    machine.cudart.cudaStreamSynchronize(stream)
    machine.cudart.cudaStreamDestroy(stream)
    tensor.memory.free()
    del tensor
    gc.collect()
    assert not dlpack._lent


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"typestr": "<f4"}, r"found: +float32 \[1, 32, 64, 3\]"),
        ({"shape": (1, 3, 32, 64)}, r"found: +uint8 \[1, 3, 32, 64\]"),
        ({"shape": (32, 64, 3)}, r"found: +uint8 \[32, 64, 3\]"),
        ({"shape": (2, 32, 64, 3)}, r"expected: +uint8 \[1, 32, 64, 3\]"),
        ({"strides": (6144, 1, 32, 2048)}, r"(?s)not contiguous.*strides of \[6144, 1, 32, 2048\].*ascontiguousarray"),
        ({"data": (0, False)}, "no memory of the GPU"),
        ({"data": (4096, False)}, "0x1000"),
        ({"mask": object()}, "masked"),
        ({"stream": 0}, "names the stream 0"),
    ],
)
def test_arrays_that_do_not_fit(machine, foreign, changes, message):
    image = foreign(frame(1))
    image.interface.update(changes)
    with machine.load() as engine:
        for call in (engine.infer, engine.submit):
            with pytest.raises(UsageError, match=message):
                call({"image": image})
        assert agree(engine.infer({"image": frame(1)}), frame(1))


def test_the_stride_of_a_single_element_says_nothing(machine, foreign):
    image = foreign(frame(1))
    image.interface["strides"] = (12345, 192, 3, 1)
    with machine.load() as engine:
        assert agree(engine.infer({"image": image}), frame(1))


def test_memory_of_the_host_is_no_device_memory(machine, foreign):
    image, array = foreign(frame(1)), frame(1)
    image.interface["data"] = (array.ctypes.data, False)
    with machine.load() as engine, pytest.raises(UsageError, match="no memory of the GPU"):
        engine.infer({"image": image})


@pytest.mark.parametrize("error", ["cudaErrorInvalidValue", "cudaErrorNotPermitted", "cudaErrorIllegalAddress"])
def test_an_address_that_cuda_cannot_look_at(double, error):
    image = Foreign(frame(1))
    with double.load() as engine:
        double.world.fail("cudaPointerGetAttributes", error)
        kind = {"cudaErrorInvalidValue": UsageError, "cudaErrorNotPermitted": CudaError}.get(error, DeviceLostError)
        with pytest.raises(kind):
            engine.infer({"image": image})
        if kind is not DeviceLostError:
            assert agree(engine.infer({"image": image}), frame(1))
            image.free()


def test_a_stream_that_is_gone(double):
    stream = double.stream()
    image = Foreign(frame(1), stream)
    double.cudart.cudaStreamDestroy(stream)
    with double.load() as engine, pytest.raises(CudaError, match=f"asking the stream 0x{int(stream):x} for its end"):
        engine.infer({"image": image})
    image.free()


def test_memory_that_was_freed(double):
    """On a real GPU an allocator may keep it mapped, so that nobody can know."""
    image = Foreign(frame(1))
    image.free()
    with double.load() as engine, pytest.raises(UsageError, match="still allocated"):
        engine.infer({"image": image})


def test_pytorch_on_the_cpu_is_refused(machine):
    torch = pytest.importorskip("torch")
    with machine.load() as engine, pytest.raises(UsageError, match=r"(?s)Tensor in the CPU's memory.*\.numpy\(\)"):
        engine.infer({"image": torch.from_numpy(frame(1))})


@pytest.mark.parametrize(
    ("device", "message"),
    [
        ((dlpack.CUDA_HOST, 0), "page-locked"),
        ((10, 0), "DLPack type 10"),
        ((dlpack.CUDA, 1), r"(?s)another GPU.*device=1"),
    ],
)
def test_another_device(machine, device, message):
    tensor = Tensor(frame(1), device=device)
    with machine.load() as engine, pytest.raises(UsageError, match=message):
        engine.infer({"image": tensor})
    tensor.memory.free()


@pytest.mark.parametrize("error", [BufferError("requires grad"), RuntimeError("no"), TypeError("stream")])
def test_a_library_that_refuses(machine, error):
    tensor = Tensor(frame(1))

    class Refusing(Tensor):
        def __dlpack__(self, *, stream=None):
            raise error

    tensor.__class__ = Refusing
    with machine.load() as engine, pytest.raises(UsageError, match="does not give its memory"):
        engine.infer({"image": tensor})
    tensor.memory.free()


def test_memory_of_another_context_is_refused(double):
    """PyCUDA's `autoinit` makes a context of its own, whose memory no kernel of the primary one can read."""
    world = double.world
    world.context = FOREIGN
    image = Foreign(frame(1))
    with double.load() as engine:
        with pytest.raises(UsageError, match=r"pycuda\.autoprimaryctx"):
            engine.infer({"image": image})
        assert world.context == FOREIGN
    image.free()
    world.context = 0


def test_a_mixture_is_refused(machine, foreign):
    from dataclasses import replace

    with machine.load() as engine:
        graph = engine.manifest.graph
        two = replace(graph, inputs=(*graph.inputs, replace(graph.inputs[0], name="more")))
        engine.manifest, engine._names = replace(engine.manifest, graph=two), {"image", "more"}
        with pytest.raises(UsageError, match="some on the GPU"):
            engine.infer({"image": foreign(frame(1)), "more": frame(1)})


def test_an_engine_on_the_cpu_takes_no_device_arrays(engine_folder):
    torch = pytest.importorskip("torch")
    import evit_deploy

    image = torch.zeros((1, 64, 128, 3), dtype=torch.uint8)
    with evit_deploy.load(engine_folder) as task, pytest.raises(UsageError, match=r"(?s)found: +Tensor.*numpy\(\)"):
        task.infer({"image": image})


def read_array(interface):
    """Copy an array to the host as another library does: on the stream that it names."""
    cudart, _ = modules()
    result = np.empty(interface["shape"], interface["typestr"])
    kind = cudart.cudaMemcpyKind.cudaMemcpyDeviceToHost
    stream = interface["stream"]
    assert not cudart.cudaMemcpyAsync(result.ctypes.data, interface["data"][0], result.nbytes, kind, stream)[0]
    assert not cudart.cudaStreamSynchronize(stream)[0]
    return result


def test_outputs_have_the_cuda_array_interface(machine, foreign):
    """Also before the run is over: whoever works on the stream that it names comes behind it."""
    with machine.load() as engine:
        pending = engine.submit({"image": foreign(frame(2))})
        stream = machine.stream()
        found = pending.result(stream=int(stream))
        arrays = {name: read_array(array.__cuda_array_interface__) for name, array in found.items()}
        assert agree(arrays, frame(2))
        machine.cudart.cudaStreamSynchronize(stream)
        machine.cudart.cudaStreamDestroy(stream)
    assert found["confidence"].__cuda_array_interface__["version"] == 3
    assert repr(found["classes"]) == "DeviceArray(uint8 [1, 32, 64] on GPU 0)"
