# SPDX-License-Identifier: Apache-2.0
"""Which data sets there are, for which models, and what is published for them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from evit_deploy.errors import UsageError
from evit_deploy.manifest import ModelInfo, read_manifest
from evit_deploy.models.zoo import MODELS
from evit_deploy.profiles.evaluate import KINDS, Request, evaluate_engine, parse_dataset
from evit_deploy.profiles.evaluate.kinds import open_task
from evit_deploy.profiles.evaluate.published import demo_accuracy, published_accuracy


@pytest.mark.parametrize("kind", ["cityscapes", "ade20k", "imagenet"])
def test_a_folder_is_read_as_it_is_said(kind, tmp_path):
    folder = tmp_path / "with: colon"
    folder.mkdir()
    assert parse_dataset(f"{kind}:{folder}", "train") == Request(kind, folder, "train")


def test_scenes_have_no_folder():
    assert parse_dataset("scenes") == Request("scenes")


@pytest.mark.parametrize(
    ("text", "split", "prompts", "words"),
    [
        ("", None, None, "names no data set"),
        ("voc:DIR", None, None, "names no data set"),
        ("cityscapes", None, None, "no folder ''"),
        ("cityscapes:", None, None, "no folder ''"),
        ("imagenet:/no/such/folder", None, None, "no folder '/no/such/folder'"),
        ("scenes:DIR", None, None, "not in files"),
        ("scenes", "val", None, "not in files"),
        ("ade20k:.", None, "boxes", "has no prompts"),
    ],
)
def test_what_cannot_be_read(text, split, prompts, words):
    with pytest.raises(UsageError, match=words):
        parse_dataset(text, split, prompts)


@pytest.mark.parametrize("kind", ["cityscapes", "ade20k", "imagenet"])
def test_a_folder_of_something_else(kind, tmp_path, classes_engine, ade20k_engine, classifier_engine):
    engine = {"cityscapes": classes_engine, "ade20k": ade20k_engine, "imagenet": classifier_engine}[kind]
    with pytest.raises(UsageError, match="images in"):
        evaluate_engine(engine, parse_dataset(f"{kind}:{tmp_path}"), tmp_path / "profiles")


@pytest.mark.parametrize("kind", sorted(KINDS))
@pytest.mark.parametrize("name", ["b0-seg", "b1-seg-ade20k", "b0-cls", "l0-sam"])
def test_a_model_for_something_else(kind, name):
    spec = MODELS[name]
    if spec.dataset == KINDS[kind].trained_on:
        return
    with pytest.raises(UsageError, match=f"{name} cannot be evaluated on {kind}"):
        open_task(None, ModelInfo(name, spec.task, spec.dataset, spec.classes), Request(kind))


def test_an_export_is_no_engine(small_workspace, tmp_path):
    with pytest.raises(UsageError, match="is an export"):
        evaluate_engine(small_workspace / "export" / "b0-seg", Request("scenes"), tmp_path / "profiles")


def with_weights(manifest, name, source, resolution):
    return replace(
        manifest,
        model=replace(manifest.model, name=name),
        weights=replace(manifest.weights, source=source),
        graph=replace(manifest.graph, resolution=resolution),
    )


@pytest.mark.parametrize(
    ("name", "source", "resolution", "expected"),
    [
        ("b1-seg", "official", (1024, 2048), {"mIoU": MODELS["b1-seg"].accuracy / 100}),
        ("b1-cls", "official", (224, 224), {"top-1": MODELS["b1-cls"].accuracy / 100}),
        ("b1-seg", "official", (512, 1024), None),
        ("b1-seg", "demo", (1024, 2048), None),
        ("b1-seg", "random", (1024, 2048), None),
    ],
)
def test_published_accuracies_are_of_the_very_weights_and_resolution(
    classes_engine, name, source, resolution, expected
):
    found = published_accuracy(with_weights(read_manifest(classes_engine), name, source, resolution))
    assert found == (expected and pytest.approx(expected))


@pytest.mark.parametrize(
    ("source", "resolution", "there"),
    [("demo", (512, 1024), True), ("demo", (64, 128), False), ("official", (512, 1024), False)],
)
def test_what_the_demo_weights_reached(classes_engine, source, resolution, there):
    found = demo_accuracy(with_weights(read_manifest(classes_engine), "b1-seg", source, resolution))
    assert (found is not None) == there
    assert not there or 0.5 < found["mIoU"] < found["pixel accuracy"] < 1


@pytest.mark.parametrize(
    ("prompts", "split", "name"),
    [
        (None, None, "coco"), ("boxes", None, "coco"), ("", None, "coco"), ("boxes", "val2017", "coco"),
        ("click", None, "coco-click"), ("click", "train2017", "coco-train2017-click"),
        ("detections:found.json", None, "coco-detections-found"),
        ("detections:../../a b/ViT.Det.json", None, "coco-detections-ViT-Det"), (None, "../..", "coco--"),
    ],
)  # fmt: skip
def test_every_way_of_asking_has_a_record_of_its_own(prompts, split, name, tmp_path):
    assert parse_dataset(f"coco:{tmp_path}", split, prompts).name == name


def test_a_home_folder_behind_a_colon(tmp_path, monkeypatch):
    """Shells leave it to the program."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "data").mkdir()
    assert parse_dataset("cityscapes:~/data").root == tmp_path / "data"
