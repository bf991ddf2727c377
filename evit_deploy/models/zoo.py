# SPDX-License-Identifier: Apache-2.0
"""The model zoo as data: every model, its head, its checkpoint and its default resolution.

To add a model, add a row here (and, for a new backbone, one in `evit_deploy.models.backbones`). Importing this module
imports no PyTorch, so that ``evit-deploy models`` answers at once.

Sources: mit-han-lab/efficientvit at commit de7d773, applications/efficientvit_cls/README.md and
applications/efficientvit_seg/README.md (accuracy, parameters, multiply-accumulates).
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from evit_deploy.errors import UsageError

DEMO_MODELS = ("b0-seg", "b1-seg")
"""Models that ship with small weights trained by this project (tools/train_demo.py)."""


@dataclass(frozen=True)
class Checkpoint:
    """One official checkpoint on the Hugging Face Hub.

    Attributes:
        repo: Repository, as "owner/name".
        file: File inside the repository.
        side: Image side in pixels it was trained at, for classifiers; None where there is one checkpoint.
    """

    repo: str
    file: str
    side: int | None = None


@dataclass(frozen=True)
class ModelSpec:
    """One model of the zoo.

    Attributes:
        name: Name in this project, such as "b1-seg".
        alias: The reference implementation's own name.
        task: "cls" or "seg".
        dataset: "imagenet", "cityscapes" or "ade20k".
        backbone: Key of `evit_deploy.models.backbones.BACKBONES`.
        classes: Number of classes.
        resolution: Default input (height, width) in pixels.
        parameters: Number of trainable parameters, in millions.
        gmacs: Published multiply-accumulates at the default resolution, in 10⁹; None if never published.
        accuracy: Published top-1 or mIoU at the default resolution, in percent; None if never published.
        crop_ratio: Centre crop of the classifiers' preprocessing.
        checkpoints: Official checkpoints; empty if none is linked.
    """

    name: str
    alias: str
    task: str
    dataset: str
    backbone: str
    classes: int
    resolution: tuple[int, int]
    parameters: float
    gmacs: float | None
    accuracy: float | None
    checkpoints: tuple[Checkpoint, ...]
    crop_ratio: float = 1.0

    @property
    def metric(self) -> str:
        """Name of the published accuracy."""
        return "top-1" if self.task == "cls" else "mIoU"

    @property
    def has_demo_weights(self) -> bool:
        """Whether this project ships weights of its own for the model."""
        return self.name in DEMO_MODELS


def _classifier(
    backbone: str, parameters: float, gmacs: float | None, accuracy: float | None, sides: tuple[int, ...], crop: float
) -> ModelSpec:
    checkpoints = tuple(
        Checkpoint("han-cai/efficientvit-cls", f"efficientvit_{backbone}_r{side}.pt", side) for side in sides
    )
    return ModelSpec(
        name=f"{backbone}-cls",
        alias=f"efficientvit-{backbone}",
        task="cls",
        dataset="imagenet",
        backbone=backbone,
        classes=1000,
        resolution=(224, 224),
        parameters=parameters,
        gmacs=gmacs,
        accuracy=accuracy,
        checkpoints=checkpoints,
        crop_ratio=crop,
    )


def _segmenter(backbone: str, dataset: str, parameters: float, gmacs: float, accuracy: float) -> ModelSpec:
    cityscapes = dataset == "cityscapes"
    checkpoint = Checkpoint("han-cai/efficientvit-seg", f"efficientvit_seg_{backbone}_{dataset}.pt")
    return ModelSpec(
        name=f"{backbone}-seg" if cityscapes else f"{backbone}-seg-ade20k",
        alias=f"efficientvit-seg-{backbone}-{dataset}",
        task="seg",
        dataset=dataset,
        backbone=backbone,
        classes=19 if cityscapes else 150,
        resolution=(1024, 2048) if cityscapes else (512, 512),
        parameters=parameters,
        gmacs=gmacs,
        accuracy=accuracy,
        checkpoints=(checkpoint,),
    )


_SPECS = (
    # b0-cls: trained by the authors, but no checkpoint is linked and no accuracy published.
    _classifier("b0", 3.4, None, None, (), 0.95),
    _classifier("b1", 9.1, 0.52, 79.390, (224, 256, 288), 0.95),
    _classifier("b2", 24.3, 1.6, 82.100, (224, 256, 288), 1.0),
    _classifier("b3", 48.6, 4.0, 83.468, (224, 256, 288), 1.0),
    _classifier("l1", 52.7, 5.3, 84.484, (224,), 1.0),
    _classifier("l2", 63.7, 6.9, 85.050, (224, 256, 288, 320, 384), 1.0),
    _classifier("l3", 246.0, 28.0, 85.814, (224, 256, 288, 320, 384), 1.0),
    _segmenter("b0", "cityscapes", 0.7, 4.4, 75.653),
    _segmenter("b1", "cityscapes", 4.8, 25.0, 80.547),
    _segmenter("b2", "cityscapes", 15.3, 74.0, 82.073),
    _segmenter("b3", "cityscapes", 39.6, 179.0, 83.016),
    _segmenter("l1", "cityscapes", 40.2, 282.0, 82.716),
    _segmenter("l2", "cityscapes", 52.6, 396.0, 83.228),
    _segmenter("b1", "ade20k", 4.8, 3.1, 42.840),
    _segmenter("b2", "ade20k", 15.3, 9.1, 45.941),
    _segmenter("b3", "ade20k", 39.5, 22.0, 49.013),
    _segmenter("l1", "ade20k", 40.4, 36.0, 49.191),
    _segmenter("l2", "ade20k", 51.5, 45.0, 50.702),
)

MODELS = {spec.name: spec for spec in _SPECS}
_ALIASES = {spec.alias: spec.name for spec in _SPECS}


def list_models(task: str | None = None) -> list[str]:
    """Names of all models, or of one task ("cls", "seg")."""
    return [name for name, spec in MODELS.items() if task in (None, spec.task)]


def find_model(name: str) -> ModelSpec:
    """Look a model up by its name or by the reference implementation's name.

    Raises:
        UsageError: No such model; the message lists the nearest names.
    """
    key = _ALIASES.get(name.strip().lower(), name.strip().lower())
    if key in MODELS:
        return MODELS[key]
    near = difflib.get_close_matches(key, [*MODELS, *_ALIASES], n=4, cutoff=0.4) or list(MODELS)
    raise UsageError(
        f"there is no model '{name}'",
        expected=f"one of {', '.join(near)}",
        fix="evit-deploy models lists all of them",
    )
