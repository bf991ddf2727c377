# SPDX-License-Identifier: Apache-2.0
"""Ranges against numpy's, and the room they need."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from onnx import TensorProto, helper

from evit_deploy.errors import ArtifactError, UsageError
from evit_deploy.manifest import read_manifest
from evit_deploy.precision.artifact import artifact_ranges
from evit_deploy.precision.emulate import tensor_types, widen
from evit_deploy.precision.graph import load_graph
from evit_deploy.precision.ranges import TensorRange, measure_ranges, tightest
from tests.precision.typed import FLOAT, make_typed, run

make = helper.make_node
VALUES = st.floats(width=32, min_value=-(2.0**17), max_value=2.0**17) | st.sampled_from(
    [0.0, 2.0**-14, 2.0**-15, 1e-30]
)


def small_graph() -> onnx.ModelProto:
    nodes = [
        make("Mul", ["x", "c"], ["scaled"]),
        make("Relu", ["scaled"], ["positive"]),
        make("Reshape", ["positive", "shape"], ["moved"]),
        make("ReduceSum", ["moved"], ["scalar"], keepdims=0),
        make("ArgMax", ["moved"], ["index"], axis=0),
    ]
    outputs = {"scalar": (FLOAT, []), "index": (TensorProto.INT64, [1, 6])}
    return make_typed(nodes, {"x": (FLOAT, [3, 4])}, outputs, c=np.float32(0.5), shape=np.array([2, 6]))


def expected(arrays: list[np.ndarray]) -> tuple[float, float, float]:
    size = np.abs(np.concatenate([array.ravel() for array in arrays]))
    nonzero = size[size > 0]
    if not nonzero.size:
        return 0.0, math.inf, 0.0
    return float(size.max()), float(nonzero.min()), float((nonzero < 2.0**-14).mean())


@given(frames=st.lists(arrays(np.float32, (3, 4), elements=VALUES), min_size=1, max_size=3))
def test_ranges_are_numpys(frames: list[np.ndarray]) -> None:
    rows = measure_ranges(small_graph(), ({"x": frame} for frame in frames))
    assert [(row.name, row.op) for row in rows] == [
        ("x", "input"), ("scaled", "Mul"), ("positive", "Relu"), ("moved", "Reshape"), ("scalar", "ReduceSum"),
    ]  # fmt: skip
    scaled = [frame * np.float32(0.5) for frame in frames]
    positive = [np.maximum(array, 0) for array in scaled]
    for row, values in zip(rows, (frames, scaled, positive, positive), strict=False):
        assert (row.largest, row.smallest, row.below_normal) == pytest.approx(expected(values), rel=1e-12)
        assert row.headroom == (65504 / row.largest if row.largest else math.inf)
        assert row.fits == (row.largest <= 65504)
    sums = max(float(array.sum(dtype=np.float64)) for array in positive)
    assert rows[4].largest == pytest.approx(sums, rel=1e-5)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("place", range(0, 1024, 93))
def test_nan_and_infinity_are_shown(bad: float, place: int) -> None:
    x = np.linspace(-1, 1, 1024, dtype=np.float32)
    x[place] = bad
    model = make_typed([make("Mul", ["x", "c"], ["y"])], {"x": (FLOAT, [1024])}, {"y": (FLOAT, [1024])},
                       c=np.float32(2))  # fmt: skip
    for row in measure_ranges(model, [{"x": x}, {"x": np.ones(1024, np.float32)}]):
        np.testing.assert_equal(row.largest, abs(bad))
        np.testing.assert_equal(row.headroom, math.nan if math.isnan(bad) else 0.0)
        assert not row.fits


def test_tightest_puts_nan_first_and_leaves_moves_out() -> None:
    def row(name: str, headroom: float, op: str = "Mul") -> TensorRange:
        return TensorRange(name, op, 1.0, 1.0, headroom, 0.0)

    rows = [row("a", 3.0), row("b", math.nan), row("c", 0.5), row("d", 0.5, "Reshape"), row("e", math.inf)]
    assert [found.name for found in tightest(rows)] == ["b", "c", "a", "e"]
    assert [found.name for found in tightest(rows, 2)] == ["b", "c"]


def test_every_float_tensor_of_a_model(exported: onnx.ModelProto, feed: dict[str, np.ndarray]) -> None:
    rows = {row.name: row for row in measure_ranges(exported, [feed])}
    kinds = tensor_types(exported)
    made = [name for node in exported.graph.node for name in node.output if kinds[name] == FLOAT]
    assert list(rows) == made
    outputs = onnx.ModelProto()
    outputs.CopyFrom(exported)
    del outputs.graph.output[:]
    outputs.graph.output.extend(helper.make_tensor_value_info(name, FLOAT, None) for name in made)
    for name, array in zip(made, run(outputs, **feed), strict=True):
        row = rows[name]
        # Two sessions, two orders of sums: only the tiniest values can tell.
        assert row.largest == pytest.approx(float(np.abs(array).max()), rel=1e-4), name
        assert row.below_normal == pytest.approx(expected([array])[2], abs=2e-3), name


def test_a_typed_graph_is_to_be_widened_first(typed: onnx.ModelProto, feed: dict[str, np.ndarray]) -> None:
    with pytest.raises(UsageError, match="widen the typed graph"):
        measure_ranges(typed, [feed])
    assert all(row.fits for row in measure_ranges(widen(typed), [feed]))


def test_wrong_feeds_are_refused_in_words() -> None:
    with pytest.raises(UsageError, match="no frames"):
        measure_ranges(small_graph(), [])
    with pytest.raises(UsageError, match="ONNX Runtime cannot run the graph"):
        measure_ranges(small_graph(), [{"x": np.zeros((2, 2), np.float32)}])
    with pytest.raises(UsageError, match="ONNX Runtime cannot run the graph"):
        measure_ranges(small_graph(), [{"y": np.zeros((3, 4), np.float32)}])


def test_an_export_is_measured_on_its_own_frames(small_workspace: Path) -> None:
    folder = small_workspace / "export" / "b0-seg"
    rows = {row.name: row for row in artifact_ranges(folder, read_manifest(folder))}
    assert rows["Cast"].largest == 255.0  # the photos have white in them
    assert "logits" in rows


def test_a_damaged_graph_is_named(own_export: Path) -> None:
    (own_export / "model.onnx").write_bytes(b"no graph")
    with pytest.raises(ArtifactError, match=r"model\.onnx cannot be read"):
        load_graph(own_export / "model.onnx")


@pytest.mark.parametrize("what", ["measure_ranges", "locate"])
def test_memory_does_not_grow_with_depth(what: str) -> None:
    """Sixty tensors of 8 MB: 0.5 GB if they were kept, twice that for two graphs."""
    code = f"""
import json, resource
import numpy as np
from onnx import helper
from evit_deploy.precision.locate import locate
from evit_deploy.precision.ranges import measure_ranges
from tests.precision.typed import FLOAT, HALF, make_typed
kind, dtype = (FLOAT, "float32") if {what!r} == "measure_ranges" else (HALF, "float16")
nodes = [helper.make_node("HardSigmoid", [f"t{{i}}"], [f"t{{i + 1}}"]) for i in range(60)]
model = make_typed(nodes, {{"t0": (kind, [1 << 21])}}, {{"t60": (kind, [1 << 21])}})
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
feed = {{"t0": np.ones(1 << 21, dtype)}}
before = peak()
assert len({what}(model, [feed])) >= 60
print(json.dumps(peak() - before))
"""
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    assert json.loads(done.stdout) < 300
