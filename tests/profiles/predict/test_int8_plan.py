# SPDX-License-Identifier: Apache-2.0
"""Plans of INT8 graphs and engines: predicted like the assignments that they are."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import onnx
import pytest

from evit_deploy.manifest import write_artifact
from evit_deploy.precision.int8.layers import find_layers
from evit_deploy.precision.int8.place import place
from evit_deploy.profiles.predict import FALLBACK, int8_plan, predict_plan
from evit_deploy.profiles.predict.artifacts import artifact_subjects
from evit_deploy.profiles.predict.fusion import plan_from_graph
from tests.manifest.sample import sample_manifest
from tests.profiles.predict.made_int8 import ALL, DEPTH, EXPAND, ORIN, PROJECT, block, filled, made, oracle, planned


def test_an_int8_graph_is_predicted_like_its_assignment(monkeypatch: pytest.MonkeyPatch) -> None:
    model = filled(block())
    made_of, scales = oracle(model), {layer.source: 0.05 for layer in find_layers(model)}
    monkeypatch.setattr(int8_plan, "plan_of", lambda graph, progress: (plan_from_graph(graph), FALLBACK))
    for layers in (ALL, (EXPAND, PROJECT), (DEPTH,)):
        plan, origin = int8_plan.int8_plan_of(place(model, layers, scales))
        found = predict_plan(replace(made(model), plan=plan, precision="int8", origin=origin), ORIN)
        assert found.ms == pytest.approx(made_of.cost(layers).ms, rel=0.01)
        assert any("INT8 gains is fitted" in note for note in found.notes)
        assert found.low_ms < found.ms < found.high_ms
        assert found.coverage is None
    added = [kernel.name for kernel in plan.kernels if kernel.type == int8_plan.QUANTISE]
    assert added == ["quantise Relu_4"]
    assert [kernel.name for kernel in plan.kernels].index(added[0]) == 2  # behind what made it


def test_an_int8_engine_that_was_not_compiled_is_predicted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(int8_plan, "plan_of", lambda graph, progress: (plan_from_graph(graph), FALLBACK))
    model, manifest = filled(block()), sample_manifest("engine")
    assert manifest.engine is not None
    engine = replace(manifest.engine, target="orin", precision="int8", state="lowered")
    manifest = replace(manifest, engine=engine, graph=replace(manifest.graph, precision="int8", batch=(1, 1)))
    with write_artifact(tmp_path / "b0.orin.int8") as writer:
        scales = {layer.source: 0.05 for layer in find_layers(model)}
        onnx.save(place(model, ALL, scales), writer.folder / "model.onnx")
        writer.commit(manifest)
    (found,) = artifact_subjects(tmp_path / "b0.orin.int8")
    assert (found.precision, found.target) == ("int8", "orin")
    assert predict_plan(found, ORIN).ms == pytest.approx(oracle(model).cost(ALL).ms, rel=0.02)


def test_the_types_of_a_compiled_plan_count() -> None:
    """An engine that was compiled on its device keeps its own plan, with INT8 in it."""
    plan = made(block()).plan
    narrow = [
        replace(kernel, inputs=tuple(replace(one, dtype="Int8", bytes=one.bytes // 2) for one in kernel.inputs))
        for kernel in plan.kernels
    ]
    wide, mixed = (replace(made(block()), precision=precision) for precision in ("fp16", "int8"))
    assert predict_plan(mixed, ORIN).ms == pytest.approx(predict_plan(wide, ORIN).ms)
    smaller = replace(mixed, plan=replace(plan, kernels=tuple(narrow)))
    assert predict_plan(smaller, ORIN).ms < predict_plan(mixed, ORIN).ms


def test_quantisation_is_taken_out_again() -> None:
    model = filled(block())
    scales = {layer.source: 0.05 for layer in find_layers(model)}
    half, layers = int8_plan.without_quantisation(place(model, ALL, scales))
    assert layers == set(ALL)
    assert [(node.name, node.op_type) for node in half.graph.node] == [
        (node.name, node.op_type) for node in model.graph.node
    ]
    assert planned(half).passed == planned(model).passed
    onnx.checker.check_model(half, full_check=True)
