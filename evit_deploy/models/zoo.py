# SPDX-License-Identifier: Apache-2.0
"""The model zoo as data: every model, its head, its checkpoint and its default resolution.

To add a model, add a row to `_SPECS` (and, for a new backbone, one in `evit_deploy.models.backbones`). Importing this
module imports no PyTorch, so that ``evit-deploy models`` answers at once.

Sources: mit-han-lab/efficientvit at commit de7d773, the README.md of applications/efficientvit_cls,
applications/efficientvit_seg and applications/efficientvit_sam (accuracy, parameters, multiply-accumulates).
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from evit_deploy.errors import UsageError

_METRICS = {"cls": "top-1", "seg": "mIoU", "sam": "COCO mAP"}
_NORM_EPS = {"b": 1e-5, "l": 1e-7}  # of classification and segmentation, by the backbone's family
_SAM_NORM_EPS = 1e-6

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
class ClassifierHeadSpec:
    """Widths of the two hidden layers of a classification head."""

    widths: tuple[int, int]


@dataclass(frozen=True)
class SegmentationHeadSpec:
    """A segmentation head.

    Attributes:
        width: Channels of the fused feature map.
        block: "mbconv" or "fused".
        expand: Expansion of the residual blocks.
        depth: Number of residual blocks.
        final_expand: Widening 1×1 layer before the classifier, as a multiple of width; None for no such layer.
    """

    width: int
    block: str
    expand: int
    depth: int
    final_expand: int | None


@dataclass(frozen=True)
class SamHeadSpec:
    """The neck of a Segment Anything encoder; prompt encoder and mask decoder are the same in all five models.

    Attributes:
        expand: Expansion of the neck's residual blocks.
        depth: Number of them.
    """

    expand: int
    depth: int


@dataclass(frozen=True)
class ModelSpec:
    """One model of the zoo.

    Attributes:
        name: Name in this project, such as "b1-seg".
        alias: The reference implementation's own name.
        task: "cls", "seg" or "sam" (Segment Anything: masks for prompts).
        dataset: "imagenet", "cityscapes", "ade20k" or "sa-1b".
        backbone: Key of `evit_deploy.models.backbones.BACKBONES`.
        head: Widths and blocks of its head.
        norm_eps: Epsilon of every BatchNorm and LayerNorm, as the checkpoints were trained.
        classes: Number of classes; 1 for "sam": the object of the prompt.
        resolution: Default input (height, width) in pixels; for "sam" the only one.
        parameters: Number of trainable parameters, in millions.
        gmacs: Published multiply-accumulates at the default resolution, in 10⁹; None if never published.
        accuracy: Published `metric` at the default resolution, in percent; None if never published. For "sam": box
            prompts of ViTDet on COCO val2017.
        crop_ratio: Centre crop of the classifiers' preprocessing.
        checkpoints: Official checkpoints; empty if none is linked.
    """

    name: str
    alias: str
    task: str
    dataset: str
    backbone: str
    head: ClassifierHeadSpec | SegmentationHeadSpec | SamHeadSpec
    norm_eps: float
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
        return _METRICS[self.task]

    @property
    def has_demo_weights(self) -> bool:
        """Whether this project ships weights of its own for the model."""
        return self.name in DEMO_MODELS


def _classifier(
    backbone: str,
    widths: tuple[int, int],
    parameters: float,
    gmacs: float | None,
    accuracy: float | None,
    sides: tuple[int, ...],
    crop: float,
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
        head=ClassifierHeadSpec(widths),
        norm_eps=_NORM_EPS[backbone[0]],
        classes=1000,
        resolution=(224, 224),
        parameters=parameters,
        gmacs=gmacs,
        accuracy=accuracy,
        checkpoints=checkpoints,
        crop_ratio=crop,
    )


def _segmenter(
    backbone: str, dataset: str, head: SegmentationHeadSpec, parameters: float, gmacs: float, accuracy: float
) -> ModelSpec:
    cityscapes = dataset == "cityscapes"
    checkpoint = Checkpoint("han-cai/efficientvit-seg", f"efficientvit_seg_{backbone}_{dataset}.pt")
    return ModelSpec(
        name=f"{backbone}-seg" if cityscapes else f"{backbone}-seg-ade20k",
        alias=f"efficientvit-seg-{backbone}-{dataset}",
        task="seg",
        dataset=dataset,
        backbone=backbone,
        head=head,
        norm_eps=_NORM_EPS[backbone[0]],
        classes=19 if cityscapes else 150,
        resolution=(1024, 2048) if cityscapes else (512, 512),
        parameters=parameters,
        gmacs=gmacs,
        accuracy=accuracy,
        checkpoints=(checkpoint,),
    )


def _sam(backbone: str, side: int, neck: SamHeadSpec, parameters: float, gmacs: float, accuracy: float) -> ModelSpec:
    return ModelSpec(
        name=f"{backbone}-sam",
        alias=f"efficientvit-sam-{backbone}",
        task="sam",
        dataset="sa-1b",
        backbone=backbone,
        head=neck,
        norm_eps=_SAM_NORM_EPS,
        classes=1,
        resolution=(side, side),
        parameters=parameters,
        gmacs=gmacs,
        accuracy=accuracy,
        checkpoints=(Checkpoint("mit-han-lab/efficientvit-sam", f"efficientvit_sam_{backbone}.pt"),),
    )


def _mbconv(width: int, final_expand: int | None, depth: int = 3) -> SegmentationHeadSpec:
    return SegmentationHeadSpec(width, "mbconv", expand=4, depth=depth, final_expand=final_expand)


def _fused(width: int, expand: int, depth: int, final_expand: int | None) -> SegmentationHeadSpec:
    return SegmentationHeadSpec(width, "fused", expand=expand, depth=depth, final_expand=final_expand)


_SPECS = (
    # b0-cls: trained by the authors, but no checkpoint is linked and no accuracy published.
    _classifier("b0", (1024, 1280), 3.4, None, None, (), 0.95),
    _classifier("b1", (1536, 1600), 9.1, 0.52, 79.390, (224, 256, 288), 0.95),
    _classifier("b2", (2304, 2560), 24.3, 1.6, 82.100, (224, 256, 288), 1.0),
    _classifier("b3", (2304, 2560), 48.6, 4.0, 83.468, (224, 256, 288), 1.0),
    _classifier("l1", (3072, 3200), 52.7, 5.3, 84.484, (224,), 1.0),
    _classifier("l2", (3072, 3200), 63.7, 6.9, 85.050, (224, 256, 288, 320, 384), 1.0),
    _classifier("l3", (6144, 6400), 246.0, 28.0, 85.814, (224, 256, 288, 320, 384), 1.0),
    _segmenter("b0", "cityscapes", _mbconv(32, 4, depth=1), 0.7, 4.4, 75.653),
    _segmenter("b1", "cityscapes", _mbconv(64, 4), 4.8, 25.0, 80.547),
    _segmenter("b2", "cityscapes", _mbconv(96, 4), 15.3, 74.0, 82.073),
    _segmenter("b3", "cityscapes", _mbconv(128, 4), 39.6, 179.0, 83.016),
    _segmenter("l1", "cityscapes", _fused(256, 1, 3, None), 40.2, 282.0, 82.716),
    _segmenter("l2", "cityscapes", _fused(256, 1, 5, None), 52.6, 396.0, 83.228),
    _segmenter("b1", "ade20k", _mbconv(64, None), 4.8, 3.1, 42.840),
    _segmenter("b2", "ade20k", _mbconv(96, None), 15.3, 9.1, 45.941),
    _segmenter("b3", "ade20k", _mbconv(128, None), 39.5, 22.0, 49.013),
    _segmenter("l1", "ade20k", _fused(128, 4, 3, 8), 40.4, 36.0, 49.191),
    _segmenter("l2", "ade20k", _fused(128, 4, 3, 8), 51.5, 45.0, 50.702),
    _sam("l0", 512, SamHeadSpec(expand=1, depth=4), 34.8, 35.0, 45.7),
    _sam("l1", 512, SamHeadSpec(expand=1, depth=8), 47.7, 49.0, 46.2),
    _sam("l2", 512, SamHeadSpec(expand=1, depth=12), 61.3, 69.0, 46.6),
    _sam("xl0", 1024, SamHeadSpec(expand=4, depth=6), 117.0, 185.0, 47.5),
    _sam("xl1", 1024, SamHeadSpec(expand=4, depth=12), 203.3, 322.0, 47.8),
)

MODELS = {spec.name: spec for spec in _SPECS}
_ALIASES = {spec.alias: spec.name for spec in _SPECS}


def list_models(task: str | None = None) -> list[str]:
    """Names of all models, or of one task ("cls", "seg", "sam")."""
    return [name for name, spec in MODELS.items() if task in (None, spec.task)]


def canonical_name(name: str) -> str:
    """A model's name here for a name of the reference implementation; any other text as it is."""
    key = name.strip().lower()
    return _ALIASES.get(key, key)


def find_model(name: str) -> ModelSpec:
    """Look a model up by its name or by the reference implementation's name.

    Raises:
        UsageError: No such model; the message lists the nearest names.
    """
    key = canonical_name(name)
    if key in MODELS:
        return MODELS[key]
    near = difflib.get_close_matches(key, [*MODELS, *_ALIASES], n=4, cutoff=0.4) or list(MODELS)
    raise UsageError(
        f"there is no model '{name}'",
        expected=f"one of {', '.join(near)}",
        fix="evit-deploy models lists all of them",
    )
