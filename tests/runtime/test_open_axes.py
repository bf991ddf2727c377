# SPDX-License-Identifier: Apache-2.0
"""Engines whose inputs are open in several axes: a mask decoder on a CPU, for any prompts, slots and masks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evit_deploy.engines import build_engine
from evit_deploy.errors import UsageError
from evit_deploy.manifest import GraphInfo, TensorInfo, read_artifact
from evit_deploy.runtime import open_engine
from evit_deploy.runtime.backends import BUFFER_SETS, BufferSets
from evit_deploy.runtime.shapes import batch_of, fits, shown
from tests.engines.toy_sam import write_toy
from tests.precision.toy_graphs import toy_decoder
from tests.precision.typed import run


@pytest.fixture(scope="module", params=["onnxruntime", "openvino"])
def decoder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory):
    folder: Path = tmp_path_factory.mktemp("open")
    write_toy(folder / "export")
    build_engine(folder / "export" / "decoder", folder / "engine", target="cpu", compiler=request.param)
    with open_engine(folder / "engine", read_artifact(folder / "engine"), threads=1) as engine:
        yield engine


def feed(prompts: int, slots: int, masks: int, seed: int = 0) -> dict[str, np.ndarray]:
    draw = np.random.default_rng(seed)
    return {
        "coords": draw.uniform(0, 1024, (prompts, slots, 2)).astype(np.float32),
        "labels": draw.integers(-2, 4, (prompts, slots)).astype(np.int32),
        "embedding": draw.standard_normal((1, 256, 64, 64), np.float32),
        "mask": draw.standard_normal((masks, 1, 256, 256), np.float32),
        "has_mask": np.ones(masks, np.float32),
    }


def check(decoder, inputs: dict[str, np.ndarray]) -> None:
    found = decoder.infer(inputs)
    assert list(found) == ["masks", "iou", "single_mask", "single_iou"]
    for one, other in zip(found.values(), run(toy_decoder(), **inputs), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)


def test_sizes_come_and_go(decoder):
    """More shapes than buffers are kept for, some of them again, each with other values."""
    for seed, (prompts, slots, shared) in enumerate(
        [(1, 3, 1), (4, 2, 1), (4, 2, 0), (1, 3, 1), (2, 7, 1), (3, 1, 0), (1, 1, 1), (4, 2, 1), (2, 7, 0)]
    ):
        check(decoder, feed(prompts, slots, 1 if shared else prompts, seed))


@settings(max_examples=10, deadline=None)
@given(prompts=st.integers(1, 6), slots=st.integers(1, 6), shared=st.booleans(), seed=st.integers(0, 99))
def test_any_sizes(decoder, prompts, slots, shared, seed):
    check(decoder, feed(prompts, slots, 1 if shared else prompts, seed))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"labels": np.ones((2, 3), np.int32)}, "'coords' and 'labels' do not belong together"),
        ({"labels": np.ones((4, 2), np.int32)}, "'coords' and 'labels' do not belong together"),
        ({"mask": np.zeros((2, 1, 256, 256), np.float32)}, "'coords' and 'mask' do not belong together"),
        ({"has_mask": np.zeros(4, np.float32)}, "'mask' and 'has_mask' do not belong together"),
        ({"coords": np.zeros((65, 3, 2), np.float32)}, "'coords' does not fit"),
        ({"coords": np.zeros((0, 3, 2), np.float32)}, "'coords' does not fit"),
        ({"coords": np.zeros((4, 0, 2), np.float32)}, "'coords' does not fit"),
        ({"coords": np.zeros((4, 3, 3), np.float32)}, "'coords' does not fit"),
        ({"embedding": np.zeros((4, 256, 64, 64), np.float32)}, "'embedding' does not fit"),
    ],
)
def test_what_does_not_fit_is_refused_before_it_runs(decoder, changes, words):
    with pytest.raises(UsageError, match=words):
        decoder.infer({**feed(4, 3, 1), **changes})


def test_an_input_that_is_open_in_two_axes_has_no_buffer(decoder):
    with pytest.raises(UsageError, match="'coords' of batch 2"):
        decoder.input_buffer("coords", 2)
    assert decoder.input_buffer("has_mask", 3).shape == (3,)
    assert decoder.input_buffer("embedding", 3).shape == (1, 256, 64, 64)


def test_few_sets_of_buffers_are_kept():
    made: list[tuple[int, ...]] = []

    def make(inputs):
        made.append(inputs["x"].shape)
        return object()

    sets = BufferSets(make)
    first = sets.of({"x": np.zeros(1)})
    for size in range(2, BUFFER_SETS + 1):
        sets.of({"x": np.zeros(size)})
    assert sets.of({"x": np.ones(1)}) is first  # and so it is the one that was used last
    sets.of({"x": np.zeros(BUFFER_SETS + 1)})
    assert sets.of({"x": np.zeros(1)}) is first
    assert made == [(size,) for size in range(1, BUFFER_SETS + 2)]
    sets.clear()
    assert sets.of({"x": np.zeros(1)}) is not first


def test_shapes_in_words():
    tensor = TensorInfo("coords", "float32", (-1, -1, 2))
    assert shown(tensor, (1, 64)) == "float32 [1..64, any, 2]"
    assert fits(tensor, (1, 64), (64, 9, 2)) and not fits(tensor, (1, 64), (65, 9, 2))
    assert not fits(tensor, (1, 64), (4, 2))
    fixed = TensorInfo("embedding", "float16", (1, 256))
    assert fits(fixed, (8, 8), (1, 256)) and not fits(fixed, (8, 8), (8, 256))


def test_the_batch_is_of_what_is_open():
    inputs = (TensorInfo("embedding", "float32", (1, 4)), TensorInfo("coords", "float32", (-1, -1, 2)))
    graph = GraphInfo("g", 17, "fp32", (1, 1), (1, 64), "prompts", "masks", inputs, ())
    assert batch_of(graph, {"embedding": np.zeros((1, 4)), "coords": np.zeros((7, 2, 2))}) == 7
