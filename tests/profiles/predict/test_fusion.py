# SPDX-License-Identifier: Apache-2.0
"""Plans from graphs alone: each rule on a graph made for it, all of them against what TensorRT for RTX makes."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import numpy_helper, parser

from evit_deploy.engines.bundle import POINTS
from evit_deploy.engines.flops import math_of
from evit_deploy.engines.lowering import Fixed
from evit_deploy.engines.plan import Plan, read_plan
from evit_deploy.errors import UsageError
from evit_deploy.models.zoo import find_model
from evit_deploy.precision.graph import load_graph
from evit_deploy.profiles.predict import conditions, graphs
from evit_deploy.profiles.predict.cost import Work, calibration, run_ms
from evit_deploy.profiles.predict.fusion import plan_from_graph
from evit_deploy.profiles.predict.plans import plan_of
from evit_deploy.profiles.predict.typed_graph import TypedGraph
from tests.conftest import require

MAP = "float16[1,16,8,8]"
CONSTANTS = "float16[16,16,1,1] w, float16[48,16,1,1] wide, float16[16,32,1,1] both, float16[1] c"


def model(
    body: str, inputs: str = f"{MAP} x", outputs: str = f"{MAP} y", constants: str = CONSTANTS
) -> onnx.ModelProto:
    """A graph in ONNX's own language; each node is named after the first thing it makes."""
    found: onnx.ModelProto = parser.parse_model(
        f'<ir_version: 8, opset_import: ["" : 17]> small ({inputs}) => ({outputs}) {{ {body} }}'
    )
    for node in found.graph.node:
        node.name = node.output[0]
    for kind, name in (value.split() for value in constants.split(", ")):
        shape = [int(side) for side in kind.partition("[")[2].rstrip("]").split(",")]
        found.graph.initializer.append(numpy_helper.from_array(np.zeros(shape, np.float16), name))
    return found


def doubling(body: str) -> onnx.ModelProto:
    """A graph that gives a map of twice the size, and upsamples by the constant s."""
    found = model(body, outputs="float16[1,16,16,16] y")
    found.graph.initializer.append(numpy_helper.from_array(np.array([1, 1, 2, 2], np.float32), "s"))
    return found


def kernels(*given: str, **more: str) -> list[str]:
    """The kernels of a graph, each as the nodes it computes."""
    plan = plan_from_graph(model(*given, **more))
    return [" ".join(kernel.layers) for kernel in plan.working]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("a = Conv(x, w) y = HardSwish(a)", ["a y"]),
        ("a = Conv(x, w) b = Sigmoid(a) y = Mul(a, b)", ["a b y"]),
        ("a = Conv(x, w) b = Conv(a, w) y = Add(b, x)", ["a", "b y"]),
        ("a = Conv(x, w) b = Conv(x, w) y = Add(a, b)", ["a", "b y"]),
        ("a = Relu(x) b = Mul(a, c) d = Sub(x, c) y = Add(b, d)", ["a b d y"]),
        ("a = Conv(x, w) b = Conv(x, w) d = Concat<axis = 1>(a, b) y = Conv(d, both)", ["a", "b", "y"]),
        ("a = Conv(x, w) b = Relu(x) d = Concat<axis = 1>(a, b) y = Conv(d, both)", ["a", "b d", "y"]),
        ("a = Conv(x, wide) b, d, e = Split<axis = 1>(a) f = Conv(b, w) y = Add(f, e)", ["a b", "f y"]),
        ("a = Transpose<perm = [0, 1, 3, 2]>(x) y = Relu(a)", ["a y"]),
        ("a = Relu(x) y = Transpose<perm = [0, 1, 3, 2]>(a)", ["a", "y"]),
        ("a = Relu(x) y = Transpose<perm = [0, 1, 2, 3]>(a)", ["a y"]),
        ("a = Conv(x, w) y = Transpose<perm = [0, 1, 2, 3]>(a)", ["a", "y"]),
        ("a = Conv(x, w) b = Cast<to = 1>(a) d = Cast<to = 10>(b) y = Conv(d, w)", ["a", "b d", "y"]),
        ("a = Relu(c) b = Add(a, c) y = Mul(x, b)", ["y"]),
    ],
)
def test_what_becomes_one_kernel(body: str, expected: list[str]) -> None:
    assert kernels(body) == expected


def test_a_residual_sum_reads_both_and_writes_one() -> None:
    last = plan_from_graph(model("a = Conv(x, w) b = Conv(a, w) y = Add(b, x)")).working[-1]
    size = 16 * 8 * 8 * 2
    assert {tensor.name: tensor.bytes for tensor in last.inputs} == {"a": size, "x": size}
    assert {tensor.name: tensor.bytes for tensor in last.outputs} == {"y": size}
    assert (last.constants, last.flops, last.type) == (16 * 16 * 2, 2 * 16 * 16 * 64, "convolution")


def test_a_part_of_a_convolution_is_written_with_it_and_read_alone() -> None:
    plan = plan_from_graph(model("a = Conv(x, wide) b, d, e = Split<axis = 1>(a) f = Conv(b, w) y = Add(f, e)"))
    first, second = plan.working
    assert [(tensor.name, tensor.shape) for tensor in first.outputs] == [("a", (1, 48, 8, 8))]
    assert [(tensor.name, tensor.shape) for tensor in second.inputs] == [("b", (1, 16, 8, 8)), ("e", (1, 16, 8, 8))]


def test_a_picture_is_written_with_four_channels() -> None:
    plan = plan_from_graph(
        model(
            "a = Cast<to = 10>(x) b = Transpose<perm = [0, 3, 1, 2]>(a) y = Conv(b, v)",
            "uint8[1,8,8,3] x", "float16[1,16,8,8] y", "float16[16,3,1,1] v",
        )
    )  # fmt: skip
    assert [kernel.layers for kernel in plan.working] == [("a", "b"), ("y",)]
    assert plan.working[0].inputs[0].bytes == 8 * 8 * 3
    assert plan.working[0].outputs == plan.working[1].inputs
    assert plan.working[0].outputs[0].shape == (1, 4, 8, 8)


@pytest.mark.parametrize(("tokens", "count"), [(64, 2), (324, 2), (512, 1), (8192, 1)])
def test_a_mean_over_many_tokens_is_spread_by_the_same_kernel(tokens: int, count: int) -> None:
    kind = f"float16[{tokens},8,16]"
    assert len(kernels("a = ReduceMean<axes = [0]>(x) y = Div(x, a)", f"{kind} x", f"{kind} y")) == count


def test_reductions_over_other_axes_take_another_kernel() -> None:
    body = "a = ReduceMean<axes = [0]>(x) b = ReduceMax<axes = [2]>(a) d = Div(a, b) y = Mul(x, d)"
    assert kernels(body, "float16[64,8,16] x", "float16[64,8,16] y") == ["a", "b d", "y"]


def test_a_norm_over_channels_is_one_kernel() -> None:
    body = "a = ReduceMean<axes = [1]>(x) b = Sub(x, a) d = Mul(b, b) e = ReduceMean<axes = [1]>(d) y = Div(b, e)"
    assert kernels(body) == ["a b d e y"]


def test_the_maximum_of_upsampled_classes_is_not_spread_at_once() -> None:
    plan = plan_from_graph(doubling("a = Resize(x, , s) b = ReduceMax<axes = [1]>(a) y = Sub(a, b)"))
    assert [kernel.layers for kernel in plan.working] == [("a", "b"), ("y",)]


def test_maps_are_upsampled_together() -> None:
    plan = plan_from_graph(
        doubling("a = Conv(x, w) b = Resize(a, , s) d = Conv(x, w) e = Resize(d, , s) y = Add(b, e)")
    )
    assert [kernel.layers for kernel in plan.working] == [("a",), ("d",), ("b", "e", "y")]


@pytest.mark.parametrize(("channels", "expected"), [(32, ["a b y"]), (256, ["a", "b", "y"])])
def test_softmax_attention_of_narrow_heads_is_one_kernel(channels: int, expected: list[str]) -> None:
    inputs = f"float16[8,7,{channels}] q, float16[8,{channels},9] k, float16[8,9,{channels}] v"
    assert kernels("a = MatMul(q, k) b = Softmax(a) y = MatMul(b, v)", inputs, f"float16[8,7,{channels}] y") == expected


def test_an_arg_max_stands_alone() -> None:
    body = "a = Relu(x) b = ArgMax<axis = 1>(a) y = Cast<to = 2>(b)"
    plan = plan_from_graph(model(body, outputs="uint8[1,1,8,8] y"))
    assert [kernel.layers for kernel in plan.working] == [("a",), ("b",), ("y",)]
    assert plan.working[1].outputs[0].bytes == 4 * 64  # TensorRT's indices have 32 bits


def test_views_alone_are_no_kernel() -> None:
    assert kernels("a = Flatten(x) y = Relu(a)", outputs="float16[1,1024] y") == ["a y"]
    assert kernels("y = Flatten(x)", outputs="float16[1,1024] y") == []


AXES = "n = Constant<value = int64[1] {1}>()"
SCALE = "s = Constant<value = float16[8] {1, 1, 1, 1, 1, 1, 1, 1}>()"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (f"{AXES} a = ReduceSum(x, n) y = Sub(x, a)", ["a y"]),
        ("a = ReduceMean(x) y = Sub(x, a)", ["a y"]),
        ("a = ReduceMean<keepdims = 0>(x) b = ReduceMax(a) y = Sub(x, b)", ["a", "b", "y"]),
        (f"{SCALE} a, , i = LayerNormalization(x, s) b = Conv(a, w) y = Clip(b, , c)", ["a", "b y"]),
        (f"{SCALE} y, i, = LayerNormalization(x, s)", ["y"]),
        ("a = MaxPool<kernel_shape = [1, 1]>(x) y = InstanceNormalization(a, c, c)", ["a y"]),
    ],
)
def test_nodes_of_any_form_are_taken(body: str, expected: list[str]) -> None:
    """Axes and weights from Constant nodes, no axes, scalars, outputs and inputs left out, other operators."""
    assert kernels(body) == expected


def test_a_weight_from_a_constant_node_is_read() -> None:
    (kernel,) = plan_from_graph(model(f"{SCALE} y = Mul(x, s)")).working
    assert kernel.constants == 8 * 2


def test_an_open_batch_is_refused() -> None:
    with pytest.raises(UsageError, match="not fixed"):
        plan_from_graph(model("y = Relu(x)", "float16[N,16,8,8] x", "float16[N,16,8,8] y"))


def test_a_type_of_unknown_size_is_refused() -> None:
    with pytest.raises(ValueError, match="COMPLEX64"):
        plan_from_graph(model("y = Identity(x) z = Cast<to = 10>(y)", "complex64[4] x", "complex64[4] y, float16[4] z"))


OPS = {"Conv": 1, "Relu": 1, "Add": 2, "Mul": 2, "Sigmoid": 1, "Softmax": 1, "MatMul": 2, "Transpose": 1, "Mean": 1}


@st.composite
def random_graphs(draw: st.DrawFn) -> onnx.ModelProto:
    """Any nodes that keep the shape 16×16 of one map, in any wiring; the last results are the outputs."""
    names, body = ["x"], []
    for number in range(draw(st.integers(1, 12))):
        op = draw(st.sampled_from(sorted(OPS)))
        read = [draw(st.sampled_from(names)) for _ in range(OPS[op])]
        out = f"t{number}"
        if op == "Conv":
            body.append(f"{out} = Conv({read[0]}, w)")
        elif op == "Transpose":
            body.append(f"{out} = Transpose<perm = [0, 1, 3, 2]>({read[0]})")
        elif op == "Mean":
            axis = draw(st.integers(1, 3))
            body.append(f"m{number} = ReduceMean<axes = [{axis}]>({read[0]}) {out} = Sub({read[0]}, m{number})")
        else:
            body.append(f"{out} = {op}({', '.join(read)})")
        names.append(out)
    outputs = draw(st.lists(st.sampled_from(names[1:]), min_size=1, unique=True))
    outputs = ", ".join(f"float16[1,16,16,16] {name}" for name in dict.fromkeys([*outputs, names[-1]]))
    return model(" ".join(body), "float16[1,16,16,16] x", outputs)


@given(random_graphs())
@settings(max_examples=200, deadline=None)
def test_any_graph_becomes_kernels_that_can_run_in_order(made: onnx.ModelProto) -> None:
    plan = plan_from_graph(made)
    done = [layer for kernel in plan.kernels for layer in kernel.layers]
    assert sorted(done) == sorted(node.name for node in made.graph.node)
    known = {"x"}
    for kernel in plan.kernels:
        assert {tensor.name for tensor in kernel.inputs} <= known
        known |= {tensor.name for tensor in kernel.outputs}
    assert {value.name for value in made.graph.output} <= known
    assert plan.flops == sum(math_of(TypedGraph(made).graph).flops.values())


def measures(plan: Plan) -> tuple[float, float, float]:
    """Kernels, bytes of activations, and predicted milliseconds on an Orin."""
    moved = sum(kernel.distinct_traffic for kernel in plan.working)
    return len(plan.working), moved, run_ms(Work.of(plan.working), 0, conditions("orin"), calibration().constants)


def compare(real: Plan, graph: onnx.ModelProto) -> list[float]:
    """How far a guess is off, relative: kernels, bytes, milliseconds."""
    pairs = zip(measures(plan_from_graph(graph)), measures(real), strict=True)
    return [abs(guessed / made - 1) for guessed, made in pairs]


def test_a_small_network_as_compiled(gpu_workspace: Path) -> None:
    require("tensorrt_rtx")
    folder = gpu_workspace / "engines" / "b0-seg.rtx-sm80.fp16"
    assert max(compare(read_plan(folder), load_graph(folder / "model.onnx"))) < 0.02


def traced(name: str, resolution: tuple[int, int], output: str) -> onnx.ModelProto:
    """A model's typed graph."""
    spec = find_model(name)
    make = {
        "plain": partial(graphs.plain_graph, spec, resolution),
        "masks": partial(graphs.decoder_graph, spec, Fixed(1, POINTS)),
        "plain masks": partial(graphs.plain_decoder_graph, spec),
    }
    return make.get(output, partial(graphs.whole_graph, spec, resolution, output, 1))()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "resolution", "output"),
    [
        ("b1-cls", (224, 224), "logits"), ("l1-cls", (224, 224), "plain"), ("b1-seg", (1024, 2048), "classes"),
        ("b1-seg", (1024, 2048), "plain"), ("b2-seg-ade20k", (512, 512), "confidence"),
        ("l1-seg-ade20k", (512, 512), "classes"), ("l0-sam", (512, 512), "embedding"), ("l0-sam", (512, 512), "plain"),
        ("l0-sam", (512, 512), "masks"),
    ],
)  # fmt: skip
def test_models_as_compiled(name: str, resolution: tuple[int, int], output: str) -> None:
    """Larger ones are in the table of docs/prediction.md, by tools/fusion_table.py."""
    require("tensorrt_rtx")
    graph = traced(name, resolution, output)
    kernels, moved, ms = compare(plan_of(graph)[0], graph)
    assert kernels < 0.1
    assert moved < 0.05
    assert ms < 0.04


@pytest.mark.slow
def test_the_weak_spot_is_the_reference_s_mask_decoder() -> None:
    """TensorRT makes products of one input together; the rules do not, and find a quarter too many kernels."""
    require("tensorrt_rtx")
    graph = traced("l0-sam", (512, 512), "plain masks")
    kernels, moved, ms = compare(plan_of(graph)[0], graph)
    assert kernels < 0.25
    assert moved < 0.05
    assert ms < 0.12
