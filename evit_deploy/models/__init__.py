# SPDX-License-Identifier: Apache-2.0
"""EfficientViT in PyTorch: models whose parameters have the names and shapes of the official checkpoints.

    from evit_deploy.models import create_model, list_models

    model = create_model("b1-seg", weights="demo")   # eval mode; normalised NCHW float in, raw logits out

Start reading at `evit_deploy.models.attention`. PyTorch is imported when a model is made, not before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from evit_deploy.errors import extra
from evit_deploy.models.zoo import MODELS, Checkpoint, ModelSpec, canonical_name, find_model, list_models

if TYPE_CHECKING:
    from torch import nn

__all__ = [
    "MODELS",
    "Checkpoint",
    "ModelSpec",
    "canonical_name",
    "create_model",
    "find_model",
    "list_models",
]


def create_model(name: str, weights: str | None = None, seed: int = 0) -> nn.Module:
    """Build a model with weights, in eval mode.

    Args:
        name: A name of `list_models`, or the reference implementation's name for it.
        weights: "official" (from the Hugging Face Hub, cached), "demo" (shipped with this package), "random"
            (seeded by `seed`), or the path of a ``.pt`` or ``.safetensors`` file. None takes the official weights
            where they can be had, else the demo weights, with a warning.
        seed: Seed of "random".

    Returns:
        The module: normalised float [B, 3, H, W] in; logits [B, classes] or [B, classes, H/8, W/8] out. For "sam" an
        `evit_deploy.models.sam.SegmentAnything`: embeddings [B, 256, 64, 64] out, and masks from its ``decode``.

    Raises:
        UsageError: Unknown model, or weights that do not exist for it.
        ArtifactError: A checkpoint that is damaged or of another model.
        UnavailableError: The official weights cannot be reached, or PyTorch is not installed.
    """
    spec = find_model(name)
    with extra("export", "Building a PyTorch model"):
        from evit_deploy.models.build import build_model
        from evit_deploy.models.weights import load_weights, resolve_weights
    model = build_model(spec)
    load_weights(model, resolve_weights(spec, weights, seed=seed))
    return model.eval()
