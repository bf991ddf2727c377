# SPDX-License-Identifier: Apache-2.0
"""INT8 of a classifier and of Segment Anything's image encoder, the whole way on real networks."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx
import pytest

from evit_deploy.engines.bundle import Sizes
from evit_deploy.engines.int8_options import Int8Options
from evit_deploy.engines.request import Request
from evit_deploy.export import ExportOptions, export_model
from evit_deploy.manifest import Int8Info, Manifest, read_manifest
from evit_deploy.precision.int8.layers import Layer
from evit_deploy.precision.int8.oracle import Cost

pytestmark = pytest.mark.slow


@dataclass
class Arithmetic:
    """Says that INT8 halves what a layer computes."""

    macs: dict[str, int]
    words: str = "predicted by a test"
    key: str = "test"

    def cost(self, layers: Collection[str]) -> Cost:
        ratio = 1 - sum(self.macs[name] for name in layers) / sum(self.macs.values()) / 2
        return Cost(10 * ratio, ratio, ratio, ratio)


def oracle(export: Path, graph: onnx.ModelProto, layers: Sequence[Layer], target: str) -> Arithmetic:
    return Arithmetic({layer.name: layer.macs for layer in layers})


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def info_of(manifest: Manifest) -> Int8Info:
    assert manifest.engine is not None and manifest.engine.int8 is not None
    return manifest.engine.int8


def test_a_classifier(tmp_path: Path) -> None:
    export_model("b1-cls", tmp_path / "export" / "b1-cls", ExportOptions(weights="random"))
    asked = Int8Options("scenes", oracle, images=8, judge_images=4, max_drop=100, max_error=0.1, minutes=1)
    built = Request("orin", "int8", int8=asked).build(tmp_path / "export" / "b1-cls", tmp_path / "engines")
    assert isinstance(built.manifest, Manifest)
    info = info_of(built.manifest)
    assert (info.metric, info.judged_frames) == ("expected top-1", 4) and info.error <= 0.1 and info.ratio < 1
    assert built.manifest.agreement.passed and built.folder.name == "b1-cls.orin.int8"


def test_an_image_encoder_is_judged_by_its_masks(tmp_path: Path) -> None:
    export_model("l0-sam", tmp_path / "export" / "l0-sam", ExportOptions(weights="random"))
    asked = Int8Options("scenes", oracle, images=4, judge_images=2, max_drop=50, minutes=0.0)
    request = Request("orin", "int8", sizes=Sizes((1,), 2), int8=asked)
    built = request.build(tmp_path / "export" / "l0-sam", tmp_path / "engines")
    info = info_of(read_manifest(built.folder / "encoder"))
    assert info.metric == "mask IoU" and 0 < info.drop < 50 and info.agreement == pytest.approx(1 - info.drop / 100)
    assert read_manifest(built.folder / "decoder-1").engine.precision == "fp16"
    assert built.manifest.agreement.passed
