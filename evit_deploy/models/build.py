# SPDX-License-Identifier: Apache-2.0
"""From a zoo entry to a PyTorch module without weights."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import nn

from evit_deploy.models.backbones import BACKBONES
from evit_deploy.models.heads import Classifier, Segmenter
from evit_deploy.models.sam import SegmentAnything
from evit_deploy.models.zoo import ClassifierHeadSpec, ModelSpec, SamHeadSpec


def build_model(spec: ModelSpec) -> nn.Module:
    """Build the network of a zoo entry on the CPU, with uninitialised weights (a checkpoint fills them)."""
    backbone = replace(BACKBONES[spec.backbone], norm_eps=spec.norm_eps)
    with torch.device("meta"):
        if isinstance(spec.head, ClassifierHeadSpec):
            model: nn.Module = Classifier(backbone, spec.head, spec.classes)
        elif isinstance(spec.head, SamHeadSpec):
            model = SegmentAnything(backbone, spec.head, spec.resolution[0])
        else:
            model = Segmenter(backbone, spec.head, spec.classes)
    return model.to_empty(device="cpu")
