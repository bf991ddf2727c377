# SPDX-License-Identifier: Apache-2.0
"""Accuracies that others, or the training of the demo weights, have recorded for the very weights of an engine."""

from __future__ import annotations

import json
from pathlib import Path

import evit_deploy.models
from evit_deploy.manifest import Manifest
from evit_deploy.models.zoo import find_model

_DEMO = Path(evit_deploy.models.__file__).parent / "demo"


def published_accuracy(manifest: Manifest) -> dict[str, float] | None:
    """What the reference's authors published for the weights and the resolution of an engine, 0..1; None if nothing."""
    spec = find_model(manifest.model.name)
    if manifest.weights.source != "official" or manifest.graph.resolution != spec.resolution or spec.accuracy is None:
        return None
    return {spec.metric: round(spec.accuracy / 100, 6)}


def demo_accuracy(manifest: Manifest) -> dict[str, float] | None:
    """What the training of the demo weights recorded on drawn scenes of the engine's resolution; None if nothing."""
    if manifest.weights.source != "demo":
        return None
    card = json.loads((_DEMO / f"{manifest.model.name}.json").read_text(encoding="utf-8"))
    held_out = card["held_out"].get("{}x{}".format(*manifest.graph.resolution))
    return held_out and {"mIoU": held_out["mean_iou"], "pixel accuracy": held_out["pixel_accuracy"]}
