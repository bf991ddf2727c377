# SPDX-License-Identifier: Apache-2.0
"""From a zoo entry to a PyTorch module without weights."""

from __future__ import annotations

import torch
from torch import nn

from evit_deploy.models.backbones import BACKBONES
from evit_deploy.models.heads import Classifier, ClassifierHeadSpec, SegmentationHeadSpec, Segmenter
from evit_deploy.models.zoo import ModelSpec

CLASSIFIER_HEADS = {
    "b0": ClassifierHeadSpec((1024, 1280)),
    "b1": ClassifierHeadSpec((1536, 1600)),
    "b2": ClassifierHeadSpec((2304, 2560)),
    "b3": ClassifierHeadSpec((2304, 2560)),
    "l1": ClassifierHeadSpec((3072, 3200)),
    "l2": ClassifierHeadSpec((3072, 3200)),
    "l3": ClassifierHeadSpec((6144, 6400)),
}

SEGMENTATION_HEADS = {
    ("b0", "cityscapes"): SegmentationHeadSpec(32, "mbconv", expand=4, depth=1, final_expand=4),
    ("b1", "cityscapes"): SegmentationHeadSpec(64, "mbconv", expand=4, depth=3, final_expand=4),
    ("b2", "cityscapes"): SegmentationHeadSpec(96, "mbconv", expand=4, depth=3, final_expand=4),
    ("b3", "cityscapes"): SegmentationHeadSpec(128, "mbconv", expand=4, depth=3, final_expand=4),
    ("l1", "cityscapes"): SegmentationHeadSpec(256, "fused", expand=1, depth=3, final_expand=None),
    ("l2", "cityscapes"): SegmentationHeadSpec(256, "fused", expand=1, depth=5, final_expand=None),
    ("b1", "ade20k"): SegmentationHeadSpec(64, "mbconv", expand=4, depth=3, final_expand=None),
    ("b2", "ade20k"): SegmentationHeadSpec(96, "mbconv", expand=4, depth=3, final_expand=None),
    ("b3", "ade20k"): SegmentationHeadSpec(128, "mbconv", expand=4, depth=3, final_expand=None),
    ("l1", "ade20k"): SegmentationHeadSpec(128, "fused", expand=4, depth=3, final_expand=8),
    ("l2", "ade20k"): SegmentationHeadSpec(128, "fused", expand=4, depth=3, final_expand=8),
}


def build_model(spec: ModelSpec) -> nn.Module:
    """Build the network of a zoo entry on the CPU, with uninitialised weights (a checkpoint fills them)."""
    backbone = BACKBONES[spec.backbone]
    with torch.device("meta"):
        if spec.task == "cls":
            model: nn.Module = Classifier(backbone, CLASSIFIER_HEADS[spec.backbone], spec.classes)
        else:
            model = Segmenter(backbone, SEGMENTATION_HEADS[spec.backbone, spec.dataset], spec.classes)
    return model.to_empty(device="cpu")
