# SPDX-License-Identifier: Apache-2.0
"""The predictor against the reference's: prompts in pixels on two pictures, the model in PyTorch behind the engines."""

from __future__ import annotations

import zlib

import numpy as np
import pytest

from evit_deploy.data.masks import longest_side
from evit_deploy.data.resize import resize_image
from evit_deploy.export.reference import settle_vector_library
from tests.runtime.sam.doubles import torch_sam
from tests.sam import RULES, golden, golden_image, golden_masks, golden_model

SIDES = {"l0": 512, "xl0": 1024}
PROMPTS = ("point", "points", "box", "point_box", "point_mask", "boxes")


@pytest.fixture(scope="module", params=["l0", pytest.param("xl0", marks=pytest.mark.slow)])
def model(request):
    """Name, predictor, and the embedding of each picture."""
    settle_vector_library()
    sam = torch_sam(golden_model(f"{request.param}-sam"), SIDES[request.param])
    return request.param, sam, {name: sam.embed(golden_image(name)) for name in "ab"}


@pytest.mark.parametrize("name", SIDES)
@pytest.mark.parametrize("picture", "ab")
def test_pictures_are_resized_bit_for_bit(name, picture):
    image, file = golden_image(picture), golden("sam-predictor")
    size = longest_side(*image.shape[:2], SIDES[name])
    for libraries in (False, True):  # Pillow 13 is among the test's requirements
        found = resize_image(image, *size, "pillow-bilinear", use_libraries=libraries)
        assert list(found.shape[:2]) == file[f"{name}.{picture}.resized.shape"].tolist()[:2]
        assert zlib.crc32(found.tobytes()) == file[f"{name}.{picture}.resized.crc32"]


@pytest.mark.parametrize("picture", "ab")
def test_embeddings(model, picture):
    name, _, embeddings = model
    found, file = embeddings[picture], golden("sam-predictor")
    assert list(found.frame.fitted) == file[f"{name}.{picture}.frame"].tolist()
    np.testing.assert_allclose(found.array[:, ::8, ::9, ::9], file[f"{name}.{picture}.embedding.sample"], atol=5e-5)


@pytest.mark.parametrize("multimask", [True, False])
@pytest.mark.parametrize("prompt", PROMPTS)
@pytest.mark.parametrize("picture", "ab")
def test_masks_and_predicted_iou(model, picture, prompt, multimask):
    name, sam, embeddings = model
    file = golden("sam-predictor")
    asked = {part: file.get(f"{picture}.{prompt}.{part}") for part in ("coords", "labels", "box")}
    if prompt == "boxes":
        asked["box"] = file[f"{picture}.boxes.boxes"]
    mask = None
    if prompt == "point_mask":
        first = sam.predict(asked["coords"], asked["labels"], embedding=embeddings[picture])
        mask = first.low_res[int(file[f"{name}.{picture}.point_mask.from"])]
    found = sam.predict(
        asked["coords"], asked["labels"], asked["box"], mask, multimask=multimask, embedding=embeddings[picture]
    )
    check(found, file, f"{name}.{picture}.{prompt}.{'multi' if multimask else 'single'}")


def check(
    found, file, key, iou_atol=RULES["predictor"]["atol"]["iou"], logits_atol=RULES["predictor"]["atol"]["low_res"]
):
    """Hold an answer against a golden file: predicted IoU, logits, and every mask at the picture's pixels."""
    np.testing.assert_allclose(found.iou, file[f"{key}.iou"], atol=iou_atol)
    np.testing.assert_allclose(found.low_res[..., ::7, ::7], file[f"{key}.low_res"], atol=logits_atol)
    expected = golden_masks(file, f"{key}.masks")
    assert found.masks.shape == expected.shape
    union, both = (found.masks | expected).sum(axis=(-1, -2)), (found.masks & expected).sum(axis=(-1, -2))
    assert (both >= RULES["predictor"]["mask_iou"] * union).all()
    assert (found.masks != expected).sum() <= 20  # among up to 700 000; 2 were seen
