# SPDX-License-Identifier: Apache-2.0
"""The exported mask decoder equals PyTorch's for every kind of prompt, and what must not matter does not."""

from __future__ import annotations

import functools

import numpy as np
import onnx
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from evit_deploy.errors import UsageError
from evit_deploy.export.reference import settle_vector_library
from evit_deploy.export.sam.algebra import Stack, power_of_two, weights
from evit_deploy.export.sam.decoder import INPUTS, OUTPUTS, PIXELS, trace_decoder
from evit_deploy.export.sam.masks import CameraPixels
from tests.export.sam_prompts import MASK, answer, feed, open_graph, pack, relative_l2, torch_answer
from tests.sam import RULES, golden, golden_model, structured_model

POINT = np.array([[[310.0, 420.0]]], np.float32)
POINTS = np.array([[[310.0, 420.0], [80.5, 900.25]], [[5.0, 5.0], [1023.0, 0.0]]], np.float32)
POINT_LABELS = np.array([[1, 0], [0, 1]], np.int32)
BOX = np.array([[100.0, 50.0, 900.0, 700.0], [0.0, 0.0, 512.0, 1024.0]], np.float32)


@functools.cache
def graph(frame: tuple[int, int] | None = None, structured: bool = False) -> onnx.ModelProto:
    settle_vector_library()
    return trace_decoder(structured_model() if structured else golden_model(), frame)


@functools.cache
def session():
    return open_graph(graph())


def check(found, expected):
    assert relative_l2(found[0], expected[0]) < 1e-5
    np.testing.assert_allclose(found[1], expected[1], atol=1e-5)


def test_signature_is_open_in_prompts_slots_and_maps():
    shapes = {
        value.name: [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*graph().graph.input, *graph().graph.output)
    }
    assert list(shapes) == [*INPUTS, *OUTPUTS]
    assert shapes == {
        "coords": ["prompts", "slots", 2], "labels": ["prompts", "slots"], "embedding": [1, 256, 64, 64],
        "mask": ["maps", 1, 256, 256], "has_mask": ["maps"],
        "masks": ["prompts", 3, 256, 256], "iou": ["prompts", 3],
        "single_mask": ["prompts", 1, 256, 256], "single_iou": ["prompts", 1],
    }  # fmt: skip


def test_graph_needs_no_arithmetic_on_shapes():
    """Open sizes and all: nothing but the operators of the network, each named after its module."""
    kinds = {node.op_type for node in graph().graph.node}
    assert not kinds & {"Shape", "Expand", "ConstantOfShape", "Range", "Tile", "If", "Loop", "ConvTranspose", "Resize"}
    assert all(not node.name[-1].isdigit() or "." in node.name or "_" in node.name for node in graph().graph.node)
    assert any(node.name.startswith("prompt.point_encoding.") for node in graph().graph.node)


@pytest.mark.parametrize("name", ["point", "box", "points", "mixed"])
def test_equals_the_golden_data(name):
    file, atol = golden("sam-decoder"), RULES["decoder"]["atol"]
    part = {key: file.get(f"{name}.{key}") for key in ("coords", "labels", "box")}
    masks, iou = answer(session(), feed(pack(**part), MASK if name == "mixed" else None))
    for kind, rows in (("multi", slice(1, 4)), ("single", slice(0, 1))):
        step = file[f"{name}.{kind}.masks.step"]
        np.testing.assert_allclose(
            masks[:, rows, :: step[2], :: step[3]], file[f"{name}.{kind}.masks"], rtol=1e-5, atol=atol["masks"]
        )
        np.testing.assert_allclose(iou[:, rows], file[f"{name}.{kind}.iou"], rtol=1e-5, atol=atol["iou"])


@pytest.mark.parametrize(
    "prompt",
    [
        {"coords": POINT, "labels": np.ones((1, 1), np.int32)},
        {"coords": POINTS, "labels": POINT_LABELS},
        {"box": BOX},
        {"coords": POINTS, "labels": POINT_LABELS, "box": BOX},
    ],
    ids=["point", "points", "box", "points and box"],
)
@pytest.mark.parametrize("maps", [0, 1, "P"])
def test_equals_pytorch(prompt, maps):
    count = len(next(iter(prompt.values())))
    mask = None if maps == 0 else np.repeat(MASK, 1 if maps == 1 else count, axis=0)
    if maps == "P":
        mask = mask * np.linspace(-1, 3, count, dtype=np.float32)[:, None, None, None]
    check(answer(session(), feed(pack(**prompt), mask)), torch_answer(golden_model(), **prompt, mask=mask))


def test_a_mask_alone_is_a_prompt():
    """Without points there is no padding point either."""
    prompts = {"coords": np.full((1, 2, 2), np.nan, np.float32), "labels": np.full((1, 2), -2, np.int32)}
    check(answer(session(), feed(prompts, MASK)), torch_answer(golden_model(), mask=MASK))


def test_prompts_of_unequal_length_share_a_batch():
    """Also those with a mask and those without."""
    parts = [
        {"coords": POINT, "labels": np.ones((1, 1), np.int32)},
        {"coords": POINTS[:1], "labels": POINT_LABELS[:1], "box": BOX[:1]},
        {"box": BOX[1:]},
    ]
    packed = [pack(**part, slots=6) for part in parts]
    inputs = feed({key: np.concatenate([each[key] for each in packed]) for key in ("coords", "labels")})
    inputs["mask"] = np.concatenate([np.full_like(MASK, np.nan), MASK, np.full_like(MASK, np.nan)])
    inputs["has_mask"] = np.array([0, 1, 0], np.float32)
    masks, iou = answer(session(), inputs)
    for index, part in enumerate(parts):
        expected = torch_answer(golden_model(), **part, mask=MASK if index == 1 else None)
        check((masks[index : index + 1], iou[index : index + 1]), expected)


COORDINATES = st.floats(-50, 1100, width=32)
ANYTHING = st.floats(width=32, allow_nan=True, allow_infinity=True)


@st.composite
def batches(draw):
    """Prompts of unequal length, as lists of (x, y, label)."""
    point = st.tuples(COORDINATES, COORDINATES, st.sampled_from([0, 1]))
    box = st.tuples(COORDINATES, COORDINATES, COORDINATES, COORDINATES)
    prompts = []
    for _ in range(draw(st.integers(1, 3))):
        points = draw(st.lists(point, min_size=1, max_size=3))
        corners = draw(st.none() | box)
        prompts.append(points + ([(*corners[:2], 2), (*corners[2:], 3)] if corners else []))
    return prompts


def packed(prompts, slots=None):
    """Slots for lists of (x, y, label)."""
    slots = slots or max(map(len, prompts))
    empty = (np.nan, np.nan, -2)
    values = np.array([prompt + [empty] * (slots - len(prompt)) for prompt in prompts])
    return {"coords": values[..., :2].astype(np.float32), "labels": values[..., 2].astype(np.int32)}


@settings(max_examples=12, deadline=None)
@given(batches(), st.data())
def test_empty_slots_and_the_order_of_slots_change_nothing(prompts, data):
    """Whatever stands in empty slots, wherever they are."""
    expected = answer(session(), feed(packed(prompts)))
    slots = max(map(len, prompts)) + data.draw(st.integers(0, 4))
    junk = st.tuples(ANYTHING, ANYTHING, st.just(-2))
    longer = [prompt + [data.draw(junk) for _ in range(slots - len(prompt))] for prompt in prompts]
    check(answer(session(), feed(packed([data.draw(st.permutations(prompt)) for prompt in longer], slots))), expected)


@settings(max_examples=8, deadline=None)
@given(batches(), st.randoms())
def test_prompts_do_not_see_each_other(prompts, random):
    """Neither the order of a batch nor its size matters."""
    whole = packed(prompts)
    masks, iou = answer(session(), feed(whole))
    order = random.sample(range(len(prompts)), len(prompts))
    mixed_masks, mixed_iou = answer(session(), feed({key: value[order] for key, value in whole.items()}))
    check((mixed_masks, mixed_iou), (masks[order], iou[order]))
    alone = answer(session(), feed(packed(prompts[:1])))
    check(alone, (masks[:1], iou[:1]))


@pytest.mark.parametrize("frame", [(72, 128), (333, 240), (1024, 768), (30, 1500), (1, 1)])
def test_pixels_are_those_of_the_reference(frame):
    """PyTorch's two steps, whole: to 1024, cut, to the camera."""
    module = CameraPixels(frame)
    torch.manual_seed(0)
    logits = F.interpolate(torch.randn(2, 3, 24, 24), size=(256, 256), mode="bicubic")
    large = F.interpolate(logits, (1024, 1024), mode="bilinear", align_corners=False)
    height, width = (max(int(side * (1024 / max(frame)) + 0.5), 1) for side in frame)
    expected = F.interpolate(large[..., :height, :width], frame, mode="bilinear", align_corners=False) > 0
    found = module(logits)
    assert found.dtype == torch.uint8
    assert tuple(found.shape[2:]) == frame
    assert float((found.bool() != expected).float().mean()) < 1e-4  # logits that are zero up to the order of sums


def test_fused_pixels():
    """A graph with a camera's frame answers with its pixels, for each kind of mask apart."""
    with_pixels = graph((90, 160), structured=True)
    assert [value.name for value in with_pixels.graph.output] == [*OUTPUTS, *PIXELS]
    names = [*OUTPUTS, *PIXELS]
    found = dict(
        zip(names, open_graph(with_pixels).run(names, feed(packed([[(300, 200, 1)], [(700, 90, 1)]]))), strict=True)
    )
    pixels = CameraPixels((90, 160))
    for logits, mask in (("masks", "pixels"), ("single_mask", "single_pixels")):
        expected = pixels(torch.from_numpy(found[logits])).numpy()
        assert found[mask].shape == expected.shape
        assert found[mask].dtype == np.uint8
        assert 0 < expected.mean() < 1
        assert (found[mask] != expected).mean() < 1e-4


def test_a_frame_without_pixels_is_refused():
    with pytest.raises(UsageError, match="at least one pixel"):
        trace_decoder(golden_model(), (0, 640))


@settings(max_examples=20, deadline=None)
@given(st.integers(-20, 20), st.integers(0, 2**31 - 1))
def test_balancing_a_stack_changes_no_bit(exponent, seed):
    """Powers of two pass through ReLU, whatever a checkpoint did with them."""
    torch.manual_seed(seed)
    layers = [torch.nn.Linear(5, 7), torch.nn.Linear(7, 6), torch.nn.Linear(6, 3)]
    with torch.no_grad():
        for parameter in layers[0].parameters():
            parameter.mul_(2.0**exponent)
    stack = Stack([weights(layer) for layer in layers])
    x = torch.randn(1, 4, 5)
    hidden = x
    for index, layer in enumerate(layers):
        hidden = hidden @ layer.weight.T.contiguous() + layer.bias[None, None]
        hidden = hidden.relu() if index < 2 else hidden
    assert torch.equal(stack(x), hidden)
    assert torch.all((stack.weights[1].norm(dim=1) > 0.7) & (stack.weights[1].norm(dim=1) < 1.5))


def test_powers_of_two():
    found = power_of_two(torch.tensor([0.0, 1.0, 3.1, 0.3, 1e30], dtype=torch.float64))
    assert found.tolist() == [1.0, 1.0, 4.0, 0.25, 2.0**100]
