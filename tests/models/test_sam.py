# SPDX-License-Identifier: Apache-2.0
"""EfficientViT-SAM computes the reference's numbers: embeddings, prompts, masks and predicted IoU.

Each tolerance is four times the largest deviation seen over thread counts, memory layouts and FP64.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from evit_deploy.errors import ArtifactError, UsageError
from evit_deploy.export.reference import settle_vector_library
from evit_deploy.models import create_model
from tests.sam import (
    RULES,
    SAM_MODELS,
    golden,
    golden_image,
    golden_masks,
    golden_model,
    save_checkpoint,
    specs,
    structured_model,
)
from tests.synthetic import make_input

PARTS = ("coords", "labels", "box")
PROMPTS = ("point", "box", "points", "mixed")
MEAN, STD = np.array([123.675, 116.28, 103.53]), np.array([58.395, 57.12, 57.375])


@pytest.fixture(autouse=True)
def exact():
    settle_vector_library()
    with torch.inference_mode():
        yield


def mark_slow(names, slow):
    return [pytest.param(name, marks=[pytest.mark.slow] if name in slow else []) for name in names]


def check(found, file, key, atol, rtol=1e-5):
    """Compare a tensor with the part of it that a golden file keeps."""
    found = found.numpy()
    assert list(found.shape) == file[f"{key}.shape"].tolist(), key
    kept = found[tuple(slice(None, None, int(step)) for step in file[f"{key}.step"])]
    np.testing.assert_allclose(kept, file[key], rtol=rtol, atol=atol, err_msg=key)


def check_stage(found, file, key, tolerance):
    flat = found.numpy().ravel()
    assert list(found.shape) == file[f"{key}.shape"].tolist()
    rtol, atol = tolerance["rtol"], tolerance["atol"]
    sample = flat[:: max(1, flat.size // 256)][:256]
    np.testing.assert_allclose(sample, file[f"{key}.sample"], rtol=rtol, atol=atol["stage"], err_msg=key)
    stats = [flat.astype(np.float64).mean(), flat.astype(np.float64).std()]
    np.testing.assert_allclose(stats, file[f"{key}.stats"], rtol=rtol, atol=atol["stats"], err_msg=key)


def prompt_of(file, name):
    """(coords, labels, boxes, mask) of a golden prompt in the 1024 frame; None for what it lacks."""
    parts = [torch.from_numpy(file[f"{name}.{part}"]) if f"{name}.{part}" in file else None for part in PARTS]
    shape = file.get(f"{name}.mask_input.shape")
    mask = None if shape is None else torch.from_numpy(make_input(shape, int(file[f"{name}.mask_input.seed"])))
    return (*parts, mask)


def check_prompts(model, embedding, file, atol):
    check(model.prompt_encoder.dense_encoding(), file, "dense_pe", atol["prompt"])
    for name in PROMPTS:
        prompt = prompt_of(file, name)
        sparse, dense = model.prompt_encoder(*prompt)
        check(sparse, file, f"{name}.sparse", atol["prompt"])
        if name == "mixed":
            check(dense, file, "mixed.dense", atol["prompt"])
        masks, iou = model.decode(embedding, *prompt)
        for kind, kept in (("multi", slice(1, 4)), ("single", slice(0, 1))):
            check(masks[:, kept], file, f"{name}.{kind}.masks", atol["masks"])
            check(iou[:, kept], file, f"{name}.{kind}.iou", atol["iou"])


@pytest.mark.parametrize("name", mark_slow(SAM_MODELS, {"l2-sam", "xl0-sam", "xl1-sam"}))
def test_equals_the_reference(name):
    model, file, tolerance = golden_model(name), golden(name), specs()[name]["golden"]
    image = torch.from_numpy(make_input(tolerance["input_shape"], tolerance["input_seed"]))
    for stage, features in model.image_encoder.backbone(image).items():
        check_stage(features, file, stage, tolerance)
    embedding = model(image)
    check(embedding, file, "embedding", tolerance["atol"]["output"])
    check_prompts(model, embedding, file, tolerance["atol"])


def test_decoder_alone_equals_the_reference():
    rules = RULES["decoder"]
    embedding = torch.from_numpy(make_input(rules["embedding_shape"], rules["embedding_seed"]))
    check_prompts(golden_model(), embedding, golden("sam-decoder"), rules["atol"])


def as_input(image, side):
    """Pillow to the longest side, normalise, pad with zeros: the tensor [1, 3, side, side], and the resized picture."""
    scale = side / max(image.shape[:2])
    height, width = (int(size * scale + 0.5) for size in image.shape[:2])
    resized = np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR))
    tensor = torch.zeros(1, 3, side, side)
    tensor[0, :, :height, :width] = torch.from_numpy((resized - MEAN) / STD).permute(2, 0, 1)
    return tensor, resized


def full_size(low_res, frame, size):
    """Bilinear to 1024x1024, crop to the frame, bilinear to the picture."""
    large = F.interpolate(low_res, (1024, 1024), mode="bilinear", align_corners=False)
    return F.interpolate(large[..., : frame[0], : frame[1]], size, mode="bilinear", align_corners=False)


def pixel_prompt(file, picture, name, frame, size):
    """(coords, labels, boxes) of a golden prompt in px of the picture, moved to the 1024 frame."""
    scale = torch.tensor([frame[1] / size[1], frame[0] / size[0]], dtype=torch.float64)
    coords, labels, box = (file.get(f"{picture}.{name}.{part}") for part in PARTS)
    if name == "boxes":
        box = file[f"{picture}.boxes.boxes"]
    return (
        None if coords is None else (torch.from_numpy(coords) * scale).float()[None],
        None if labels is None else torch.from_numpy(labels)[None],
        None if box is None else (torch.from_numpy(box).reshape(-1, 2, 2) * scale).float().reshape(-1, 4),
    )


@pytest.mark.parametrize("picture", ["a", "b"])
@pytest.mark.parametrize("name", mark_slow(RULES["predictor"]["models"], {"xl0-sam"}))
def test_prompts_on_pictures_equal_the_reference(name, picture):
    model, file = golden_model(name), golden("sam-predictor")
    image, key = golden_image(picture), f"{name.removesuffix('-sam')}.{picture}"
    tensor, resized = as_input(image, model.image_size)
    assert list(resized.shape) == file[f"{key}.resized.shape"].tolist()
    np.testing.assert_allclose(tensor[0, :, ::37, ::37], file[f"{key}.input.sample"], atol=0.02)
    embedding = model(tensor)
    frame, size = tuple(file[f"{key}.frame"].tolist()), image.shape[:2]
    point_masks, _ = model.decode(embedding, *pixel_prompt(file, picture, "point", frame, size))
    earlier = point_masks[:, 1:][:, int(file[f"{key}.point_mask.from"])][:, None]
    for prompt in ("point", "points", "box", "point_box", "point_mask", "boxes"):
        mask = earlier if prompt == "point_mask" else None
        masks, iou = model.decode(embedding, *pixel_prompt(file, picture, prompt, frame, size), mask)
        for kind, kept in (("multi", slice(1, 4)), ("single", slice(0, 1))):
            expected = f"{key}.{prompt}.{kind}"
            check_answer(masks[:, kept], iou[:, kept], file, expected)
            bits = (full_size(masks[:, kept], frame, size) > 0).numpy()
            check_masks(bits, golden_masks(file, f"{expected}.masks"))


def check_answer(low_res, iou, file, key):
    """Logits and predicted IoU; the golden file drops the batch of single prompts."""
    atol, logits, quality = RULES["predictor"]["atol"], file[f"{key}.low_res"], file[f"{key}.iou"]
    np.testing.assert_allclose(iou.numpy().reshape(quality.shape), quality, atol=atol["iou"])
    np.testing.assert_allclose(low_res[..., ::7, ::7].numpy().reshape(logits.shape), logits, atol=atol["low_res"])


def check_masks(found, expected):
    expected = expected.reshape(found.shape)
    union = (found | expected).sum((-2, -1))
    overlap = (found & expected).sum((-2, -1))
    assert (overlap >= RULES["predictor"]["mask_iou"] * union).all()


def test_a_prompt_does_not_see_its_neighbours():
    """A batch answers as its prompts do alone."""
    model = golden_model()
    embedding = torch.from_numpy(make_input([1, 256, 64, 64], 3))
    coords, labels = torch.rand(3, 2, 2) * 1024, torch.tensor([[1, 1], [1, 0], [0, 1]])
    masks, iou = model.decode(embedding, coords, labels)
    assert (masks.shape, iou.shape) == ((3, 4, 256, 256), (3, 4))
    for index in range(3):
        alone, quality = model.decode(embedding, coords[index : index + 1], labels[index : index + 1])
        torch.testing.assert_close(masks[index : index + 1], alone, rtol=1e-5, atol=1e-4)
        torch.testing.assert_close(iou[index : index + 1], quality, rtol=1e-5, atol=1e-5)


def test_padding_point_stands_for_a_missing_box():
    """Points without a box get one more token, whose position plays no part; points with a box do not."""
    encoder = golden_model().prompt_encoder
    coords, labels, boxes = torch.rand(2, 3, 2) * 1024, torch.ones(2, 3, dtype=torch.int64), torch.rand(2, 4) * 1024
    points, _ = encoder(coords, labels, None, None)
    both, _ = encoder(coords, labels, boxes, None)
    box, _ = encoder(None, None, boxes, None)
    assert [tokens.shape[1] for tokens in (points, both, box)] == [4, 5, 2]
    torch.testing.assert_close(points[:, 3], encoder.not_a_point_embed.weight.expand(2, -1))
    torch.testing.assert_close(both, torch.cat([points[:, :3], box], dim=1))


def test_a_mask_alone_is_a_prompt():
    mask = torch.from_numpy(make_input([1, 1, 256, 256], 2))
    masks, iou = golden_model().decode(torch.from_numpy(make_input([1, 256, 64, 64], 3)), mask=mask)
    assert (masks.shape, iou.shape) == ((1, 4, 256, 256), (1, 4))
    assert masks.isfinite().all()


def test_checkpoint_round_trip(tmp_path):
    path = save_checkpoint(structured_model(), tmp_path / "structured.pt")
    model = create_model("l0-sam", weights=str(path))
    assert all(torch.equal(value, structured_model().state_dict()[key]) for key, value in model.state_dict().items())
    assert not model.training
    with pytest.raises(ArtifactError, match="does not belong to this model"):
        create_model("l1-sam", weights=str(path))


def test_structured_weights_leave_the_golden_ones_alone():
    key = "mask_decoder.output_upscaling.0.weight"
    golden_weight, structured = golden_model().state_dict()[key], structured_model().state_dict()[key]
    assert not torch.equal(golden_weight, structured)
    assert torch.equal(golden_weight[:, :, 0, 0], structured[:, :, 1, 1])


def test_random_weights_give_masks_that_can_be_compared():
    """Neither empty nor full, and of finite size: else agreement of masks would prove nothing."""
    model = create_model("l0-sam", weights="random")
    tensor, _ = as_input(golden_image("a"), model.image_size)
    embedding = model(tensor)
    torch.testing.assert_close(embedding.std(), torch.tensor(1.0), rtol=0.05, atol=0)
    masks, iou = model.decode(embedding, torch.rand(4, 1, 2) * 700, torch.ones(4, 1, dtype=torch.int64))
    fraction = (masks > 0).float().mean((2, 3))
    assert fraction.min() > 0.01
    assert fraction.max() < 0.99
    assert masks.abs().max() < 100
    assert iou.abs().max() < 10


def test_no_demo_weights_for_segment_anything():
    with pytest.raises(UsageError, match="no demo weights are shipped for l0-sam"):
        create_model("l0-sam", weights="demo")
