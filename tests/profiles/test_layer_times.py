# SPDX-License-Identifier: Apache-2.0
"""Layers of real engines on the CPU, by their libraries' own profilers, and layers beside predicted kernels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evit_deploy.errors import UnavailableError
from evit_deploy.manifest import read_manifest
from evit_deploy.profiles.layer_times import LayerTime, LayerTimes, measure_layers
from evit_deploy.profiles.layer_times import measure as measure_module
from evit_deploy.profiles.layer_times.measure import MODULES, repeat
from evit_deploy.profiles.layer_times.onnxruntime import parse_events
from evit_deploy.profiles.layer_times.openvino import without_first
from evit_deploy.profiles.layer_times.stages import stage_times
from evit_deploy.profiles.overhead import wrapper_ms
from evit_deploy.profiles.predict.prediction import Conditions, KernelTime, Prediction, Terms
from evit_deploy.profiles.throughput import measure_throughput
from evit_deploy.runtime import Engine, open_engine
from evit_deploy.runtime.backends import BACKENDS


def inputs(engine: Engine) -> dict[str, np.ndarray]:
    return {item.name: np.zeros([max(size, 1) for size in item.shape], item.dtype) for item in engine.inputs}


def opened(folder: Path) -> Engine:
    return open_engine(folder, read_manifest(folder))


def test_every_backend_has_a_profiler() -> None:
    assert set(MODULES) == set(BACKENDS)


def test_layers_of_an_engine_on_the_cpu(engine_folder: Path) -> None:
    with opened(engine_folder) as engine:
        found = measure_layers(engine, inputs(engine))
        assert engine.infer(inputs(engine))  # as before
    assert found.runs >= 3
    assert len(found.layers) > 50
    assert all(layer.ms >= 0 for layer in found.layers)
    assert 0.2 * found.run_ms < found.total_ms < 1.5 * found.run_ms  # the machine is busy between nodes
    named = [layer for layer in found.layers if layer.layers]
    assert len(named) > 0.8 * len(found.layers)
    assert any(name.startswith("backbone.stages.0.") for layer in named for name in layer.layers)
    stages = stage_times(found, "image")
    assert [stage.stage for stage in stages[:3]] == ["input", "stem", "stage 1"]
    assert sum(stage.measured_ms for stage in stages) == pytest.approx(found.total_ms)
    assert all(stage.predicted_ms is None for stage in stages)


def test_an_engine_that_cannot_be_profiled(own_engine: Path) -> None:
    with opened(own_engine) as engine:
        (own_engine / read_manifest(own_engine).engine.entry).write_bytes(b"no graph")
        with pytest.raises(UnavailableError, match="ONNX Runtime cannot profile"):
            measure_layers(engine, inputs(engine))


def test_what_this_package_adds_is_microseconds(engine_folder: Path) -> None:
    with opened(engine_folder) as engine:
        assert 0 < wrapper_ms(engine, inputs(engine)) < 0.5
        assert measure_throughput(engine, inputs(engine), 1, in_flight=2) is None  # nothing overlaps on a CPU


def event(name: str, index: int, microseconds: int, **args: str) -> dict[str, Any]:
    details = {"node_index": str(index), "op_name": "Conv", **args}
    return {"cat": "Node", "name": f"{name}_kernel_time", "dur": microseconds, "args": details}


def test_events_of_onnx_runtime() -> None:
    run = [event("a.Conv_nchwc", 7, 1000), event("Conv", 3, 10), event("Conv", 4, 30), event("", 5, 5)]
    later = [event("a.Conv_nchwc", 7, 200), event("Conv", 3, 20), event("Conv", 4, 50), event("", 5, 5)]
    session = {"cat": "Session", "name": "model_run", "dur": 9999}
    old = {"cat": "Node", "name": "a_fence_before", "dur": 3}
    layers = parse_events([session, old, *run, session, *later, *later])
    assert [layer.ms for layer in layers] == pytest.approx([0.2, 0.02, 0.05, 0.005])
    assert [layer.layers for layer in layers] == [("a.Conv",), (), (), ()]
    assert parse_events([]) == ()


@given(st.floats(0, 1e4), st.lists(st.floats(0, 1e3), min_size=1, max_size=30))
def test_the_first_run_is_taken_out_of_openvinos_means(first: float, later: list[float]) -> None:
    mean = (first + sum(later)) / (1 + len(later))
    found = without_first({"a": mean, "new": 3.0}, {"a": first, "gone": 1.0}, len(later))
    assert found == {"a": pytest.approx(np.mean(later), abs=1e-6), "new": 3.0}


def test_means_of_whole_microseconds_are_never_below_nothing() -> None:
    assert without_first({"a": 0.001}, {"a": 0.1}, 20) == {"a": 0.0}


@pytest.mark.parametrize(("seconds", "expected"), [(1e9, 20), (0.0, 3)])
def test_slow_engines_are_run_less_often(monkeypatch: pytest.MonkeyPatch, seconds: float, expected: int) -> None:
    monkeypatch.setattr(measure_module, "SECONDS", seconds)
    calls: list[int] = []
    assert len(repeat(lambda: calls.append(1))) == expected
    assert len(calls) == expected + 1


# Beside a prediction


def prediction(**stages: float) -> Prediction:
    kernels = tuple(
        KernelTime(number, name, "gemm", name, (), 1, 1, Terms(traffic=ms), "traffic")
        for number, (name, ms) in enumerate(stages.items())
    )
    machine = Conditions("orin", "64 GB", "MAXN", 16, 1301.0, 204.8, 42.6)
    return Prediction(
        "b1-seg", "b1-seg", (512, 1024), 1, "fp16", "image", "classes", "TensorRT-RTX", machine, 1.0, 2.0, 0.8,
        Terms(), {}, kernels,
    )  # fmt: skip


def test_prediction_beside_measurement() -> None:
    layers = LayerTimes(
        "TensorRT",
        20,
        (
            LayerTime("in", "", 0.1),
            LayerTime("a", "gemm", 1.0, ("backbone.input_stem.op_list.0.conv.Conv",)),
            LayerTime("reformat", "Reformat", 0.2),  # belongs where the one before it does
            LayerTime("b", "gemm", 2.0, ("head.outputs.Conv",)),
            LayerTime("c", "gemm", 0.5, ("backbone.input_stem.op_list.1.x",)),
        ),
        4.0,
    )
    rows = stage_times(layers, "image", prediction(stem=1.5, head=1.0, neck=9.0))
    assert [(row.stage, row.predicted_ms) for row in rows] == [("input", None), ("stem", 1.5), ("head", 1.0)]
    assert [row.measured_ms for row in rows] == pytest.approx([0.1, 1.7, 2.0])


def test_layers_that_tell_no_nodes_have_no_stages() -> None:
    assert stage_times(LayerTimes("x", 1, (LayerTime("a", "", 1.0),), 1.0), "image") == ()
