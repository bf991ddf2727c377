# SPDX-License-Identifier: Apache-2.0
"""The emulation against PyTorch's half, against FP64, and against what ONNX Runtime would hide."""

from __future__ import annotations

import functools
import math
import platform

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from onnx import TensorProto, helper

from evit_deploy.errors import UsageError
from evit_deploy.precision.emulate import emulate, tensor_types, widen
from tests.precision.typed import FLOAT, HALF, OPTIMISATIONS, half_graph, make_typed, open_session, run

make = helper.make_node
ANY_HALF = arrays(np.float16, 16, elements=st.floats(width=16, allow_nan=True, allow_infinity=True))
FINITE = arrays(np.float16, 16, elements=st.floats(width=16, allow_nan=False, allow_infinity=False))

# IEEE's own operations, and those that choose: exactly PyTorch's.
EXACT = {
    "Add": torch.add, "Sub": torch.sub, "Mul": torch.mul, "Div": torch.div, "Sqrt": torch.sqrt, "Neg": torch.neg,
    "Abs": torch.abs,
}  # fmt: skip
# Without NaN, about which ONNX Runtime's comparisons make no promise.
CHOOSING = {"Max": torch.maximum, "Min": torch.minimum, "Relu": torch.relu}
BINARY = {"Add", "Sub", "Mul", "Div", "Max", "Min"}
# Rounded once from the true value; the true value in FP32 may be off by a little, which can tip it.
CLOSE = {
    "Exp": np.exp, "Tanh": np.tanh, "Sigmoid": lambda x: 1 / (1 + np.exp(-x)), "Reciprocal": lambda x: 1 / x,
    "HardSwish": lambda x: x * np.clip(x + 3, 0, 6) / 6,
}  # fmt: skip


@functools.cache
def elementwise(op: str, rewrite=emulate):
    names = ("x", "y") if op in BINARY else ("x",)
    model = make_typed([make(op, names, ["z"])], dict.fromkeys(names, (HALF, [16])), {"z": (HALF, [16])})
    return open_session(rewrite(model))


def compute(op: str, *values: np.ndarray) -> np.ndarray:
    return elementwise(op).run(None, dict(zip(("x", "y"), values, strict=False)))[0]


@pytest.mark.parametrize("op", EXACT)
@given(x=ANY_HALF, y=ANY_HALF)
def test_elementwise_is_pytorchs_half(op: str, x: np.ndarray, y: np.ndarray) -> None:
    values = (x, y) if op in BINARY else (x,)
    ours = compute(op, *values)
    assert ours.dtype == np.float16
    np.testing.assert_array_equal(ours, EXACT[op](*map(torch.from_numpy, values)).numpy())


@pytest.mark.parametrize("op", CHOOSING)
@given(x=FINITE, y=FINITE)
def test_choosing_is_pytorchs_half(op: str, x: np.ndarray, y: np.ndarray) -> None:
    values = (x, y) if op in BINARY else (x,)
    np.testing.assert_array_equal(compute(op, *values), CHOOSING[op](*map(torch.from_numpy, values)).numpy())


@pytest.mark.parametrize("op", CLOSE)
@given(x=FINITE)
def test_functions_are_rounded_once(op: str, x: np.ndarray) -> None:
    with np.errstate(all="ignore"):
        true = CLOSE[op](x.astype(np.float64))
        assert_near(compute(op, x), true, slack=np.abs(true) * 2.0**-20)


def test_half_overflows_vanishes_and_breaks_as_it_should() -> None:
    smallest, one = np.float16(2.0**-24), np.ones(16, np.float16)
    np.testing.assert_array_equal(compute("Mul", one * 256, one * 256), one * np.inf)
    np.testing.assert_array_equal(compute("Add", one * 65504, one * 15.99), one * 65504)
    np.testing.assert_array_equal(compute("Add", one * 65504, one * 16), one * np.inf)
    np.testing.assert_array_equal(compute("Mul", one * smallest, one), one * smallest)
    np.testing.assert_array_equal(compute("Mul", one * smallest, one * 0.5), one * 0)
    np.testing.assert_array_equal(compute("Mul", one * smallest, one * 0.75), one * smallest)
    np.testing.assert_array_equal(compute("Mul", one * 2.0**-14, one * 0.25), one * 2.0**-16)
    assert np.isnan(compute("Div", one * 0, one * 0)).all()
    np.testing.assert_array_equal(compute("Div", one, one * 0), one * np.inf)


def spread(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Half values over six orders of magnitude, of both signs."""
    return (rng.standard_normal(shape) * 10.0 ** rng.uniform(-4, 1.5, shape)).astype(np.float16)


def assert_near(ours: np.ndarray, true: np.ndarray, slack: np.ndarray) -> None:
    """Within one unit in the last place of half, `slack` for FP32's own error in a sum that cancels added."""
    with np.errstate(over="ignore"):
        once = np.asarray(true).astype(np.float16)
    ulp = np.spacing(np.minimum(np.abs(once), np.float16(65504)).astype(np.float16)).astype(np.float64)
    near = np.abs(ours.astype(np.float64) - once.astype(np.float64)) <= np.abs(ulp) + slack
    same = (ours == once) | (np.isnan(ours) & np.isnan(once))
    edge = (np.abs(true) > 65472) & (np.abs(true) < 65568)  # either side of the last number is right
    assert (near | same | edge).all()


@given(seed=st.integers(0, 2**32 - 1))
def test_sums_are_rounded_once(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, w = spread(rng, 1, 8, 6, 7), spread(rng, 8, 8, 3, 3)
    conv, product, mean, total, softmax = _sums().run(None, {"x": x, "w": w})
    true, weight = torch.from_numpy(x).double(), torch.from_numpy(w).double()
    error = 2.0**-20  # of FP32 sums of up to 72 terms, relative to the sum of magnitudes
    both = torch.nn.functional.conv2d
    assert_near(conv, both(true, weight, padding=1).numpy(), error * both(true.abs(), weight.abs(), padding=1).numpy())
    right = true.transpose(2, 3)
    assert_near(product, (true @ right).numpy(), error * (true.abs() @ right.abs()).numpy())
    assert_near(mean, true.mean((2, 3)).numpy(), error * true.abs().mean((2, 3)).numpy())
    assert_near(total, true.sum((1, 2, 3)).numpy(), error * true.abs().sum((1, 2, 3)).numpy())
    assert_near(softmax, true.softmax(3).numpy(), error)


@functools.cache
def _sums():
    nodes = [
        make("Conv", ["x", "w"], ["conv"], pads=[1, 1, 1, 1]),
        make("Transpose", ["x"], ["t"], perm=[0, 1, 3, 2]),
        make("MatMul", ["x", "t"], ["product"]),
        make("ReduceMean", ["x"], ["mean"], axes=[2, 3], keepdims=0),
        make("ReduceSum", ["x", "axes"], ["total"], keepdims=0),
        make("Softmax", ["x"], ["softmax"], axis=3),
    ]
    outputs = {"conv": [1, 8, 6, 7], "product": [1, 8, 6, 6], "mean": [1, 8], "total": [1], "softmax": [1, 8, 6, 7]}
    return open_session(emulate(make_typed(
        nodes, {"x": (HALF, [1, 8, 6, 7]), "w": (HALF, [8, 8, 3, 3])},
        {name: (HALF, shape) for name, shape in outputs.items()}, axes=np.array([1, 2, 3]),
    )))  # fmt: skip


def trap() -> onnx.ModelProto:
    """x · 300 / 300: infinite in half from 219 on."""
    nodes = [make("Mul", ["x", "c"], ["large"]), make("Div", ["large", "c"], ["y"])]
    return make_typed(nodes, {"x": (HALF, [4])}, {"y": (HALF, [4])}, c=np.array(300, np.float16))


@pytest.mark.parametrize("optimisation", OPTIMISATIONS)
def test_no_optimisation_takes_the_rounding_away(optimisation: str) -> None:
    x = np.array([1, 200, 219, -1000], np.float16)
    (found,) = run(emulate(trap()), optimisation, x=x)
    np.testing.assert_array_equal(found, np.array([1, 200, np.inf, -np.inf], np.float16))


@pytest.mark.skipif(platform.machine() != "x86_64", reason="other CPUs may have FP16 kernels")
def test_the_typed_graph_itself_hides_the_overflow() -> None:
    x = np.array([1, 200, 219, -1000], np.float16)
    np.testing.assert_array_equal(run(trap(), x=x)[0], x)


@pytest.mark.parametrize("optimisation", OPTIMISATIONS)
def test_rounding_survives_between_convolutions(optimisation: str) -> None:
    """Where ONNX Runtime fuses most: convolution, activation, convolution."""
    weights = np.full((4, 4, 1, 1), 64, np.float16)
    nodes = [
        make("Conv", ["x", "w"], ["a"]), make("Relu", ["a"], ["b"]), make("Conv", ["b", "w"], ["c"]),
        make("Relu", ["c"], ["d"]), make("Conv", ["d", "v"], ["y"]),
    ]  # fmt: skip
    small = np.full((4, 4, 1, 1), 2.0**-14, np.float16)
    model = make_typed(nodes, {"x": (HALF, [1, 4, 8, 8])}, {"y": (HALF, [1, 4, 8, 8])}, w=weights, v=small)
    assert np.isinf(run(emulate(model), optimisation, x=np.ones((1, 4, 8, 8), np.float16))[0]).all()
    np.testing.assert_array_equal(run(widen(model), optimisation, x=np.ones((1, 4, 8, 8), np.float16))[0], 16.0)


def test_widen_rounds_nothing() -> None:
    (found,) = run(widen(trap()), x=np.array([1, 219, 65504, 1e-7], np.float16))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, np.array([1, 219, 65504, 1e-7], np.float16).astype(np.float32), rtol=1e-6)


def test_a_float32_graph_stays_what_it_is(exported: onnx.ModelProto, feed: dict[str, np.ndarray]) -> None:
    expected = run(exported, **feed)
    for rewrite in (emulate, widen):
        same = rewrite(exported)
        assert list(same.graph.node) == list(exported.graph.node)
        assert list(same.graph.initializer) == list(exported.graph.initializer)
        np.testing.assert_array_equal(run(same, **feed), expected)


def test_names_stay(typed: onnx.ModelProto) -> None:
    before = typed.SerializeToString()
    for rewrite in (emulate, widen):
        result = rewrite(typed)
        onnx.checker.check_model(result, full_check=True)
        made = {name for node in result.graph.node for name in node.output}
        assert made >= {name for node in typed.graph.node for name in node.output}
        assert list(result.graph.input) == list(typed.graph.input)
        assert list(result.graph.output) == list(typed.graph.output)  # uint8 here
    assert typed.SerializeToString() == before


def test_every_half_tensor_is_float_inside_and_rounded(typed: onnx.ModelProto, feed: dict[str, np.ndarray]) -> None:
    inner = [name for name, kind in tensor_types(typed).items() if kind == HALF]
    emulated = emulate(typed)
    kinds = tensor_types(emulated)
    assert len(inner) > 200
    assert {kinds[name] for name in inner} == {FLOAT}
    made = {name for node in emulated.graph.node for name in node.output} & set(inner)
    emulated.graph.output.extend(helper.make_tensor_value_info(name, FLOAT, None) for name in sorted(made))
    for array in run(emulated, **feed)[1:]:
        np.testing.assert_array_equal(array, array.astype(np.float16).astype(np.float32))


def test_all_kinds_of_tensors_and_attributes() -> None:
    """Casts, constants, choices, indices and quantised weights, against numpy's half."""
    nodes = [
        make("Cast", ["image"], ["x"], to=HALF),
        make("Constant", [], ["third"], value=helper.make_tensor("t", HALF, [], [0.333])),
        make("ConstantOfShape", ["shape"], ["ones"], value=helper.make_tensor("t", HALF, [1], [1.5])),
        make("Mul", ["x", "third"], ["scaled"]),
        make("Greater", ["scaled", "ones"], ["mask"]),
        make("Where", ["mask", "scaled", "ones"], ["chosen"]),
        make("Resize", ["chosen", "", "scales"], ["big"], mode="linear", coordinate_transformation_mode="half_pixel"),
        make("ArgMax", ["chosen"], ["index"], axis=1, keepdims=0),
        make("Cast", ["index"], ["classes"], to=TensorProto.UINT8),
        make("DequantizeLinear", ["quantised", "step"], ["weight"]),
        make("Conv", ["big", "weight"], ["y"]),
        make("Cast", ["chosen"], ["wide"], to=FLOAT),
        make("Clip", ["y", "low", ""], ["clipped"]),
    ]
    weights = {
        "shape": np.array([1, 3, 4, 4]), "scales": np.array([1, 1, 2, 2], np.float32),
        "step": np.array(0.1, np.float16),
        "quantised": np.arange(-6, 6, dtype=np.int8).reshape(4, 3, 1, 1), "low": np.array(-3.3, np.float16),
    }  # fmt: skip
    outputs = {
        "big": (HALF, [1, 3, 8, 8]), "classes": (TensorProto.UINT8, [1, 4, 4]), "y": (HALF, [1, 4, 8, 8]),
        "wide": (FLOAT, [1, 3, 4, 4]), "clipped": (HALF, [1, 4, 8, 8]),
    }  # fmt: skip
    model = make_typed(nodes, {"image": (TensorProto.UINT8, [1, 3, 4, 4])}, outputs, opset=19, **weights)
    image = np.random.default_rng(0).integers(0, 9, (1, 3, 4, 4), np.uint8)
    big, classes, y, wide, clipped = run(emulate(model), image=image)

    scaled = image.astype(np.float16) * np.float16(0.333)
    chosen = np.where(scaled > np.float16(1.5), scaled, np.float16(1.5))
    np.testing.assert_array_equal(wide, chosen.astype(np.float32))
    np.testing.assert_array_equal(classes, chosen.argmax(axis=1))
    resized = torch.nn.functional.interpolate(torch.from_numpy(chosen).double(), scale_factor=2, mode="bilinear")
    assert_near(big, resized.numpy(), slack=1e-6)
    weight = (weights["quantised"].astype(np.float32) * np.float32(weights["step"])).astype(np.float16)
    true = np.einsum("oc,chw->ohw", weight[:, :, 0, 0].astype(np.float64), big[0].astype(np.float64))[None]
    assert_near(y, true, slack=1e-5)
    np.testing.assert_array_equal(clipped, np.maximum(y, np.float16(-3.3)))
    assert [array.dtype for array in run(widen(model), image=image)] == ["float32", "uint8", *["float32"] * 3]


def test_half_outputs_are_read_again_and_weights_can_be_outputs() -> None:
    nodes = [make("Mul", ["x", "c"], ["y"]), make("Mul", ["y", "c"], ["z"]), make("Reshape", ["z", "shape"], ["r"])]
    outputs = {"y": (HALF, [4]), "z": (HALF, [4]), "r": (HALF, [2, 2]), "c": (HALF, [])}
    constants = {"c": np.array(0.1, np.float16), "shape": np.array([2, 2])}
    x = np.array([1, 3, 5000, 1e-6], np.float16)
    y, z, r, c = run(emulate(make_typed(nodes, {"x": (HALF, [4])}, outputs, **constants)), x=x)
    np.testing.assert_array_equal(y, x * np.float16(0.1))
    np.testing.assert_array_equal(z, y * np.float16(0.1))
    np.testing.assert_array_equal(r, z.reshape(2, 2))
    assert c == np.float16(0.1)


def test_bfloat16_is_refused_in_words() -> None:
    nodes = [make("Cast", ["x"], ["b"], to=TensorProto.BFLOAT16), make("Cast", ["b"], ["y"], to=FLOAT)]
    model = make_typed(nodes, {"x": (FLOAT, [4])}, {"y": (FLOAT, [4])})
    for rewrite in (emulate, widen):
        with pytest.raises(UsageError, match=r"cannot be emulated.*\n.*'b' is bfloat16"):
            rewrite(model)


def test_a_graph_in_a_graph_is_refused_in_words() -> None:
    inner = helper.make_graph([make("Neg", ["x"], ["n"])], "inner", [], [helper.make_tensor_value_info("n", HALF, [4])])
    node = make("If", ["flag"], ["y"], then_branch=inner, else_branch=inner)
    model = make_typed([node], {"x": (HALF, [4]), "flag": (TensorProto.BOOL, [])}, {"y": (HALF, [4])})
    with pytest.raises(UsageError, match="holds a graph of its own"):
        emulate(model)


def test_contradictions_are_refused_in_words() -> None:
    model = make_typed([make("Neg", ["x"], ["y"])], {"x": (HALF, [4])}, {"y": (FLOAT, [4])})
    with pytest.raises(UsageError, match="contradict"):
        emulate(model)


def test_an_unknown_operator_is_refused_in_words() -> None:
    model = make_typed([make("Strange", ["x"], ["y"], domain="ours"), make("Neg", ["y"], ["z"])],
                       {"x": (HALF, [4])}, {"z": (HALF, [4])})  # fmt: skip
    model.opset_import.append(helper.make_opsetid("ours", 1))
    with pytest.raises(UsageError, match="'y', made by Strange"):
        emulate(model)


def test_random_weights_really_differ_when_rounded(exported: onnx.ModelProto, feed: dict[str, np.ndarray]) -> None:
    """The check can fail: rounding changes the logits, a little."""
    typed = half_graph(exported)
    kinds = tensor_types(typed)
    assert kinds["logits"] == HALF
    logits = []
    for rewrite in (emulate, widen):
        model = rewrite(typed)
        model.graph.output.append(helper.make_tensor_value_info("logits", FLOAT, None))
        logits.append(run(model, **feed)[1])
    error = np.linalg.norm(logits[0] - logits[1]) / np.linalg.norm(logits[1])
    assert 1e-4 < error < 1e-1
    assert math.isfinite(error)
