# SPDX-License-Identifier: Apache-2.0
"""Classification on a real engine: top-1 and top-5 as PyTorch counts them."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from evit_deploy.data.imagenet import Photo, list_photos
from evit_deploy.data.images import read_image
from evit_deploy.errors import ArtifactError
from evit_deploy.profiles.evaluate import Options, evaluate_engine, parse_dataset
from evit_deploy.profiles.evaluate.classification import ClassificationTask, LoadedPhoto
from evit_deploy.runtime import load


@pytest.fixture
def labelled_by_the_engine(classifier_engine, imagenet_root):
    """Some images are given the class that the engine thinks is best, third and tenth."""
    lines, logits = [], []
    with load(classifier_engine) as classifier:
        for index, photo in enumerate(list_photos(imagenet_root)):
            best = classifier(read_image(photo.path), top=10).indices
            label = best[(0, 0, 2, 9, 2, 0)[index]]
            lines.append(f"{photo.name.removeprefix('val/')} {label}")
            logits.append(best)
    (imagenet_root / "val.txt").write_text("\n".join(lines) + "\n")
    return imagenet_root


def test_top_1_and_top_5(classifier_engine, labelled_by_the_engine, tmp_path):
    request = parse_dataset(f"imagenet:{labelled_by_the_engine}")
    found, _ = evaluate_engine(classifier_engine, request, tmp_path / "profiles")
    assert found.score.metrics == {"top-1": 3 / 6, "top-5": 5 / 6}
    assert sum(item.count for item in found.score.classes) == 6
    assert all(item.accuracy is not None and item.iou is None for item in found.score.classes)
    assert found.score.confusion is None
    assert sum(item.count for item in found.score.mistakes) == 3
    assert found.dataset.split == "val"


def test_folders_of_synsets(classifier_engine, imagenet_root, tmp_path):
    found, _ = evaluate_engine(classifier_engine, parse_dataset(f"imagenet:{imagenet_root}"), tmp_path / "profiles")
    assert [(item.name, item.count) for item in found.score.classes] == [
        ("tench", 2),
        ("tabby", 2),
        ("toilet tissue", 2),
    ]
    with load(classifier_engine) as classifier:
        hits = sum(
            photo.label in classifier(read_image(photo.path), top=5).indices for photo in list_photos(imagenet_root)
        )
    assert found.score.metrics["top-5"] == hits / 6


@pytest.mark.parametrize("content", [b"", b"\xff\xd8\xff junk", None])
def test_one_broken_photo(classifier_engine, imagenet_root, tmp_path, content):
    path = sorted(imagenet_root.glob("val/*/*"))[2]
    path.write_bytes(path.read_bytes()[:400] if content is None else content)
    request = parse_dataset(f"imagenet:{imagenet_root}")
    with pytest.raises(ArtifactError, match="not an image that can be read"):
        evaluate_engine(classifier_engine, request, tmp_path / "profiles")
    found, _ = evaluate_engine(classifier_engine, request, tmp_path / "profiles", Options(skip_broken=True))
    assert (found.images, [item.file for item in found.skipped]) == (5, [path.relative_to(imagenet_root).as_posix()])


def test_what_was_judged_by_other_labels_is_not_continued(classifier_engine):
    """A list of classes that is one off is a common slip; outcomes hold the classes, so a journal must tell them."""

    def options(*labels):
        photos = [Photo(f"{number}.JPEG", SimpleNamespace(), label) for number, label in enumerate(labels)]
        return ClassificationTask(classifier, photos, "val", None).options

    with load(classifier_engine) as classifier:
        assert options(1, 2) == options(1, 2)
        assert options(1, 2) != options(2, 3)
        assert options(1, 2) != options(1)


@pytest.fixture
def task(classifier_engine):
    with load(classifier_engine) as classifier:
        yield ClassificationTask(classifier, [Photo("a", SimpleNamespace(), 3)], "val", None)


@pytest.mark.parametrize("seed", range(5))
def test_ranks_are_those_of_torch_topk(task, seed):
    logits = np.random.default_rng(seed).normal(size=1000).astype(np.float32)
    order = torch.topk(torch.from_numpy(logits), 1000).indices.tolist()
    for label in (order[0], order[4], order[5], order[999]):
        outcome = task.judge(LoadedPhoto(logits, label), logits)
        assert outcome == {"label": label, "predicted": order[0], "before": order.index(label)}


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_outputs_that_are_not_finite_are_no_hits(task, value):
    logits = np.zeros(1000, np.float32)
    logits[7] = value
    outcome = task.judge(LoadedPhoto(logits, 3), logits)
    score = task.finish([("a", outcome)])
    assert score.metrics == {"top-1": 0.0, "top-5": 0.0}
    assert "not finite" in score.warnings[0]
