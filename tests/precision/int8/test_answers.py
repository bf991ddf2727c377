# SPDX-License-Identifier: Apache-2.0
"""A judge's scores, beside the same computed by other means."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from evit_deploy.data.classes import IGNORE
from evit_deploy.data.metrics import ConfusionMatrix
from evit_deploy.errors import CheckFailedError, UsageError
from evit_deploy.precision.int8 import answers
from evit_deploy.precision.int8.answers import Judge
from evit_deploy.precision.int8.curve import Goal
from evit_deploy.precision.int8.journal import Journal
from evit_deploy.precision.int8.layers import find_layers
from evit_deploy.precision.int8.place import place
from evit_deploy.precision.int8.search import search
from tests.precision.int8.doubles import PricedOracle
from tests.precision.int8.graphs import CLASSES, LAYERS, SIDE, images
from tests.precision.typed import run

COARSE = {"stem.act": 0.2, "expand.act": 0.3, "depth.act": 0.2, "both": 0.25}
FRAMES = 6


class Frames:
    """Feeds, with labels where there are any; counts how often one was read."""

    def __init__(self, feeds: Sequence[dict[str, np.ndarray]], labels: Sequence[np.ndarray] | None = None) -> None:
        self.feeds, self.known, self.read = feeds, labels, 0

    def __len__(self) -> int:
        return len(self.feeds)

    def __iter__(self) -> Iterator[dict[str, np.ndarray]]:
        for feed in self.feeds:
            self.read += 1
            yield feed

    def labels(self, index: int) -> np.ndarray | None:
        return None if self.known is None else self.known[index]


def outputs(model: onnx.ModelProto, frames: Frames, layers: Sequence[str] = ()) -> list[np.ndarray]:
    """First output for each frame, every node as it stands."""
    graph = place(model, layers, COARSE) if layers else model
    return [run(graph, "ORT_DISABLE_ALL", **feed)[0][0] for feed in frames.feeds]


def relative_errors(exact: Sequence[np.ndarray], found: Sequence[np.ndarray]) -> float:
    return float(np.mean([np.linalg.norm(b - a) / np.linalg.norm(a) for a, b in zip(exact, found, strict=True)]))


def shares_of_equal(exact: Sequence[np.ndarray], found: Sequence[np.ndarray]) -> float:
    return float(np.mean([(a.argmax(0) == b.argmax(0)).mean() for a, b in zip(exact, found, strict=True)]))


@pytest.fixture
def frames() -> Frames:
    """Frames for the network in miniature."""
    return Frames(images(FRAMES))


@pytest.fixture
def labels() -> list[np.ndarray]:
    """Labels of twice its size; some are not judged."""
    draw = np.random.default_rng(5)
    maps = [draw.integers(0, CLASSES, (2 * SIDE, 2 * SIDE)).astype(np.uint8) for _ in range(FRAMES)]
    for one in maps:
        one[:4] = IGNORE
    return maps


@pytest.mark.parametrize("layers", [LAYERS, LAYERS[:1], LAYERS[3:]])
def test_expected_miou(toy: onnx.ModelProto, frames: Frames, layers: tuple[str, ...]) -> None:
    score = Judge(toy, COARSE, frames, "seg")(frozenset(layers))
    exact, found = outputs(toy, frames), outputs(toy, frames, layers)
    counts = np.zeros((2, CLASSES, CLASSES))
    for ours, theirs in zip(exact, found, strict=True):
        odds = np.exp(ours) / np.exp(ours).sum(axis=0)
        for which, logits in enumerate((ours, theirs)):
            for number in range(CLASSES):
                counts[which, :, number] += odds[:, logits.argmax(0) == number].sum(axis=1)
    iou = [np.diag(one) / (one.sum(0) + one.sum(1) - np.diag(one)) for one in counts]
    assert score.drop == pytest.approx(100 * (iou[0].mean() - iou[1].mean()), abs=1e-3)
    assert abs(score.drop) > 0.01
    assert score.agreement == pytest.approx(shares_of_equal(exact, found), abs=1e-3)
    assert score.error == pytest.approx(relative_errors(exact, found), rel=1e-3)
    assert (score.frames, score.spread > 0) == (FRAMES, True)


def test_miou_against_labels(toy: onnx.ModelProto, labels: list[np.ndarray]) -> None:
    frames = Frames(images(FRAMES), labels)
    score = Judge(toy, COARSE, frames, "seg")(frozenset(LAYERS))
    points = []
    for answer in (outputs(toy, frames), outputs(toy, frames, LAYERS)):
        matrix = ConfusionMatrix(CLASSES)
        for logits, truth in zip(answer, labels, strict=True):
            matrix.update(logits.argmax(0), truth[1::2, 1::2])
        points.append(100 * matrix.mean_iou())
    assert score.drop == pytest.approx(points[0] - points[1], abs=1e-2)


def test_nothing_in_int8_loses_nothing(toy: onnx.ModelProto, frames: Frames) -> None:
    score = Judge(toy, COARSE, frames, "seg")(frozenset())
    assert (score.drop, score.agreement, score.error, score.spread) == (0.0, 1.0, 0.0, 0.0)


def test_top1_by_expectation(toy: onnx.ModelProto, frames: Frames) -> None:
    model = with_output(toy, "logits", ("GlobalAveragePool", "Flatten"))
    score = Judge(model, COARSE, frames, "cls")(frozenset(LAYERS))
    exact, found = outputs(model, frames), outputs(model, frames, LAYERS)
    odds = [np.exp(one) / np.exp(one).sum() for one in exact]
    lost = [p[a.argmax()] - p[b.argmax()] for p, a, b in zip(odds, exact, found, strict=True)]
    assert score.drop == pytest.approx(100 * np.mean(lost), abs=1e-4)
    assert score.agreement == pytest.approx(shares_of_equal(exact, found))
    assert score.error == pytest.approx(relative_errors(exact, found), rel=1e-3)


def test_encoders_by_their_masks(toy: onnx.ModelProto, frames: Frames) -> None:
    model = with_output(toy, "embedding", ("Identity",))
    score = Judge(model, COARSE, frames, "sam", masks=lambda embedding: embedding > 0.3)(frozenset(LAYERS))
    overlaps = []
    for a, b in zip(outputs(model, frames), outputs(model, frames, LAYERS), strict=True):
        for ours, theirs in zip(a > 0.3, b > 0.3, strict=True):
            either = (ours | theirs).sum()
            overlaps.append((ours & theirs).sum() / either if either else 1.0)
    assert score.agreement == pytest.approx(np.mean(overlaps), abs=1e-3)
    assert score.drop == pytest.approx(100 * (1 - score.agreement))
    assert score.drop > 0


def with_output(model: onnx.ModelProto, name: str, kinds: tuple[str, ...]) -> onnx.ModelProto:
    """The network with some operators behind what were its logits; the last gives a tensor of a name."""
    result = onnx.ModelProto()
    result.CopyFrom(model)
    result.graph.node[-1].output[0] = tensor = "maps"
    for kind in kinds:
        made = name if kind == kinds[-1] else f"{tensor}.{kind}"
        result.graph.node.append(helper.make_node(kind, [tensor], [made], name=made))
        tensor = made
    del result.graph.output[:]
    shape = [1, CLASSES] if "Flatten" in kinds else [1, CLASSES, SIDE, SIDE]
    result.graph.output.append(helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape))
    return result


def test_the_first_frames_only(toy: onnx.ModelProto, frames: Frames) -> None:
    judge = Judge(toy, COARSE, frames, "seg")
    few = judge(frozenset(LAYERS), 2)
    assert (few.frames, frames.read) == (2, 2)
    assert few == Judge(toy, COARSE, Frames(frames.feeds[:2]), "seg")(frozenset(LAYERS))
    assert judge(frozenset(LAYERS)).frames == FRAMES
    assert judge(frozenset(LAYERS), 2) == few
    assert judge(frozenset(LAYERS), 100).frames == FRAMES


@pytest.mark.parametrize("task", ["seg", "sam"])
def test_frames_that_do_not_fit_into_memory_are_read_again(
    toy: onnx.ModelProto, task: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = with_output(toy, "embedding", ("Identity",)) if task == "sam" else toy
    scores, read = [], []
    for room in (1 << 30, 20_000, 0):
        monkeypatch.setattr(answers, "MEMORY", room)
        frames = Frames(images(FRAMES))
        judge = Judge(model, COARSE, frames, task, masks=lambda embedding: embedding > 0)
        scores.append([judge(frozenset(LAYERS)), judge(frozenset(LAYERS[:2])), judge(frozenset(LAYERS))])
        read.append(frames.read)
    assert scores[0] == scores[1] == scores[2]
    assert scores[0][0] == scores[0][2]
    assert read == [FRAMES, 3 * FRAMES, 3 * FRAMES]


def test_an_fp32_graph_that_is_broken_is_said(toy: onnx.ModelProto) -> None:
    feeds = images(2)
    feeds[1]["image"][:] = np.nan
    with pytest.raises(CheckFailedError, match="the FP32 graph itself is not finite"):
        Judge(toy, COARSE, Frames(feeds), "seg")(frozenset(LAYERS))


def test_layers_that_may_not_be_int8_are_refused(toy: onnx.ModelProto, frames: Frames) -> None:
    with pytest.raises(UsageError, match="a layer cannot be INT8"):
        Judge(toy, COARSE, frames, "seg")(frozenset({"last"}))


def test_a_real_network_is_searched(arranged: onnx.ModelProto, feed: dict[str, np.ndarray], tmp_path: Path) -> None:
    """b0-seg ends in a class map; it is judged by the logits before that. Steps are too coarse for some layers."""
    layers = find_layers(arranged)[:6]
    scales = {layer.source: 1.0 if index == 3 else 0.05 for index, layer in enumerate(layers)}
    judge = Judge(arranged, scales, Frames([feed]), "seg")
    oracle = PricedOracle(layers, [0.5] * 6)
    every = judge(frozenset(layer.name for layer in layers))
    alone = judge(frozenset({layers[3].name}))
    assert every.error > alone.error / 2 > 0.01
    goal = Goal(100.0, alone.error / 2)
    outcome = search(layers, oracle, judge, goal, journal=Journal(tmp_path / "journal.jsonl", "key"))
    assert outcome.chosen is not None
    assert layers[3].name not in outcome.chosen.layers
    assert 0 < outcome.chosen.score.error <= goal.max_error
