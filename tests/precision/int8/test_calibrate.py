# SPDX-License-Identifier: Apache-2.0
"""Calibration as a whole: streamed, kept, resumed, and honest about what it was given."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from evit_deploy.errors import CheckFailedError, UsageError
from evit_deploy.precision.int8 import calibrate as calibration
from evit_deploy.precision.int8.calibrate import calibrate
from evit_deploy.precision.int8.clip import METHODS
from evit_deploy.precision.int8.observe import STRIDE, Observer
from tests.precision.int8.graphs import SOURCES, images
from tests.precision.typed import run

TENSORS = tuple(dict.fromkeys(SOURCES.values()))


def activations(model: onnx.ModelProto, feed: dict) -> dict[str, np.ndarray]:
    shown = onnx.ModelProto()
    shown.CopyFrom(model)
    del shown.graph.output[:]
    shown.graph.output.extend(onnx.ValueInfoProto(name=name) for name in TENSORS)
    return dict(zip(TENSORS, run(shown, **feed), strict=True))


def test_an_observer_sees_the_largest_value_and_a_sample(toy: onnx.ModelProto) -> None:
    feed = images(1)[0]
    truth, observer = activations(toy, feed), Observer(toy, TENSORS)
    for number in (0, 6, 21):
        row, column = divmod(number % STRIDE**2, STRIDE)
        for name, seen in zip(TENSORS, observer.look(feed, number), strict=True):
            assert seen.largest == pytest.approx(np.abs(truth[name]).max(), rel=1e-6)
            np.testing.assert_allclose(
                seen.values, truth[name][:, :, row::STRIDE, column::STRIDE], rtol=1e-5, atol=1e-6
            )


def test_sixteen_frames_see_every_place(toy: onnx.ModelProto) -> None:
    feed, observer = images(1)[0], Observer(toy, TENSORS)
    sizes = [sum(observer.look(feed, number)[0].values.size for number in range(STRIDE**2))]
    assert sizes == [activations(toy, feed)[TENSORS[0]].size]


@pytest.mark.parametrize("method", METHODS)
def test_scales_cover_what_was_seen(toy: onnx.ModelProto, method: str) -> None:
    found = calibrate(toy, TENSORS, images(4), method=method, total=4)
    largest = {name: max(np.abs(activations(toy, feed)[name]).max() for feed in images(4)) for name in TENSORS}
    assert set(found.scales) == set(found.methods) == set(found.errors) == set(TENSORS) and found.images == 4
    for name in TENSORS:
        assert 0 < found.scales[name] * 127 <= largest[name] * (1 + 1e-6)
        if found.methods[name] == "min-max":
            assert found.scales[name] * 127 == pytest.approx(largest[name], rel=1e-6)
    assert method == "auto" or set(found.methods.values()) == {method}


def test_what_was_finished_is_not_made_again(toy: onnx.ModelProto, tmp_path: Path) -> None:
    store = tmp_path / "new" / "state.npz"
    first = calibrate(toy, TENSORS, images(4), total=4, store=store, key="k")

    def never() -> Iterator[dict]:
        raise AssertionError("a frame was read")
        yield {}

    assert calibrate(toy, TENSORS, never(), total=4, store=store, key="k") == first


@pytest.mark.parametrize("stopped", [1, 2, 3, 5])
def test_an_interrupted_calibration_goes_on_to_the_same_scales(
    toy: onnx.ModelProto, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stopped: int
) -> None:
    monkeypatch.setattr(calibration, "EVERY", -1.0)  # every frame is kept
    whole = calibrate(toy, TENSORS, images(6), total=6, key="k")
    store, read = tmp_path / "state.npz", []

    def broken() -> Iterator[dict]:
        yield from images(6)[:stopped]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        calibrate(toy, TENSORS, broken(), total=6, store=store, key="k")

    @contextmanager
    def progress(name: str, total: int | None = None) -> Iterator[object]:
        read.append(total)
        yield type("Step", (), {"advance": lambda self: None})()

    assert calibrate(toy, TENSORS, images(6), total=6, store=store, key="k", progress=progress) == whole
    assert read == [6 - stopped]


def test_a_tensor_that_is_always_zero(toy: onnx.ModelProto) -> None:
    for tensor in toy.graph.initializer:
        if tensor.name == "expand.w":
            tensor.CopyFrom(numpy_helper.from_array(np.zeros(tensor.dims, np.float32), tensor.name))
    found = calibrate(toy, TENSORS, images(2), total=2)
    assert found.methods["expand.act"] == "zero" and found.scales["expand.act"] == 1.0
    assert any("zero on every frame" in words and "expand.act" in words for words in found.warnings)
    assert "expand.act" not in found.errors


def test_values_that_are_not_finite_end_it(toy: onnx.ModelProto) -> None:
    feed = {"image": np.full((1, 3, 16, 16), np.nan, np.float32)}
    with pytest.raises(CheckFailedError, match="not finite on frame 3"):
        calibrate(toy, TENSORS, [*images(2), feed], total=3)


def test_no_frames_and_no_method(toy: onnx.ModelProto) -> None:
    with pytest.raises(UsageError, match="no frames"):
        calibrate(toy, TENSORS, [])
    with pytest.raises(UsageError, match="no calibration 'guess'"):
        calibrate(toy, TENSORS, images(1), method="guess")


def test_too_few_frames_are_said_with_a_number(toy: onnx.ModelProto) -> None:
    """The second half is ten times as bright as the first: half of the frames say something else than all."""
    bright = [{"image": 10 * feed["image"]} for feed in images(4)]
    found = calibrate(toy, TENSORS, [*images(4), *bright], total=8)
    assert [words for words in found.warnings if "too few" in words and "%" in words]
    assert not calibrate(toy, TENSORS, images(16), total=16, method="percentile").warnings


def test_memory_does_not_grow_with_the_frames(toy: onnx.ModelProto) -> None:
    """Frames are asked for one by one, and none is held."""
    alive: set[int] = set()

    class Feed(dict):
        def __init__(self, number: int) -> None:
            super().__init__(images(1, seed=number)[0])
            self.number = number
            alive.add(number)

        def __del__(self) -> None:
            alive.discard(self.number)

    most = 0

    def stream() -> Iterator[dict]:
        nonlocal most
        for number in itertools.count():
            if number == 40:
                return
            yield Feed(number)
            most = max(most, len(alive))

    assert calibrate(toy, TENSORS, stream()).images == 40
    assert most <= 2
