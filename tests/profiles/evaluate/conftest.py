# SPDX-License-Identifier: Apache-2.0
"""Small engines for all kinds of data sets, and folders in their real formats."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from evit_deploy.data import cityscapes
from evit_deploy.data.images import write_image
from evit_deploy.engines import build_engine
from evit_deploy.export import ExportOptions, export_model
from evit_deploy.profiles.evaluate import speed

SYNSETS = {"n01440764": 0, "n02123045": 281, "n15075141": 999}


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    """The engine alone is timed for no longer than it must be."""
    monkeypatch.setattr(speed, "SECONDS", 0.0)
    monkeypatch.setattr(speed, "RUNS", 1)


@pytest.fixture(scope="session")
def make_engine(tmp_path_factory):
    """Makes an ONNX Runtime engine."""

    def make(model: str, size: tuple[int, int], weights: str = "random", **options) -> Path:
        workspace = tmp_path_factory.mktemp(model)
        export_model(model, workspace / "export", ExportOptions(weights=weights, resolution=size, **options))
        build_engine(workspace / "export", workspace / f"{model}.cpu.fp32", target="cpu", compiler="onnxruntime")
        return workspace / f"{model}.cpu.fp32"

    return make


@pytest.fixture(scope="session")
def logits_engine(make_engine):
    """A segmenter for Cityscapes that ends in logits; with weights that tell classes apart."""
    return make_engine("b0-seg", (64, 128), weights="demo", output="logits")


@pytest.fixture(scope="session")
def ade20k_engine(make_engine):
    """A segmenter for ADE20K that takes two images at once, always."""
    return make_engine("b1-seg-ade20k", (64, 64), batch=(2, 2))


@pytest.fixture(scope="session")
def classifier_engine(make_engine):
    """A classifier."""
    return make_engine("b0-cls", (64, 64), batch=(1, 3))


@pytest.fixture
def classes_engine(small_workspace):
    """A segmenter for Cityscapes that gives a class map."""
    return small_workspace / "engines" / "b0-seg.cpu.fp32.onnxruntime"


@pytest.fixture
def cityscapes_root(tmp_path):
    """Six images of 64x128 in two cities, in Cityscapes' format."""
    for city, seeds in (("here", (1, 2, 3)), ("there", (4, 5, 6))):
        cityscapes.write_dataset(tmp_path / "cs", "val", seeds, 64, 128, city=city, train_ids=False)
    return tmp_path / "cs"


@pytest.fixture
def ade20k_root(tmp_path):
    """Three images of different sizes in ADE20K's format."""
    random, root = np.random.default_rng(0), tmp_path / "ade"
    for index, (height, width) in enumerate([(64, 64), (50, 90), (91, 40)], 1):
        name = f"ADE_val_{index:08d}"
        image = random.integers(0, 256, (height, width, 3), np.uint8)
        write_image(root / "images" / "validation" / f"{name}.jpg", image)
        labels = random.integers(0, 151, (height, width), np.uint8)
        write_image(root / "annotations" / "validation" / f"{name}.png", labels)
    return root


@pytest.fixture
def imagenet_root(tmp_path):
    """Two images of each of three synsets, a grey one among them."""
    random, root = np.random.default_rng(0), tmp_path / "imagenet"
    for synset in SYNSETS:
        for index, shape in enumerate([(80, 100, 3), (90, 70)]):
            image = random.integers(0, 256, shape, np.uint8)
            write_image(root / "val" / synset / f"ILSVRC2012_val_{index:08d}.JPEG", image)
    return root
