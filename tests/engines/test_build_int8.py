# SPDX-License-Identifier: Apache-2.0
"""INT8 engines: calibrated, searched, judged, and written only where they are worth having."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import onnx
import pytest

from evit_deploy.engines import build_engine, quantise
from evit_deploy.engines.build import lower_engine
from evit_deploy.engines.bundle import Sizes, lower_bundle
from evit_deploy.engines.int8_masks import masks_of
from evit_deploy.engines.int8_options import JUDGED, METHODS, Int8Options
from evit_deploy.engines.request import Request
from evit_deploy.errors import ArtifactError, CheckFailedError, UsageError
from evit_deploy.manifest import Int8Info, Manifest, read_artifact, read_manifest
from evit_deploy.precision.int8 import clip
from evit_deploy.precision.int8.layers import Layer
from evit_deploy.precision.int8.oracle import Cost
from tests.manifest.sample import entries, snapshot


@dataclass
class Scales:
    """Says that every INT8 layer saves, or costs, the same."""

    per_layer: float
    words: str = "predicted by a test"
    key: str = "test"

    def cost(self, layers: Collection[str]) -> Cost:
        ms = 10.0 - self.per_layer * len(layers)
        return Cost(ms, ms / 10, ms / 11, ms / 9)


def options(per_layer: float = 0.1, **changes: Any) -> Int8Options:
    def oracle(export: Path, graph: onnx.ModelProto, layers: Sequence[Layer], target: str) -> Scales:
        assert export.is_dir() and layers and target == "orin"
        return Scales(per_layer)

    usual: dict[str, Any] = {
        "images": 4,
        "judge_images": 2,
        "max_drop": 60.0,
        "oracle_key": f"{per_layer}",
        "minutes": 5.0,
    }
    return Int8Options("scenes", oracle, **(usual | changes))


@pytest.fixture(autouse=True, scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """One cache for all tests: what one judged, another one need not."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def export(small_workspace: Path) -> Path:
    return small_workspace / "export" / "b0-seg"


def build(export: Path, folder: Path, int8: Int8Options) -> tuple[Manifest, bool]:
    return build_engine(export, folder, target="orin", precision="int8", int8=int8)


def info_of(manifest: Manifest) -> Int8Info:
    assert manifest.engine is not None and manifest.engine.int8 is not None
    return manifest.engine.int8


@pytest.fixture(autouse=True)
def lenient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Random weights have no margins: classes change with any rounding, and more so on 128 pixels."""
    from evit_deploy.agreement import BUDGETS

    budget = replace(BUDGETS["int8"], class_agreement=0.0, conceded_margin=50.0, relative_l2=5.0)
    monkeypatch.setitem(BUDGETS, "int8", budget)


def test_an_engine_says_what_it_gains_and_loses(export: Path, tmp_path: Path) -> None:
    manifest, written = build(export, tmp_path / "e", options())
    info, found = info_of(manifest), read_artifact(tmp_path / "e")
    assert written and found == manifest and manifest.agreement.passed
    assert (manifest.graph.precision, manifest.graph.opset, manifest.engine.precision) == ("int8", 19, "int8")
    assert (info.metric, info.judged_frames, info.images, info.oracle) == ("expected mIoU", 2, 4, "predicted by a test")
    assert info.drop <= info.max_drop == 60 and 0 < info.ratio < 1 and info.ratio_low < info.ratio < info.ratio_high
    assert info.fp16_ms == 10 and info.ms == pytest.approx(10 - 0.1 * len(info.layers))
    assert len(info.layers) == info.eligible == info.full.layers == 38 and info.mac_share > 0.74
    assert set(info.sensitivity) == set(info.layers) and sum(info.methods.values()) == 36 and info.curve
    graph = onnx.load(tmp_path / "e" / "model.onnx")
    kinds = [node.op_type for node in graph.graph.node]
    assert kinds.count("QuantizeLinear") == 36 and kinds.count("DequantizeLinear") == 36 + 38
    assert build(export, tmp_path / "e", options()) == (manifest, False)


def test_lowering_for_another_machine_is_the_same(export: Path, tmp_path: Path) -> None:
    here = build(export, tmp_path / "a", options())[0]
    there = lower_engine(export, tmp_path / "b", target="orin", precision="int8", int8=options())[0]
    assert here.key == there.key and here.files["model.onnx"] == there.files["model.onnx"]


def test_what_is_slower_is_not_written(export: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckFailedError, match="not worth having") as caught:
        build(export, tmp_path / "e", options(-0.1))
    words = str(caught.value)
    assert "1.38 × the time of FP16" in words and "--allow-slower" in words and "--fp16" in words
    assert entries(tmp_path) == []


def test_what_gains_next_to_nothing_is_not_written(export: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckFailedError, match="not worth having") as caught:
        build(export, tmp_path / "e", options(0.005))
    assert "0.981 × the time of FP16" in str(caught.value) and "at least 2% faster" in str(caught.value)
    assert info_of(build(export, tmp_path / "e", options(0.005, allow_slower=True))[0]).ratio == pytest.approx(0.981)


def test_what_is_slower_is_written_if_asked_for(export: Path, tmp_path: Path) -> None:
    info = info_of(build(export, tmp_path / "e", options(-0.1, allow_slower=True))[0])
    assert info.ratio > 1


def test_a_budget_that_cannot_be_met(export: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckFailedError, match="not worth having") as caught:
        build(export, tmp_path / "e", options(max_drop=100.0, max_error=1e-9))
    assert "a relative error of 1e-09" in str(caught.value) and "--max-drop" in str(caught.value)
    assert entries(tmp_path) == []


def test_a_build_that_fails_leaves_the_engine_before_it(export: Path, tmp_path: Path) -> None:
    build(export, tmp_path / "e", options())
    before = snapshot(tmp_path / "e")
    with pytest.raises(CheckFailedError):
        build(export, tmp_path / "e", options(-0.1))
    assert snapshot(tmp_path / "e") == before


def test_an_interrupted_search_goes_on(
    export: Path, tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from evit_deploy.precision.int8 import answers

    judged, most = [], 5
    judge = answers.Judge.__call__

    def stopping(self: answers.Judge, layers: Collection[str], frames: int | None = None) -> Any:
        if len(judged) == most:
            raise KeyboardInterrupt
        judged.append(layers)
        return judge(self, layers, frames)

    monkeypatch.setattr(answers.Judge, "__call__", stopping)
    with pytest.raises(KeyboardInterrupt):
        build(export, tmp_path / "e", options())
    assert not (tmp_path / "e").exists() and list((own_cache / "evit-deploy" / "int8").iterdir())
    first, most = list(judged), 1000
    build(export, tmp_path / "e", options())
    assert not set(map(frozenset, judged[5:])) & set(map(frozenset, first))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"method": "guess"}, "no calibration 'guess'"),
        ({"images": 1}, "--calibration-images"),
        ({"judge_images": 0}, "--judge-images"),
        ({"max_drop": -1.0}, "--max-drop"),
        ({"max_error": float("nan")}, "--max-error"),
        ({"minutes": float("inf")}, "--search-minutes"),
    ],
)
def test_options_that_make_no_sense(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        options(**changes)


def test_options_name_what_calibration_knows() -> None:
    assert METHODS == clip.METHODS
    assert [options(judge_images=None).judged(task) for task in JUDGED] == [32, 256, 8]


def test_int8_needs_frames_and_nothing_else_does(export: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="needs frames") as caught:
        build_engine(export, tmp_path / "e", target="orin", precision="int8")
    assert "--calibrate DIR" in str(caught.value)
    with pytest.raises(UsageError, match="only INT8 is calibrated"):
        build_engine(export, tmp_path / "e", target="orin", precision="fp16", int8=options())


def test_another_source_or_budget_is_another_engine(export: Path, tmp_path: Path) -> None:
    several = ({}, {"max_drop": 70.0}, {"images": 5}, {"judge_images": 3}, {"method": "min-max"})
    keys = {build(export, tmp_path / "e", options(**changes, minutes=0.0))[0].key for changes in several}
    assert len(keys) == 5


def test_an_engine_is_not_calibrated_again(export: Path, tmp_path: Path) -> None:
    build(export, tmp_path / "e", options())
    with pytest.raises(UsageError, match="is calibrated already"):
        Request(int8=options()).of_engine(tmp_path / "e")
    assert Request().of_engine(tmp_path / "e").precision == "int8"


def test_frames_unlike_the_verified_ones_are_warned_of(
    export: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from evit_deploy.precision.int8 import suspect

    monkeypatch.setattr(suspect, "SUSPICIOUS", -1.0)
    info = info_of(build(export, tmp_path / "e", options())[0])
    assert any("unlike those the engine is verified with" in words for words in info.warnings)


def test_random_noise_by_name_only(export: Path, tmp_path: Path) -> None:
    noise = replace(options(), source="random")
    assert any("random noise" in words for words in info_of(build(export, tmp_path / "e", noise)[0]).warnings)


def test_an_encoder_without_a_decoder_cannot_be_judged(export: Path) -> None:
    with pytest.raises(ArtifactError, match="no mask decoder beside"):
        masks_of(export)


def test_the_decoders_beside_an_int8_encoder_are_fp16(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The toy encoder has no layer that may be INT8: what is asked of each part is what is looked at here."""
    from evit_deploy.engines import bundle
    from tests.engines.toy_sam import write_toy

    asked = {}

    def watched(source: Path, place: Path, **how: Any) -> tuple[Manifest, bool]:
        asked[place.name] = (how["precision"], how.get("int8") is not None)
        return lower_engine(source, place, **(how | {"precision": "fp16", "int8": None}))

    monkeypatch.setattr(bundle, "lower_engine", watched)
    write_toy(tmp_path / "toy")
    sam = {"target": "orin", "precision": "int8", "attention": "portable", "sizes": Sizes((1,), 2), "int8": options()}
    lower_bundle(tmp_path / "toy", tmp_path / "e", **sam)
    assert asked == {"encoder": ("int8", True), "decoder-1": ("fp16", False)}
    assert read_manifest(tmp_path / "e" / "decoder-1").engine.precision == "fp16"


def test_what_is_kept_belongs_to_this_form(export: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = build(export, tmp_path / "e", options())[0].key
    monkeypatch.setattr(quantise, "QUANTISATION", 99)
    assert build(export, tmp_path / "e", options())[0].key != key


def test_a_search_that_ran_out_of_time_goes_on(export: Path, tmp_path: Path) -> None:
    first, _ = build(export, tmp_path / "e", replace(options(judge_images=4), minutes=0.0))
    second, written = build(export, tmp_path / "e", options(judge_images=4))
    assert not info_of(first).complete and info_of(second).complete and written and first.key == second.key
    assert build(export, tmp_path / "e", options(judge_images=4)) == (second, False)
