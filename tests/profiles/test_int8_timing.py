# SPDX-License-Identifier: Apache-2.0
"""What INT8 costs from two profiles: exact at both ends, honest in between, and only from profiles that fit."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))

from int8_graphs import Network

from evit_deploy.errors import UsageError
from evit_deploy.manifest import TensorInfo
from evit_deploy.precision.int8.layers import find_layers
from evit_deploy.profiles.int8_pieces import pieces_of, quantising
from evit_deploy.profiles.int8_timing import timed_oracle
from evit_deploy.profiles.latency import Latency
from evit_deploy.profiles.layer_times.record import LayerTime, LayerTimes
from evit_deploy.profiles.report import ProfileReport
from tests.manifest.sample import sample_int8
from tests.profiles.records import make_manifest, make_parts, make_report, write_report

EXPAND, DEPTH, PROJECT = (f"Conv_{number}" for number in (3, 5, 7))
FP16 = {
    "stem": (1.0, "Conv_1", "Relu_2"), "expand": (4.0, EXPAND, "Relu_4"), "depth": (3.0, DEPTH, "Relu_6"),
    "project": (2.0, PROJECT, "Add_8"), "last": (1.0, "Conv_9"),
}  # fmt: skip
INT8 = {
    "stem": (1.0, "Conv_1", "Relu_2"), "q": (0.25, "Relu_2.quantise", "weight_2.dequantise"),
    "expand": (2.5, "Relu_2.dequantise", EXPAND, "Relu_4", "Relu_4.quantise"),
    "depth": (2.0, "Relu_4.dequantise", DEPTH, "Relu_6", "Relu_6.quantise"),
    "project": (1.5, "Relu_6.dequantise", PROJECT, "Add_8"), "last": (1.0, "Conv_9"),
}  # fmt: skip


def block() -> onnx.ModelProto:
    net = Network(1, 64, "Relu")
    x = net.conv(net.picture, 16, 3, 2)
    inner = net.conv(net.conv(x, 64), 64, 3, groups=64)
    return net.model(net.conv(net.add(net.conv(inner, 16, act=None), x), 8, act=None))


def times(layers: dict[str, tuple[Any, ...]]) -> LayerTimes:
    found = tuple(LayerTime(name, "conv", ms, tuple(nodes)) for name, (ms, *nodes) in layers.items())
    return LayerTimes("TensorRT 10.3", 20, found, 12.0)


def report(precision: str, ms: float, layers: dict[str, tuple[Any, ...]], **graph: Any) -> ProfileReport:
    inputs = (TensorInfo("picture", "float16", (1, 3, 64, 64)),)
    manifest = make_manifest(target="orin", precision=precision, **{"inputs": inputs, **graph})
    assert manifest.engine is not None
    int8 = replace(sample_int8(), layers=(EXPAND, DEPTH, PROJECT)) if precision == "int8" else None
    manifest = replace(manifest, engine=replace(manifest.engine, int8=int8))
    latency = Latency("engine infer", (ms * 0.98, ms, ms * 1.02))
    made = make_report(manifest=manifest, environment={"gpu": "Orin"}, layer_times=times(layers))
    return replace(made, engine=f"b0.{precision}", latencies=(latency,))


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    write_report(tmp_path / "fp16", report("fp16", 12.0, FP16))
    write_report(tmp_path / "int8", report("int8", 9.5, INT8))
    return tmp_path / "fp16", tmp_path / "int8"


def oracle(folders: tuple[Path, Path]):
    return timed_oracle(*folders, block(), find_layers(block()))


def test_both_ends_are_what_was_measured(folders: tuple[Path, Path]) -> None:
    made = oracle(folders)
    assert made.cost(()) == made.cost([])
    assert (made.cost(()).ms, made.cost(()).ratio, made.cost(()).high) == (12.0, 1.0, 1.0)
    full = made.cost([EXPAND, DEPTH, PROJECT])
    assert full.ms == pytest.approx(9.5)
    assert full.ratio == pytest.approx(9.5 / 12)
    assert full.low < full.ratio < full.high < 1  # how calls varied


def test_a_border_between_the_types_is_paid_for(folders: tuple[Path, Path]) -> None:
    made = oracle(folders)
    # known: 1.5 + 1 + 0.5 less, 0.25 for quantising 16 channels: 2.75 of the 2.5 that were measured
    rest = 2.75 - 2.5
    first = made.cost([EXPAND])
    assert first.ms == pytest.approx(12 - 1.5 + 0.25 + rest / 3)  # its source is quantised, as measured
    second = made.cost([DEPTH])
    assert second.ms == pytest.approx(12 - 1.0 + 4 * 0.25 + rest / 3)  # 64 channels are quantised by no kernel that ran
    assert second.high - second.low > first.high - first.low
    pair = made.cost([EXPAND, DEPTH])
    assert pair.ms == pytest.approx(12 - 1.5 - 1.0 + 0.25 + 2 * rest / 3)


def test_without_a_measured_conversion_half_of_the_maker_is_taken(folders: tuple[Path, Path]) -> None:
    fused = {name: layer for name, layer in INT8.items() if name != "q"}
    write_report(folders[1], report("int8", 9.5, fused))
    assert oracle(folders).cost([DEPTH]).ms == pytest.approx(12 - 1.0 + 2.0 + (3.0 - 2.5) / 3)


def test_pieces_are_what_both_engines_compute_apart() -> None:
    other = {"a": (5.0, EXPAND, DEPTH), "b": (1.0, "Relu_6", PROJECT), "c": (0.5,), "d": (1.0, "Conv_9")}
    pieces = pieces_of(times(FP16), times(other), [EXPAND, DEPTH, PROJECT])
    (joined,) = (piece for piece in pieces if EXPAND in piece.nodes)
    assert joined.layers == {EXPAND, DEPTH, PROJECT}  # fused over the borders of each other's layers
    assert (joined.fp16_ms, joined.int8_ms) == (9.0, 6.0)
    assert [sorted(piece.nodes)[0] for piece in pieces] == ["Conv_1", "Add_8", "Conv_9"]
    assert quantising(times(INT8)) == {"Relu_2": 0.25}


def test_a_piece_half_in_int8_takes_the_time_of_fp16(folders: tuple[Path, Path]) -> None:
    layers = {**INT8, "expand": (4.5, EXPAND, "Relu_4", DEPTH, "Relu_6")}
    del layers["depth"]
    write_report(folders[1], report("int8", 9.5, layers))
    half, whole = oracle(folders).cost([EXPAND]), oracle(folders).cost([EXPAND, DEPTH])
    assert half.ms > 12
    assert whole.ms < 11


def test_keys_and_words(folders: tuple[Path, Path]) -> None:
    first = oracle(folders)
    assert first.words == "timed layer by layer on Orin (b0.fp16, b0.int8)"
    write_report(folders[1], report("int8", 9.0, INT8))
    assert oracle(folders).key != first.key
    with pytest.raises(UsageError, match="may not be INT8"):
        first.cost(["Conv_1"])


def unnamed(layers: dict[str, tuple[Any, ...]]) -> dict[str, tuple[Any, ...]]:
    return {name: layer[:1] for name, layer in layers.items()}


def without(layers: dict[str, tuple[Any, ...]], names: Iterable[str]) -> dict[str, tuple[Any, ...]]:
    return {name: layer for name, layer in layers.items() if name not in names}


@pytest.mark.parametrize(
    ("fp16", "int8", "message", "found"),
    [
        (report("fp32", 12, FP16), report("int8", 9, INT8), "does not tell", "precision fp32"),
        (report("fp16", 12, FP16), report("fp16", 9, INT8), "does not tell", "precision fp16"),
        (
            replace(report("fp16", 12, FP16), layer_times=None),
            report("int8", 9, INT8),
            "not tell",
            "no times of layers",
        ),
        (report("fp16", 12, FP16), report("int8", 9, unnamed(INT8)), "not tell", "do not name"),
        (make_parts(), report("int8", 9, INT8), "does not tell", "several parts"),
        (
            report("fp16", 12, FP16),
            report("int8", 9, INT8, resolution=(32, 32)),
            "do not compare",
            "64x128, then 32x32",
        ),
        (report("fp16", 12, without(FP16, ["depth"])), report("int8", 9, without(INT8, ["depth"])), "no such", DEPTH),
        (report("fp16", 12, FP16, inputs=()), report("int8", 9, INT8), "another graph", "inputs"),
    ],
)
def test_profiles_that_do_not_fit_are_refused(tmp_path: Path, fp16: Any, int8: Any, message: str, found: str) -> None:
    write_report(tmp_path / "fp16", fp16)
    write_report(tmp_path / "int8", int8)
    with pytest.raises(UsageError, match=message) as caught:
        oracle((tmp_path / "fp16", tmp_path / "int8"))
    assert found in str(caught.value.found)
    assert "evit-deploy profile" in str(caught.value.fix)


def test_other_weights_other_devices_and_half_an_int8_engine_are_refused(folders: tuple[Path, Path]) -> None:
    changed = report("int8", 9.5, INT8)
    weights = replace(changed.manifest, weights=replace(changed.manifest.weights, sha256="f" * 64))
    engine = changed.manifest.engine
    assert engine is not None
    half = replace(changed.manifest, engine=replace(engine, int8=replace(sample_int8(), layers=(EXPAND, DEPTH))))
    cases = (
        (replace(changed, manifest=weights), "weights"),
        (replace(changed, environment={**changed.environment, "gpu": "another"}), "gpu: Orin, then another"),
        (replace(changed, manifest=half), "2 of 3"),
    )
    for made, found in cases:
        write_report(folders[1], made)
        with pytest.raises(UsageError) as caught:
            oracle(folders)
        assert found in str(caught.value.found)


def test_a_profile_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nothing is recorded"):
        oracle((tmp_path, tmp_path))
