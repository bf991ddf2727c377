# SPDX-License-Identifier: Apache-2.0
"""Measurements on a GPU beside the runtime: trtexec's ways, layers, throughput. On the double, or on a real GPU."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from evit_deploy.engines.inspector import parse_inspector
from evit_deploy.engines.plan import Kernel, Plan, write_plan
from evit_deploy.errors import UsageError
from evit_deploy.profiles.insight import EVERYTHING, Wanted, device_memory, inspect_graph
from evit_deploy.profiles.layer_times import measure_layers
from evit_deploy.profiles.layer_times.tensorrt import layers_of
from evit_deploy.profiles.remarks import Notes
from evit_deploy.profiles.throughput import LEAST_RUNS, measure_throughput
from evit_deploy.profiles.timing import MODES, time_modes
from evit_deploy.runtime.cuda.api import CudaError
from tests.profiles.gpu import make_double, no_warnings, real_machine  # noqa: F401
from tests.runtime.doubles.bench import agree, frame
from tests.runtime.doubles.trt import LAYERS


@pytest.fixture(params=["discrete", "integrated", "10.0.1", "rtx", pytest.param("gpu", marks=pytest.mark.gpu)])
def machine(request: pytest.FixtureRequest, tmp_path: Any) -> Any:
    """A GPU of its own memory, one that shares it, an old TensorRT, TensorRT-RTX, and the GPU of this machine."""
    if request.param == "gpu":
        return real_machine(tmp_path)
    make = request.getfixturevalue("make_double")
    version = request.param if request.param[0].isdigit() else "10.3.0"
    return make(version, rtx=request.param == "rtx", integrated=request.param == "integrated", timed=True)


def inputs(seed: int = 0, batch: int = 1) -> dict[str, np.ndarray]:
    return {"image": frame(seed, batch)}


def test_both_ways_of_trtexec(machine: Any) -> None:
    with machine.load() as engine:
        old, new = time_modes(engine, inputs(), 5)
        assert (old.name, new.name) == tuple(mode.name for mode in MODES)
        assert old.runs == new.runs == 5
        assert all(sample > 0 for latency in (old, new) for sample in latency.samples_ms)
        assert agree(engine.infer(inputs(3)), frame(3))  # it works as before


def test_what_each_way_does(make_double: Any) -> None:  # noqa: F811
    double = make_double(timed=True, integrated=True)
    with double.load() as engine:
        before = dict(double.world.calls)
        time_modes(engine, inputs(), 5)
        calls = {name: count - before.get(name, 0) for name, count in double.world.calls.items()}
    # One image in, two outputs back, in every run of the old way, on a GPU that shares the CPU's memory too.
    old_runs = (calls["cudaMemcpyAsync"] - 2) / 3
    assert old_runs >= 6
    assert old_runs == int(old_runs)
    assert calls["cudaGraphLaunch"] >= 6
    assert calls["cudaEventSynchronize"] == old_runs + calls["cudaGraphLaunch"] - 1  # one launch checks the graph


def test_a_batch_counts_as_so_many_frames(machine: Any) -> None:
    with machine.load((2, 2)) as engine:
        assert [latency.frames for latency in time_modes(engine, inputs(batch=2), 3)] == [2, 2]


def test_an_engine_that_cannot_be_recorded_is_timed_the_old_way(make_double: Any) -> None:  # noqa: F811
    double = make_double(timed=True)
    double.world.spoil_capture = "nothing"
    with pytest.warns(UserWarning, match="without a CUDA graph"), double.load() as engine:
        assert [latency.name for latency in time_modes(engine, inputs(), 3)] == [MODES[0].name]


def test_runs_in_flight_are_not_disturbed(machine: Any) -> None:
    with machine.load() as engine:
        pending = engine.submit(inputs(1))
        with pytest.raises(UsageError, match="in flight"):
            time_modes(engine, inputs(), 3)
        with pytest.raises(UsageError, match="in flight"):
            measure_layers(engine, inputs())
        assert agree(pending.result(), frame(1))


def test_layers_of_an_engine_and_the_nodes_they_compute(machine: Any) -> None:
    folder = machine.folder()
    with machine.load() as engine:
        bare = measure_layers(engine, inputs())
        names = [layer.name for layer in bare.layers]
        assert bare.runs >= 3
        assert bare.total_ms > 0
        kernel = Kernel(names[0], "convolution", (), (), 0, ("backbone.input_stem.conv",))
        write_plan(folder, Plan("tensorrt", "10.3.0", "sm87", (kernel,)))
        known = measure_layers(engine, inputs())
        (folder / "plan.json").write_text("{}")
        damaged = measure_layers(engine, inputs())
    assert bare.layers[0].layers == damaged.layers[0].layers == ()
    assert (known.layers[0].type, known.layers[0].layers) == ("convolution", ("backbone.input_stem.conv",))
    assert "gaps between layers" in bare.note
    if machine.world is not None:
        assert names == list(LAYERS)
        assert [layer.ms for layer in bare.layers] == [0.5, 1.0]


OLD_FORM = """{"Layers": [{"Name": "a", "LayerType": "gemm", "Metadata": "[ONNX Layer: head.x]",
  "Inputs": [{"Name": "i", "Dimensions": [1, 2], "Format/Datatype": "Half"}], "Outputs": []}], "Bindings": ["i"]}"""
NEW_FORM = """{"Layers": [{"Name": "a", "LayerType": "gemm", "Metadata": "[ONNX Layer: head.x]",
  "Inputs": [{"Name": "i", "Dimensions": [1, 2], "Format": "Row major linear", "Datatype": "Half"}],
  "Outputs": []}], "I/O Tensors": [{"Name": "i"}]}"""


@pytest.mark.parametrize("text", [OLD_FORM, NEW_FORM])
def test_either_form_of_the_inspector_names_the_nodes(text: str) -> None:
    kernels = {kernel.name: kernel for kernel in parse_inspector(text)}
    (known, other) = layers_of({"a": [9.0, 1.0, 3.0], "b": [4.0]}, kernels)
    assert (known.ms, known.type, known.layers) == (2.0, "gemm", ("head.x",))  # the first run is left out
    assert (other.ms, other.type, other.layers) == (4.0, "", ())


def test_throughput(machine: Any) -> None:
    with machine.load() as engine:
        assert measure_throughput(engine, inputs(), 1, in_flight=2, seconds=0.0) > 0
        assert agree(engine.infer(inputs(2)), frame(2))
        if machine.world is not None:
            assert machine.world.calls["cudaEventRecord"] >= LEAST_RUNS


def test_a_whole_look(machine: Any) -> None:
    notes = Notes()
    with machine.load() as engine:
        found = inspect_graph(engine, inputs(), frames=1, runs=3, wanted=EVERYTHING, notes=notes)
        assert found.device_memory == device_memory(engine)
    assert notes.texts == []
    assert found.frames_per_second > 0
    assert len(found.modes) == 2
    assert 0 < found.wrapper_ms < 1
    assert found.layer_times is not None
    assert found.device_memory["values between layers"] > 0
    assert len(found.device_memory) == 4
    record = found.to_json()
    assert record["layer_times"]["total_ms"] == found.layer_times.total_ms


def test_what_fails_is_a_note(make_double: Any, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    double = make_double(timed=True)
    with double.load() as engine:
        double.world.fail("cudaEventElapsedTime", "cudaErrorInvalidValue")
        notes = Notes()
        found = inspect_graph(engine, inputs(), frames=1, runs=3, wanted=Wanted(layers=False), notes=notes)
        assert agree(engine.infer(inputs(2)), frame(2))
    assert found.modes == ()
    assert found.layer_times is None
    assert [text.partition(":")[0] for text in notes.texts] == ["Latency was not timed as trtexec does"]


def test_memory_that_does_not_suffice(make_double: Any) -> None:  # noqa: F811
    double = make_double(timed=True)
    with double.load() as engine:
        double.world.fail("cudaMalloc", "cudaErrorMemoryAllocation")
        with pytest.raises(CudaError, match="does not suffice"):
            time_modes(engine, inputs(), 3)
        assert agree(engine.infer(inputs(2)), frame(2))
