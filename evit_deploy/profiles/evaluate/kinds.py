# SPDX-License-Identifier: Apache-2.0
"""The kinds of data sets, and which models each of them is for.

To add one, write a function that makes its `Task` of a loaded engine, and add a row to `KINDS`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evit_deploy.data import ade20k, cityscapes, coco_dataset, imagenet
from evit_deploy.errors import UsageError
from evit_deploy.manifest import ModelInfo
from evit_deploy.profiles.evaluate.classification import ClassificationTask
from evit_deploy.profiles.evaluate.published import demo_accuracy, published_accuracy
from evit_deploy.profiles.evaluate.sam_kind import open_coco
from evit_deploy.profiles.evaluate.sam_objects import BOXES
from evit_deploy.profiles.evaluate.segmentation import SegmentationTask
from evit_deploy.profiles.evaluate.sources import Folders, Scenes
from evit_deploy.profiles.evaluate.task import Request, Task
from evit_deploy.runtime import Classifier, SegmentAnything, Segmenter


@dataclass(frozen=True)
class Kind:
    """A kind of data set.

    Attributes:
        trained_on: Data set of the models that it is for, as their manifests name it.
        open: Makes the task, of what `evit_deploy.runtime.load` gives for such a model.
        split: The split that is evaluated on if none is named; None of a kind without files.
        prompts: How its models are asked if nothing else is said; None of models that are not asked.
    """

    trained_on: str
    open: Callable[[Any, Request], Task[Any, Any]]
    split: str | None = None
    prompts: str | None = None

    @property
    def has_files(self) -> bool:
        """Whether it is a folder."""
        return self.split is not None


def parse_dataset(text: str, split: str | None = None, prompts: str | None = None) -> Request:
    """Read "KIND:DIR", or "KIND" of a kind without files.

    Raises:
        UsageError: No such kind or folder, or an option that the kind does not have.
    """
    name, colon, folder = text.partition(":")
    if name not in KINDS:
        raise UsageError(
            f"'{text}' names no data set",
            expected=f"KIND:DIR with one of {', '.join(KINDS)}",
            fix=_example("cityscapes"),
        )
    kind, root = KINDS[name], Path(folder).expanduser()  # shells expand no ~ behind a colon
    if kind.has_files and not (folder and root.is_dir()):
        raise UsageError(f"there is no folder '{folder}'", expected=f"{name}:DIR", fix=_example(name))
    if not kind.has_files and (colon or split):
        raise UsageError(f"{name} are not in files", found=text, expected=f"{name}, without folder and split")
    if prompts is not None and kind.prompts is None:
        raise UsageError(f"{name} has no prompts", expected=f"--prompts with {', '.join(_prompted())} only")
    own_split, own_prompts = split in (None, kind.split), prompts in (None, "", kind.prompts)
    return Request(
        name, root if kind.has_files else None, None if own_split else split, None if own_prompts else prompts
    )


def open_task(runtime: Segmenter | Classifier | SegmentAnything, model: ModelInfo, request: Request) -> Task[Any, Any]:
    """Make the task of an engine on a data set.

    Raises:
        UsageError: The model is for another data set, or the folder holds no such data set.
    """
    kind = KINDS[request.kind]
    if model.dataset != kind.trained_on:
        fitting = [name for name, other in KINDS.items() if other.trained_on == model.dataset]
        raise UsageError(
            f"{model.name} cannot be evaluated on {request.kind}",
            found=f"a model for {model.dataset}",
            expected=f"one of {', '.join(fitting)}" if fitting else None,
        )
    return kind.open(runtime, request)


def _cityscapes(segmenter: Segmenter, request: Request) -> SegmentationTask:
    split = request.split or cityscapes.SPLIT
    images = cityscapes.list_images(_root(request), split)
    published = published_accuracy(segmenter.manifest) if split == cityscapes.SPLIT else None
    return SegmentationTask(segmenter, Folders(images, split, cityscapes.TRAIN_ID_FROM_LABEL_ID, published))


_ADE20K_SIZE = (
    "the published mIoU was measured with the short side of every image at 512 pixels and its aspect kept; this engine "
    "stretches every image to its one size"
)


def _ade20k(segmenter: Segmenter, request: Request) -> SegmentationTask:
    split = request.split or ade20k.SPLIT
    images = ade20k.list_images(_root(request), split)
    published = published_accuracy(segmenter.manifest) if split == ade20k.SPLIT else None
    notes = (_ADE20K_SIZE,) if published else ()
    return SegmentationTask(segmenter, Folders(images, split, ade20k.CLASS_FROM_LABEL, published, notes))


def _imagenet(classifier: Classifier, request: Request) -> ClassificationTask:
    split = request.split or imagenet.SPLIT
    photos = imagenet.list_photos(_root(request), split)
    published = published_accuracy(classifier.manifest) if split == imagenet.SPLIT else None
    return ClassificationTask(classifier, photos, split, published)


def _scenes(segmenter: Segmenter, request: Request) -> SegmentationTask:
    del request  # scenes are drawn
    manifest = segmenter.manifest
    return SegmentationTask(segmenter, Scenes(manifest.graph.resolution, demo_accuracy(manifest)))


KINDS = {
    "cityscapes": Kind("cityscapes", _cityscapes, cityscapes.SPLIT),
    "ade20k": Kind("ade20k", _ade20k, ade20k.SPLIT),
    "imagenet": Kind("imagenet", _imagenet, imagenet.SPLIT),
    "coco": Kind("sa-1b", open_coco, coco_dataset.SPLIT, BOXES),
    "scenes": Kind("cityscapes", _scenes),
}


def _root(request: Request) -> Path:
    assert request.root is not None, "of a kind that has files"
    return request.root


def _example(name: str) -> str:
    return f"evit-deploy eval ENGINE --dataset {name}{':DIR' if KINDS[name].has_files else ''}"


def _prompted() -> list[str]:
    return [name for name, kind in KINDS.items() if kind.prompts is not None]
