# SPDX-License-Identifier: Apache-2.0
"""The attention in every arrangement: equal to the definition in FP32, and finite and exact in FP16 up to its bound."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from evit_deploy.errors import ArtifactError
from evit_deploy.export.rewrite import ATTENTION_BOUND, LIFT, TokenScale
from evit_deploy.precision.attention import FORMS, AttentionForm, arrange_attention, find_blocks
from evit_deploy.precision.emulate import emulate
from evit_deploy.precision.graph import GraphView
from evit_deploy.precision.merging import merge_aggregation
from tests.precision.attention_graphs import (
    as_input,
    attention_graph,
    exact_attention,
    typed_attention,
    unpack,
)

RNG = np.random.default_rng(0)
ALL_FORMS = pytest.mark.parametrize("form", FORMS)


def run(model, x):
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})[0]


def emulated(form, q, k, v, size):
    """The typed module's output under the faithful emulation, and whether every tensor inside is finite."""
    heads, dim = q.shape[1:]
    graph = emulate(typed_attention(form, heads, dim, size))
    inner = [node.output[0] for node in graph.graph.node if node.op_type != "Cast" and node.output[0] != "y"]
    kept = [name for name in inner if "Greater" not in name]
    del graph.graph.output[1:]
    graph.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in kept)
    session = ort.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    with np.errstate(over="ignore"):
        values = session.run(None, {"x": as_input(q, k, v, size).astype(np.float16)})
    finite = all(np.isfinite(value).all() for value in values)
    return unpack(values[0].astype(np.float64), heads, dim), finite


def relative(found, expected):
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


def rounding_alone(q, k, v):
    """What rounding the inputs and the output to FP16 costs by itself, against the exact answer."""
    with np.errstate(over="ignore"):
        rounded = [np.asarray(x, np.float16).astype(np.float64) for x in (q, k, v)]
    return relative(exact_attention(*rounded).astype(np.float16).astype(np.float64), exact_attention(q, k, v))


def activations(tokens, heads, dim, scales=(1.0, 1.0, 1.0)):
    return [scale * RNG.standard_normal((tokens, heads, dim)) for scale in scales]


@ALL_FORMS
@pytest.mark.parametrize("scales", [(1, 1, 1), (200, 200, 200), (3e-3, 3e-3, 1), (1e-4, 1e3, 1e-3)])
@pytest.mark.parametrize(("size", "dim"), [((7, 7), 16), ((12, 20), 32)])
def test_fp32_equals_the_definition(form, scales, size, dim):
    q, k, v = activations(size[0] * size[1], 2, dim, scales)
    found = unpack(run(attention_graph(form, 2, dim, size), as_input(q, k, v, size)), 2, dim)
    assert relative(found, exact_attention(q, k, v)) < 1e-5


@ALL_FORMS
@pytest.mark.parametrize("case", ["plain", "large", "small", "shifted", "channels", "tiny v"])
@pytest.mark.parametrize(("size", "dim"), [((7, 7), 16), ((64, 128), 16), ((32, 64), 32)])
def test_fp16_costs_at_most_twice_the_rounding(form, case, size, dim):
    scales = {"large": (200, 200, 200), "small": (3e-3, 3e-3, 1), "tiny v": (1, 1, 1e-3)}.get(case, (1, 1, 1))
    q, k, v = (x.clip(-ATTENTION_BOUND, ATTENTION_BOUND) for x in activations(size[0] * size[1], 2, dim, scales))
    if case == "shifted":
        q, k, v = q + 3, k + 3, v + 3
    if case == "channels":  # channels of very different size
        q, k, v = (x * np.exp(RNG.standard_normal((1, 2, dim)) * 2) for x in (q, k, v))
    found, finite = emulated(form, q, k, v, size)
    assert finite
    assert relative(found, exact_attention(q, k, v)) < 2 * rounding_alone(q, k, v)


@ALL_FORMS
@pytest.mark.parametrize("dim", [16, 32])
def test_everything_at_the_bound_and_many_tokens(form, dim):
    size = (128, 256)  # 32,768 tokens
    signs = np.sign(RNG.standard_normal((size[0] * size[1], 1, dim)))
    for q, k, v in (
        [np.full((size[0] * size[1], 1, dim), ATTENTION_BOUND)] * 3,
        [ATTENTION_BOUND * np.ones_like(signs), ATTENTION_BOUND * np.ones_like(signs), ATTENTION_BOUND * signs],
    ):
        found, finite = emulated(form, q, k, v, size)
        assert finite
        assert np.abs(found).max() <= ATTENTION_BOUND * 1.001
        assert relative(found, exact_attention(q, k, v)) < 0.02  # signs cancel to almost nothing


@ALL_FORMS
def test_zero_heads_and_spikes_and_tiny_normalisers(form):
    size, heads, dim = (64, 64), 4, 16
    q, k, v = activations(size[0] * size[1], heads, dim)
    q[:, 0] = 0  # a head that asks nothing
    k[:, 1] = -1  # one that answers nothing
    k[:, 2] = np.where(RNG.random(k[:, 2].shape) < 1e-3, ATTENTION_BOUND, 0)  # sparse spikes
    q[:, 3], k[:, 3] = 1e-4 * q[:, 3], 1e-4 * k[:, 3]  # a normaliser far below FP16's range
    found, finite = emulated(form, q, k, v, size)
    expected = exact_attention(q, k, v)
    assert finite
    assert not found[:, :2].any()
    assert relative(found[:, 2], expected[:, 2]) < 1e-3
    assert relative(found[:, 3], expected[:, 3]) < 5e-2  # q and k have 10 bits less themselves


@settings(max_examples=40, deadline=None)
@given(
    form=st.sampled_from(list(FORMS)),
    size=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    logs=st.tuples(*[st.floats(-4, 3)] * 3),
    spread=st.floats(0, 2),
    sparsity=st.floats(0, 0.99),
    seed=st.integers(0, 2**16),
)
def test_nothing_within_the_bound_leaves_fp16(form, size, logs, spread, sparsity, seed):
    rng = np.random.default_rng(seed)
    shape = (size[0] * size[1], 2, 16)
    q, k, v = (
        (rng.standard_normal(shape) * 10.0**log * np.exp(spread * rng.standard_normal(shape))).clip(-1000, 1000)
        * (rng.random(shape) >= sparsity)
        for log in logs
    )
    found, finite = emulated(form, q, k, v, size)
    assert finite
    assert np.abs(found).max(initial=0) <= np.abs(v).max() * 1.01 + 1e-6  # an average of averages of v


@given(st.integers(1, 2**17))
def test_token_scale_is_exact_in_fp16(tokens):
    scale = TokenScale.of(tokens)
    assert scale.weight == float(np.float16(scale.weight)) > 0
    assert scale.shift == float(np.float16(scale.shift)) <= 1
    assert 0.5 <= scale.filled == float(np.float16(scale.filled)) <= 1
    assert tokens / scale.filled * scale.shift <= 2**15 * 1.001  # k / (mean · filled) stays in range
    assert tokens * scale.weight * scale.shift == pytest.approx(LIFT * scale.filled / scale.correction)
    assert scale.correction == pytest.approx(1, abs=2**-11)


def test_merging_the_aggregation():
    torch.manual_seed(0)
    depthwise, mixing = (
        nn.Conv2d(24, 24, 5, padding=2, groups=24, bias=False),
        nn.Conv2d(24, 24, 1, groups=3, bias=False),
    )
    merged = nn.Conv2d(24, 24, 5, padding=2, groups=3, bias=False)
    x = torch.randn(1, 24, 9, 7)
    with torch.no_grad():
        merged.weight.copy_(torch.from_numpy(merge_aggregation(depthwise.weight.numpy(), mixing.weight.numpy())))
        torch.testing.assert_close(merged(x), mixing(depthwise(x)), atol=1e-6, rtol=1e-5)


def test_a_foreign_module_is_refused():
    model = attention_graph("matmul", 1, 16, (4, 4))
    for node in model.graph.node:
        node.name = f"stage.context_module.main.{node.op_type}"
    with pytest.raises(ArtifactError, match="not an attention module") as caught:
        find_blocks(GraphView(model))
    assert "2 convolutions and 2 sums" in str(caught.value.found)


@pytest.mark.parametrize("product", ["conv", "matmul"])
@pytest.mark.parametrize("dense", [True, False])
def test_every_arrangement_of_a_real_model(product, dense, tensor_exports):
    """Both products, heads at once or one by one, on a whole network, at batch 1 and with an open batch."""
    for batch, model in tensor_exports.items():
        arranged = onnx.ModelProto()
        arranged.CopyFrom(model)
        view = GraphView(arranged)
        arrange_attention(view, AttentionForm(product, dense))
        arranged = view.finish()
        onnx.checker.check_model(arranged, full_check=True)
        x = RNG.standard_normal((batch, 3, 64, 96)).astype(np.float32)
        expected, found = (
            ort.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, {"image": x})
            for graph in (model, arranged)
        )
        assert relative(found[0], expected[0].astype(np.float64)) < 1e-5
