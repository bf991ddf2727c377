# SPDX-License-Identifier: Apache-2.0
"""Segmentation on real engines: the numbers are the reference's, computed here a second time in PyTorch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from evit_deploy.data import ade20k, cityscapes
from evit_deploy.data.images import read_image, write_image
from evit_deploy.data.metrics import ConfusionMatrix
from evit_deploy.errors import ArtifactError, UsageError
from evit_deploy.profiles.evaluate import Options, evaluate_engine, parse_dataset
from evit_deploy.profiles.evaluate.kinds import open_task
from evit_deploy.profiles.evaluate.segmentation import LoadedImage, count_classes
from evit_deploy.runtime import load


def reference_iou(logits_of, images, labels, classes):
    """IoU per class as the reference's evaluation sums it: upsampled logits, then argmax."""
    inter, union = torch.zeros(classes), torch.zeros(classes)
    for image, truth in zip(images, labels, strict=True):
        target = torch.from_numpy(truth.astype(np.int64))
        logits = torch.from_numpy(logits_of(image))[None].float()
        logits = torch.nn.functional.interpolate(logits, target.shape, mode="bicubic", align_corners=False)
        judged = target != -1
        output, target = (logits.argmax(1)[0] + 1) * judged, (target + 1) * judged
        same = output * (output == target)
        areas = [torch.histc(x.float(), bins=classes, min=1, max=classes) for x in (output, target, same)]
        inter, union = inter + areas[2], union + areas[0] + areas[1] - areas[2]
    return inter / union


@pytest.fixture
def run(tmp_path):
    def evaluate(engine, dataset, **options):
        return evaluate_engine(engine, parse_dataset(dataset), tmp_path / "profiles", Options(**options))[0]

    return evaluate


def logits_of(segmenter):
    def call(image):
        found = segmenter.infer({"image": np.ascontiguousarray(image)[None]})
        return found["logits"][0].copy()

    return call


@pytest.mark.parametrize("size", [(64, 128), (96, 160)])
def test_logits_give_the_references_numbers(logits_engine, tmp_path, run, size):
    from evit_deploy.data.resize import resize_image

    written = cityscapes.write_dataset(tmp_path / "cs", "val", range(4), *size, train_ids=False)
    found = run(logits_engine, f"cityscapes:{tmp_path / 'cs'}")
    labels = [np.where(ids == 255, -1, ids.astype(int)) for _, ids in cityscapes.read_dataset(tmp_path / "cs", "val")]
    with load(logits_engine) as segmenter:
        fitted = [resize_image(read_image(path), 64, 128, "opencv-cubic") for path in written]
        expected = reference_iou(logits_of(segmenter), fitted, labels, 19).numpy()
    measured = np.array([np.nan if item.iou is None else item.iou for item in found.score.classes])
    np.testing.assert_allclose(measured, expected, atol=2e-4)
    assert found.score.metrics["mIoU"] == pytest.approx(np.nanmean(expected), abs=1e-4)
    assert not any("nearest" in text for text in found.warnings)
    assert (measured > 0).sum() > 5


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_logits_that_are_not_finite_are_wrong_everywhere(logits_engine, cityscapes_root, value):
    """The argmax takes NaN for the largest: all of it would be class 0, and a street full of road right."""
    with load(logits_engine) as segmenter:
        task = open_task(segmenter, segmenter.manifest.model, parse_dataset(f"cityscapes:{cityscapes_root}"))
        logits = np.zeros((19, 64, 128), np.float32)
        logits[0] = 1.0
        loaded = LoadedImage(np.zeros(1), np.full((64, 128), 7, np.uint8))  # road
        right = task.finish([("a", task.judge(loaded, logits))])
        logits[0, 5, 6] = value
        wrong = task.finish([("a", task.judge(loaded, logits))])
    assert right.metrics == {"mIoU": 1.0, "pixel accuracy": 1.0}
    assert wrong.metrics == {"mIoU": 0.0, "pixel accuracy": 0.0}
    assert "the outputs of 1 of 1 images are not finite" in wrong.warnings
    assert not any("not finite" in text for text in right.warnings)


def test_a_class_map_of_the_labels_size_is_judged_as_it_is(classes_engine, cityscapes_root, run):
    found = run(classes_engine, f"cityscapes:{cityscapes_root}")
    matrix = ConfusionMatrix(19)
    with load(classes_engine) as segment:
        for path, ids in cityscapes.read_dataset(cityscapes_root, "val"):
            matrix.update(segment(read_image(path)).class_map, ids)
    assert found.score.confusion == matrix.counts[:, :19].tolist()
    assert found.score.metrics["pixel accuracy"] == matrix.accuracy()
    assert [item.count for item in found.score.classes] == matrix.counts.sum(axis=1).tolist()
    assert found.images == found.dataset.images == 6
    assert found.score.published is None  # random weights
    assert not any("nearest" in text for text in found.warnings)
    wrong = found.score.mistakes
    assert [item.count for item in wrong] == sorted((item.count for item in wrong), reverse=True)
    assert all(item.truth != item.predicted for item in wrong)


def test_a_class_map_of_another_size_is_said_to_be_scaled(classes_engine, tmp_path, run):
    cityscapes.write_dataset(tmp_path / "cs", "val", [1, 2], 96, 160)
    found = run(classes_engine, f"cityscapes:{tmp_path / 'cs'}")
    assert any("2 of 2 images were brought from 64x128" in text for text in found.warnings)


def test_ade20k_of_any_sizes_on_an_engine_of_a_fixed_batch(ade20k_engine, ade20k_root, run):
    found = run(ade20k_engine, f"ade20k:{ade20k_root}")
    matrix = ConfusionMatrix(150)
    with load(ade20k_engine) as segmenter:
        from evit_deploy.data.resize import resize_image, resize_nearest

        for files in ade20k.list_images(ade20k_root):
            image = resize_image(read_image(files.image), 64, 64, "opencv-cubic")
            class_map = segmenter.infer({"image": np.stack([image, image])})["classes"][0]
            labels = read_image(files.labels)[..., 0].astype(int) - 1
            matrix.update(resize_nearest(class_map, *labels.shape), np.where(labels < 0, 255, labels))
    assert found.score.confusion == matrix.counts[:, :150].tolist()
    assert found.score.metrics["mIoU"] == pytest.approx(float(np.nanmean(matrix.iou())))
    assert found.dataset.split == "validation"


def test_scenes_need_no_files(classes_engine, run):
    found = run(classes_engine, "scenes", limit=2)
    assert (found.images, found.dataset.images, found.dataset.path) == (2, 60, None)
    assert any("2 of 60" in text for text in found.warnings)


@pytest.mark.slow
def test_held_out_scenes_score_as_when_the_demo_weights_were_trained(make_engine, run):
    """The training measured in PyTorch, with code of its own."""
    found = run(make_engine("b0-seg", (512, 1024), weights="demo"), "scenes")
    assert found.score.published is not None
    for name, value in found.score.published.items():
        assert found.score.metrics[name] == pytest.approx(value, abs=2e-4)


def test_labels_that_judge_nothing(classes_engine, cityscapes_root, run):
    for path in cityscapes_root.glob("gtFine/val/*/*.png"):
        write_image(path, np.zeros((64, 128), np.uint8))
    with pytest.raises(UsageError, match="no pixel of the labels"):
        run(classes_engine, f"cityscapes:{cityscapes_root}")


def damage_nothing_there(root):
    next(root.glob("gtFine/val/here/*labelIds.png")).unlink()


def damage_image(root):
    path = next(root.glob("leftImg8bit/val/here/*.png"))
    path.write_bytes(path.read_bytes()[:2000])


def damage_labels(root):
    path = next(root.glob("gtFine/val/here/*labelIds.png"))
    path.write_bytes(b"not a picture")


def damage_size(root):
    write_image(next(root.glob("gtFine/val/here/*labelIds.png")), np.zeros((64, 100), np.uint8))


def damage_kind(root):
    write_image(next(root.glob("gtFine/val/here/*labelIds.png")), np.zeros((64, 128, 3), np.uint8))


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (damage_nothing_there, "there is no file"),
        (damage_image, "not an image that can be read"),
        (damage_labels, "cannot be read"),
        (damage_size, "differ in size"),
        (damage_kind, "no image of label ids"),
    ],
)
def test_one_broken_file(classes_engine, cityscapes_root, run, damage, words):
    damage(cityscapes_root)
    with pytest.raises(ArtifactError, match=words):
        run(classes_engine, f"cityscapes:{cityscapes_root}")
    found = run(classes_engine, f"cityscapes:{cityscapes_root}", skip_broken=True)
    assert found.images == 5
    assert len(found.skipped) == 1
    assert words in found.skipped[0].why
    assert found.skipped[0].file.startswith("leftImg8bit/val/here/")


@given(
    height=st.integers(1, 40), width=st.integers(1, 40), classes=st.integers(1, 255), seed=st.integers(0, 1 << 31),
)  # fmt: skip
def test_counting_equals_the_plain_matrix(height, width, classes, seed):
    random = np.random.default_rng(seed)
    labels, predicted = random.integers(0, 256, (2, height, width), np.uint8)
    table = random.integers(0, 256, 256).astype(np.uint8)
    matrix = ConfusionMatrix(classes)
    matrix.update(predicted, table[labels])
    np.testing.assert_array_equal(count_classes(labels, predicted, table, classes), matrix.counts)
