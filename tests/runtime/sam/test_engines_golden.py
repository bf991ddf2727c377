# SPDX-License-Identifier: Apache-2.0
"""Exported, built and loaded: engines answer the golden prompts, and nothing damaged or unsigned is loaded."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

import evit_deploy
from evit_deploy.engines.bundle import build_bundle
from evit_deploy.errors import ArtifactError, UsageError
from evit_deploy.export import ExportOptions, export_model
from evit_deploy.manifest.signing import SignatureError, sign
from evit_deploy.runtime.sam import SegmentAnything
from tests.runtime.sam.test_predictor_golden import PROMPTS, check
from tests.sam import fresh_model, golden, golden_image, save_checkpoint

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=["l0", "xl0"])
def built(request, tmp_path_factory):
    """Name, and the folder of an engine with the golden weights."""
    root, name = tmp_path_factory.mktemp(request.param), f"{request.param}-sam"
    weights = save_checkpoint(fresh_model(name), root / "weights.pt")
    export_model(name, root / "export", ExportOptions(weights=str(weights)))
    build_bundle(root / "export", root / "engine", target="cpu", compiler="onnxruntime")
    return request.param, root / "engine"


@pytest.fixture(scope="module")
def sam(built):
    """The loaded engine, and its embedding of each picture."""
    with evit_deploy.load(built[1]) as found:
        assert isinstance(found, SegmentAnything)
        yield built[0], found, {name: found.embed(golden_image(name)) for name in "ab"}


@pytest.mark.parametrize("multimask", [True, False])
@pytest.mark.parametrize("prompt", PROMPTS)
@pytest.mark.parametrize("picture", "ab")
def test_engines_answer_the_golden_prompts(sam, picture, prompt, multimask):
    name, predictor, embeddings = sam
    file = golden("sam-predictor")
    asked = {part: file.get(f"{picture}.{prompt}.{part}") for part in ("coords", "labels", "box")}
    if prompt == "boxes":
        asked["box"] = file[f"{picture}.boxes.boxes"]
    mask = None
    if prompt == "point_mask":
        first = predictor.predict(asked["coords"], asked["labels"], embedding=embeddings[picture])
        mask = first.low_res[int(file[f"{name}.{picture}.point_mask.from"])]
    found = predictor.predict(
        asked["coords"], asked["labels"], asked["box"], mask, multimask=multimask, embedding=embeddings[picture]
    )
    check(found, file, f"{name}.{picture}.{prompt}.{'multi' if multimask else 'single'}")


def test_prompts_of_unequal_length_in_one_batch(sam):
    _, predictor, embeddings = sam
    prompts = [[[100, 90]], [[100, 90], [200.5, 150], [40, 210]], [[9, 9], [50, 60]]]
    labels = [[1], [1, 0, 1], [1, 1]]
    together = predictor.predict(prompts, labels, embedding=embeddings["a"])
    for index, (points, marks) in enumerate(zip(prompts, labels, strict=True)):
        alone = predictor.predict(points, marks, embedding=embeddings["a"])
        np.testing.assert_allclose(together.low_res[index], alone.low_res, atol=3e-4)
        np.testing.assert_allclose(together.iou[index], alone.iou, atol=1e-5)


@pytest.mark.parametrize("part", ["encoder/manifest.json", "decoder/manifest.json", "decoder/decoder.onnx"])
def test_edited_parts_are_refused(built, tmp_path, part):
    folder = tmp_path / "engine"
    shutil.copytree(built[1], folder)
    place = folder / part
    place.write_bytes(place.read_bytes() + b" ")
    with pytest.raises(ArtifactError):
        evit_deploy.load(folder)


def test_a_part_or_an_export_is_no_model(built, tmp_path):
    with pytest.raises(UsageError, match=r"is a part of a model.\n.*embedding.*\n.*\n.*open_engine"):
        evit_deploy.load(built[1] / "encoder")
    with pytest.raises(UsageError, match="is an export, not an engine"):
        evit_deploy.load(built[1].parent / "export")
    shutil.copytree(built[1], tmp_path / "engine")
    shutil.rmtree(tmp_path / "engine" / "decoder")
    with pytest.raises(ArtifactError, match="no folder decoder"):
        evit_deploy.load(tmp_path / "engine")


def test_one_signature_vouches_for_all_parts(built, tmp_path):
    serialization = pytest.importorskip("cryptography.hazmat.primitives.serialization")
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    folder, public = tmp_path / "engine", tmp_path / "key.pub"
    shutil.copytree(built[1], folder)
    key = Ed25519PrivateKey.generate()
    form = (serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    public.write_bytes(key.public_key().public_bytes(*form))
    with pytest.raises(SignatureError):
        evit_deploy.load(folder, trusted_keys=public)
    sign(folder, key)
    evit_deploy.load(folder, trusted_keys=public).close()
    part = folder / "decoder" / "manifest.json"
    part.write_bytes(part.read_bytes() + b" ")
    with pytest.raises(ArtifactError, match="not the part"):
        evit_deploy.load(folder, trusted_keys=public)
