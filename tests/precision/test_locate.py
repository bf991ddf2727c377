# SPDX-License-Identifier: Apache-2.0
"""Faults planted in typed graphs are found where they were planted."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from onnx import helper

from evit_deploy.errors import UsageError
from evit_deploy.precision.emulate import emulate, tensor_types, widen
from evit_deploy.precision.locate import LayerError, first_broken, locate, worst
from tests.precision.typed import FLOAT, HALF, insert_behind, make_typed, run

make = helper.make_node


def convolutions(model: onnx.ModelProto) -> list[str]:
    return [node.output[0] for node in model.graph.node if node.op_type == "Conv"]


def plant(model: onnx.ModelProto, tensor: str, up: float, down: float) -> None:
    """Multiply a tensor by two halves whose product is one."""
    constants = {"up": up, "down": down}
    model.graph.initializer.extend(
        onnx.numpy_helper.from_array(np.array(value, np.float16), name) for name, value in constants.items()
    )
    insert_behind(model, tensor, [make("Mul", [tensor, "up"], ["planted"]), make("Mul", ["planted", "down"], ["back"])])


def test_a_good_graph_has_nothing_broken(typed: onnx.ModelProto, feed: dict[str, np.ndarray]) -> None:
    layers = locate(typed, [feed])
    kinds = tensor_types(typed)
    assert [layer.name for layer in layers] == [
        name for node in typed.graph.node for name in node.output if kinds[name] == HALF
    ]
    assert first_broken(layers, 0.05) is None
    assert all(layer.nonfinite == 0 and layer.headroom > 1 for layer in layers)
    assert 0 < worst(layers)[0].relative_l2 < 0.05


@pytest.mark.parametrize("part", [0.0, 0.5, 0.9])
def test_an_overflow_is_found_at_its_node(part: float, typed: onnx.ModelProto, feed: dict[str, np.ndarray]) -> None:
    places = convolutions(typed)
    size = {layer.name: layer.largest for layer in locate(typed, [feed])}
    tensor = places[int(part * len(places))]
    up = 2.0 ** math.ceil(math.log2(65536 / size[tensor]))
    plant(typed, tensor, min(up, 32768.0), 2.0**-15)
    layers = locate(typed, [feed])
    first = first_broken(layers, 0.05)
    assert first is not None
    assert (first.name, first.op) == ("planted", "Mul")
    assert first.nonfinite > 0
    assert first.relative_l2 == math.inf
    assert first.headroom < 1
    assert first.largest == pytest.approx(size[tensor] * min(up, 32768.0), rel=1e-3)
    assert next(layer for layer in layers if layer.name == "back").nonfinite == first.nonfinite
    assert worst(layers, 1)[0].relative_l2 == math.inf


def test_lost_bits_are_found_at_their_node() -> None:
    """No overflow, only an error of 1e-3: values pushed below 2^-14, where half has fewer bits, and back."""
    x = np.random.default_rng(0).uniform(1, 2, (8, 64)).astype(np.float16)
    nodes = [
        make("Relu", ["x"], ["a"]), make("Mul", ["a", "down"], ["planted"]), make("Mul", ["planted", "up"], ["back"]),
        make("Add", ["back", "back"], ["y"]),
    ]  # fmt: skip
    model = make_typed(nodes, {"x": (HALF, [8, 64])}, {"y": (HALF, [8, 64])},
                       down=np.array(2.0**-17, np.float16), up=np.array(2.0**15, np.float16))  # fmt: skip
    layers = {layer.name: layer for layer in locate(model, [{"x": x}])}
    assert layers["a"].relative_l2 == 0.0
    small = (x.astype(np.float64) * 2.0**-17).astype(np.float16).astype(np.float64) * 2.0**17
    error = np.linalg.norm(small - x) / np.linalg.norm(x.astype(np.float64))
    assert 5e-4 < error < 2e-3
    for name in ("planted", "back", "y"):
        assert layers[name].relative_l2 == pytest.approx(error, rel=1e-4)
        assert layers[name].nonfinite == 0
    first = first_broken(list(layers.values()), error / 2)
    assert first is not None
    assert first.name == "planted"


@given(
    x=arrays(np.float16, (2, 8), elements=st.floats(width=16, allow_nan=False, allow_infinity=False)),
    scale=st.sampled_from([2.0**-20, 0.1, 1.1, 777.0]),
)
def test_errors_are_numpys(x: np.ndarray, scale: float) -> None:
    half = np.array(scale, np.float16)
    model = make_typed([make("Mul", ["x", "c"], ["y"])], {"x": (HALF, [2, 8])}, {"y": (HALF, [2, 8])}, c=half)
    (layer,) = locate(model, [{"x": x}])
    exact = x.astype(np.float64) * half.astype(np.float64)
    with np.errstate(over="ignore"):
        rounded = exact.astype(np.float16)
    assert layer.nonfinite == np.count_nonzero(~np.isfinite(rounded))
    assert layer.largest == pytest.approx(np.abs(exact).max(), rel=1e-6)
    if layer.nonfinite:
        assert layer.relative_l2 == math.inf
    elif exact.any():
        norm = np.linalg.norm(exact)
        assert layer.relative_l2 == pytest.approx(np.linalg.norm(rounded - exact) / norm, rel=1e-4, abs=1e-7)
    else:
        assert layer.relative_l2 == 0.0


@pytest.mark.parametrize("scale", [1e-6, 1e-7])
def test_what_vanishes_altogether_is_an_error_of_one(scale: float) -> None:
    nodes = [make("Mul", ["x", "c"], ["a"]), make("Mul", ["a", "c"], ["b"]), make("Mul", ["b", "a"], ["y"])]
    model = make_typed(nodes, {"x": (HALF, [16])}, {"y": (HALF, [16])}, c=np.array(scale, np.float16))
    layers = {layer.name: layer for layer in locate(model, [{"x": np.ones(16, np.float16)}])}
    assert (layers["a"].relative_l2, layers["b"].relative_l2, layers["y"].relative_l2) == (0.0, 1.0, 1.0)


def test_zero_by_zero_is_shown() -> None:
    nodes = [make("Sub", ["x", "x"], ["zero"]), make("Div", ["zero", "zero"], ["y"])]
    model = make_typed(nodes, {"x": (HALF, [16])}, {"y": (HALF, [16])})
    layers = locate(model, [{"x": np.ones(16, np.float16)}])
    assert (layers[0].relative_l2, layers[0].largest, layers[0].headroom) == (0.0, 0.0, math.inf)
    assert (layers[1].relative_l2, layers[1].nonfinite) == (math.inf, 16)
    assert math.isnan(layers[1].largest)
    assert math.isnan(layers[1].headroom)
    first = first_broken(layers, 1.0)
    assert first is not None
    assert first.name == "y"


def test_the_worst_of_all_frames_counts() -> None:
    model = make_typed([make("Mul", ["x", "c"], ["y"])], {"x": (HALF, [4])}, {"y": (HALF, [4])},
                       c=np.array(1000, np.float16))  # fmt: skip
    small, large = np.ones(4, np.float16), np.full(4, 100, np.float16)
    (layer,) = locate(model, iter([{"x": small}, {"x": large}, {"x": large}, {"x": small}]))
    assert (layer.nonfinite, layer.largest, layer.relative_l2) == (8, 100000.0, math.inf)


def test_logits_as_the_two_graphs_give_them(typed: onnx.ModelProto, feed: dict[str, np.ndarray]) -> None:
    """Side by side in one session or each in its own: the same error."""
    (layer,) = [layer for layer in locate(typed, [feed]) if layer.name == "logits"]
    arrays = []
    for rewrite in (emulate, widen):
        model = rewrite(typed)
        model.graph.output.append(helper.make_tensor_value_info("logits", FLOAT, None))
        arrays.append(run(model, **feed)[1].astype(np.float64))
    error = np.linalg.norm(arrays[0] - arrays[1]) / np.linalg.norm(arrays[1])
    # The order of sums differs, and may tip a rounding here and there.
    assert layer.relative_l2 == pytest.approx(error, rel=0.1)


def test_half_inputs_and_half_outputs_in_the_middle() -> None:
    nodes = [make("Mul", ["x", "c"], ["y"]), make("Mul", ["y", "c"], ["z"]), make("Split", ["z"], ["p", "q"], axis=0)]
    model = make_typed(nodes, {"x": (HALF, [4])}, {"y": (HALF, [4]), "p": (HALF, [2])}, c=np.array(0.1, np.float16))
    layers = locate(model, [{"x": np.array([1, 3, 5, 7], np.float16)}])
    assert [layer.name for layer in layers] == ["y", "z", "p", "q"]
    assert 0 < layers[0].relative_l2 < layers[1].relative_l2 < 1e-3


def test_decisions_are_left_out() -> None:
    """A class number that flips is no error of a layer."""
    nodes = [
        make("Mul", ["x", "c"], ["y"]), make("Greater", ["y", "c"], ["more"]),
        make("Where", ["more", "one", "two"], ["k"]), make("Where", ["more", "k", "y"], ["z"]),
        make("ArgMax", ["y"], ["i"], axis=0), make("Cast", ["i"], ["j"], to=HALF), make("Add", ["k", "one"], ["l"]),
    ]  # fmt: skip
    outputs = dict.fromkeys(("z", "j", "l"), (HALF, None))
    numbers = {"c": 0.3, "one": 1.0, "two": 2.0}
    model = make_typed(nodes, {"x": (HALF, [4])}, outputs, **{k: np.array(v, np.float16) for k, v in numbers.items()})
    layers = locate(model, [{"x": np.array([0.5, 1, 1.5, 2], np.float16)}])
    assert [layer.name for layer in layers] == ["y", "z"]


def test_helpers() -> None:
    def layer(name: str, error: float, nonfinite: int = 0, op: str = "Mul") -> LayerError:
        return LayerError(name, op, error, 1.0, 65504.0, nonfinite)

    rows = [layer("a", 1e-4), layer("b", 2e-2), layer("c", 2e-2, op="Reshape"), layer("d", 1e-3, 1)]
    assert [first_broken(rows, limit) for limit in (1e-2, 1e-1, 1e-5)] == [rows[1], rows[3], rows[0]]
    assert [row.name for row in worst(rows)] == ["b", "d", "a"]
    assert [row.name for row in worst(rows, 1)] == ["b"]


def test_a_float32_graph_has_nothing_to_locate(exported: onnx.ModelProto, feed: dict[str, np.ndarray]) -> None:
    with pytest.raises(UsageError, match="nothing is rounded"):
        locate(exported, [feed])


def test_no_frames(typed: onnx.ModelProto, small_workspace: Path) -> None:
    with pytest.raises(UsageError, match="no frames"):
        locate(typed, [])
