# SPDX-License-Identifier: Apache-2.0
"""Engines of several parts: built and proven together, all or nothing, on an export in miniature."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from evit_deploy.engines import bundle as bundles
from evit_deploy.engines import rebuild
from evit_deploy.engines.bundle import Sizes, build_bundle, compile_bundle, engine_info, lower_bundle
from evit_deploy.engines.rebuild import is_needed, rebuild_engine
from evit_deploy.engines.request import Request
from evit_deploy.errors import ArtifactError, CheckFailedError, UnavailableError, UsageError
from evit_deploy.manifest import ITSELF, Manifest, is_bundle, read_bundle, read_manifest
from tests.engines.toy_sam import write_toy
from tests.manifest.sample import entries, snapshot

FEW = Sizes((1, 2), 2)


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("toy") / "export" / "toy-sam"
    write_toy(folder)
    return folder


@pytest.fixture(scope="module")
def lowered(export: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("toy") / "toy-sam.rtx.fp16"
    lower_bundle(export, folder, target="rtx", precision="fp16", attention="portable", sizes=FEW)
    return folder


@pytest.mark.parametrize("compiler", ["onnxruntime", "openvino"])
def test_a_cpu_gets_an_encoder_and_one_decoder(export, tmp_path, compiler):
    bundle, written = build_bundle(export, tmp_path / "e", target="cpu", compiler=compiler)
    found, parts = read_bundle(tmp_path / "e")
    assert written and found == bundle and bundle.kind == "engine"
    assert list(parts) == ["encoder", "decoder"]
    assert {part.engine.state for part in parts.values() if part.engine} == {"compiled"}
    assert bundle.agreement.passed and bundle.agreement.method == ITSELF
    assert bundle.agreement.budget.mask_iou == 0.999
    assert min(row.mask_iou for row in bundle.agreement.frames) > 0.999
    assert parts["decoder"].graph.batch == (1, 64)
    before = snapshot(tmp_path / "e")
    assert build_bundle(export, tmp_path / "e", target="cpu", compiler=compiler) == (bundle, False)
    assert snapshot(tmp_path / "e") == before and entries(tmp_path) == ["e"]


def test_a_gpu_gets_a_decoder_for_each_number_of_prompts(lowered, export):
    bundle, parts = read_bundle(lowered)
    assert list(parts) == ["encoder", "decoder-1", "decoder-2"]
    assert [parts[name].graph.batch for name in parts] == [(1, 1), (1, 1), (2, 2)]
    shapes = {tensor.name: (tensor.dtype, tensor.shape) for tensor in parts["decoder-2"].graph.inputs}
    assert shapes == {
        "coords": ("float32", (2, 4, 2)), "labels": ("int32", (2, 4)), "embedding": ("float16", (1, 256, 64, 64)),
        "mask": ("float16", (1, 1, 256, 256)), "has_mask": ("float16", (1,)),
    }  # fmt: skip
    assert "emulation" in bundle.agreement.method and bundle.agreement.passed
    assert any("FP32" in note for note in parts["decoder-1"].engine.notes)
    assert lower_bundle(export, lowered, target="rtx", precision="fp16", attention="portable", sizes=FEW)[1] is False


def test_only_what_changed_is_made_again(export, tmp_path, monkeypatch):
    options = {"target": "rtx", "precision": "fp16", "attention": "portable"}
    lower_bundle(export, tmp_path / "e", **options, sizes=FEW)
    made = []
    lower_engine = bundles.lower_engine

    def watched(source: Path, place: Path, **other: object) -> tuple[Manifest, bool]:
        manifest, written = lower_engine(source, place, **other)
        made.extend([place.name] * written)
        return manifest, written

    monkeypatch.setattr(bundles, "lower_engine", watched)
    lower_bundle(export, tmp_path / "e", **options, sizes=Sizes((1, 3), 2))
    assert made == ["decoder-3"]
    assert sorted(read_bundle(tmp_path / "e")[1]) == ["decoder-1", "decoder-3", "encoder"]
    assert not (tmp_path / "e" / "decoder-2").exists()


def test_parts_that_disagree_together_are_not_written(export, tmp_path, monkeypatch):
    """Each part agrees by itself; what an encoder on its way to a decoder lost shows at the end only."""
    build_bundle(export, tmp_path / "e", target="cpu", compiler="onnxruntime")
    before = snapshot(tmp_path / "e")
    verify = bundles.verify_bundle

    def scrambled(encode, decode, *rest):
        return verify(lambda inputs: {"embedding": -np.asarray(encode(inputs)["embedding"])}, decode, *rest)

    monkeypatch.setattr(bundles, "verify_bundle", scrambled)
    with pytest.raises(CheckFailedError, match="together"):
        build_bundle(export, tmp_path / "e", target="cpu", compiler="openvino")
    assert snapshot(tmp_path / "e") == before and entries(tmp_path) == ["e"]


def test_a_part_that_fails_leaves_nothing(export, tmp_path, monkeypatch):
    def broken(source, place, **options):
        if place.name == "decoder":
            raise CheckFailedError("the decoder does not agree")
        return build_engine(source, place, **options)

    build_engine = bundles.build_engine
    monkeypatch.setattr(bundles, "build_engine", broken)
    with pytest.raises(CheckFailedError, match="does not agree"):
        build_bundle(export, tmp_path / "e", target="cpu", compiler="onnxruntime")
    assert entries(tmp_path) == []


def test_a_decoder_that_bf16_spoils_stays_fp32_and_says_so(export, tmp_path, monkeypatch):
    def without_bf16(source, place, *, precision, **options):
        """A CPU without the instructions, whose decoder would not agree."""
        if precision == "bf16" and place.name == "decoder":
            raise CheckFailedError("the bf16 engine does not agree with PyTorch", found="on a point: mask IoU 0.5")
        return build_engine(source, place, precision="fp32", **options)

    build_engine = bundles.build_engine
    monkeypatch.setattr(bundles, "build_engine", without_bf16)
    build_bundle(export, tmp_path / "e", target="cpu", precision="bf16", compiler="onnxruntime")
    _, parts = read_bundle(tmp_path / "e")
    assert parts["decoder"].engine.precision == "fp32" and parts["encoder"].engine.notes == ()
    assert "mask IoU 0.5" in parts["decoder"].engine.notes[0]
    assert not build_bundle(export, tmp_path / "e", target="cpu", precision="bf16", compiler="onnxruntime")[1]


def test_a_damaged_part_is_built_again(export, tmp_path):
    bundle, _ = build_bundle(export, tmp_path / "e", target="cpu", compiler="onnxruntime")
    (tmp_path / "e" / "decoder" / "model.optimised.onnx").write_bytes(b"nonsense")
    with pytest.raises(ArtifactError):
        read_bundle(tmp_path / "e")
    again, written = build_bundle(export, tmp_path / "e", target="cpu", compiler="onnxruntime")
    assert written and again.key == bundle.key
    read_bundle(tmp_path / "e")


def test_it_is_compiled_in_place(lowered, tmp_path):
    bundle, written = compile_bundle(lowered, tmp_path / "e", arch="sm86", level=0)
    assert written
    found, parts = read_bundle(tmp_path / "e")
    assert found == bundle and {part.engine.state for part in parts.values()} == {"compiled"}
    assert all((tmp_path / "e" / name / "engine.rtx").is_file() for name in parts)
    assert bundle.agreement == read_bundle(lowered)[0].agreement
    assert compile_bundle(tmp_path / "e", tmp_path / "e", arch="sm86", level=0) == (bundle, False)


def test_an_export_is_not_compiled(export, lowered, tmp_path):
    with pytest.raises(UsageError, match="is an engine, not an export"):
        build_bundle(lowered, tmp_path / "e", target="cpu")
    with pytest.raises(UsageError):
        compile_bundle(export, tmp_path / "e", arch="sm86")


def test_requests_know_bundles(export, lowered, tmp_path):
    request = Request("cpu", compiler="onnxruntime")
    built = request.build(export, tmp_path)
    assert is_bundle(built.folder) and built.folder == tmp_path / "toy-sam.cpu.fp32.onnxruntime"
    assert [place.name for place in built.engines] == ["encoder", "decoder"]
    assert request.place(built.folder, tmp_path) == built.folder
    assert not request.build(export, tmp_path).written
    found = Request().of_engine(lowered)
    assert (found.target, found.precision, found.attention) == ("rtx", "fp16", None)
    assert Request("rtx", "fp16").lower(lowered, tmp_path).manifest == read_bundle(lowered)[0]
    with pytest.raises(UsageError, match="has its target already"):
        Request("orin").of_engine(lowered)
    with pytest.raises(UsageError, match="has its sizes already"):
        Request(sizes=FEW).of_engine(lowered)


def test_sizes_are_for_decoders_on_gpus(export, tmp_path):
    with pytest.raises(UsageError, match="any number of prompts"):
        Request("cpu", sizes=FEW).check()
    with pytest.raises(UsageError, match="any number of prompts"):
        build_bundle(export, tmp_path / "e", target="cpu", sizes=FEW)
    with pytest.raises(UsageError, match="takes no prompts"):
        Request("rtx", "fp16", arch="sm86", sizes=FEW).lower(export / "encoder", tmp_path)


@pytest.mark.parametrize("prompts", [(), (0,), (65,), (1, 1), (8, -1)])
def test_numbers_of_prompts_that_make_no_sense(prompts):
    with pytest.raises(UsageError):
        Sizes(prompts)


@pytest.mark.parametrize("points", [0, 65])
def test_numbers_of_points_that_make_no_sense(points):
    with pytest.raises(UsageError, match="points"):
        Sizes((1,), points)


def test_what_an_engine_of_several_parts_says_of_itself(export, lowered, tmp_path):
    assert engine_info(export) is None
    info = engine_info(lowered)
    assert info is not None and (info.target, info.state) == ("rtx", "lowered")
    compile_bundle(lowered, tmp_path / "e", arch="sm86", level=0)
    info = engine_info(tmp_path / "e")
    assert info is not None and info.state == "compiled"
    assert read_manifest(lowered / "decoder-2").model.task == "sam"


def test_a_lowered_bundle_is_compiled_again_on_request(lowered, tmp_path, monkeypatch):
    """What `load(…, rebuild="if-needed")` relies on."""
    compile_bundle(lowered, tmp_path / "e", arch="sm86", level=0)
    assert is_needed(lowered, UnavailableError("lowered"))
    assert not is_needed(tmp_path / "e", UnavailableError("no GPU"))
    monkeypatch.setattr(rebuild, "compile_bundle", lambda source, folder, **options: asked.append((source, folder)))
    asked: list[tuple[Path, Path]] = []
    with pytest.warns(UserWarning, match="is compiled again"):
        rebuild_engine(tmp_path / "e", UnavailableError("no GPU"))
    assert asked == [(tmp_path / "e", tmp_path / "e")]
