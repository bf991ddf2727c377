# SPDX-License-Identifier: Apache-2.0
"""The PyTorch model an engine was made from: the same weights to the last bit, or an error."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from evit_deploy.errors import ArtifactError, MissingExtraError
from evit_deploy.manifest import GraphInfo, Manifest, Preprocess, WeightsInfo
from evit_deploy.models.zoo import find_model
from evit_deploy.runtime.preprocess import normalise

if TYPE_CHECKING:
    import torch
    from torch import nn

_SAME_WORK = {
    "logits": "PyTorch eager",
    "classes": "PyTorch eager + upsampling + argmax",
    "confidence": "PyTorch eager + upsampling + argmax + softmax",
}


def original_model(manifest: Manifest) -> nn.Module:
    """Build the model of a manifest, in eval mode, with the weights the manifest names.

    Raises:
        MissingExtraError: PyTorch is not installed.
        UsageError: The weights are gone.
        UnavailableError: The official weights cannot be reached.
        ArtifactError: The weights are not the ones the engine was made from.
    """
    try:
        import torch  # noqa: F401
    except ImportError:
        raise MissingExtraError("torch", "export", "Running the PyTorch model") from None
    from evit_deploy.models.build import build_model
    from evit_deploy.models.weights import load_weights, resolve_weights

    spec, info = find_model(manifest.model.name), manifest.weights
    weights = resolve_weights(spec, weights_choice(info), seed=weights_seed(info), resolution=manifest.graph.resolution)
    if weights.sha256 != info.sha256:
        raise ArtifactError(
            f"the {info.source} weights are not the ones this engine was made from",
            found=f"SHA-256 {weights.sha256[:16]}… ({weights.location})",
            expected=f"SHA-256 {info.sha256[:16]}… ({info.location})",
            fix=f"bring the old weights back, or export and build {manifest.model.name} again",
        )
    model = build_model(spec)
    load_weights(model, weights)
    return model.eval()


def weights_choice(info: WeightsInfo) -> str:
    """What to say to ``--weights`` for the weights of a manifest."""
    return info.location if info.source == "path" else info.source


def weights_seed(info: WeightsInfo) -> int:
    """Seed of random weights ("seed 7"); 0 for all others."""
    digits = info.location.removeprefix("seed ")
    return int(digits) if info.source == "random" and digits.isdigit() else 0


def work_name(graph: GraphInfo) -> str:
    """What PyTorch is given to do, so that it does what the engine does."""
    return _SAME_WORK[graph.output]


def eager_call(
    model: nn.Module, images: npt.NDArray[np.uint8], graph: GraphInfo, rules: Preprocess
) -> Callable[[], tuple[torch.Tensor, ...]]:
    """A call that does in PyTorch what the engine's graph does, eagerly and in FP32.

    The input is normalised beforehand, which an engine that takes images does itself, inside: the little difference
    is in PyTorch's favour.

    Args:
        model: The model in eval mode, on the CPU.
        images: uint8 [N, H, W, 3] of the graph's size.
        graph: The engine's graph, whose output is imitated.
        rules: Preprocessing.

    Returns:
        A function of nothing that returns the outputs of the graph, in its order.
    """
    import torch
    import torch.nn.functional as F

    tensor = torch.from_numpy(normalise(images, rules))

    def call() -> tuple[torch.Tensor, ...]:
        with torch.inference_mode():
            logits = model(tensor)
            if graph.output == "logits":
                return (logits,)
            full = F.interpolate(logits, size=graph.resolution, mode="bicubic", align_corners=False)
            if graph.output == "classes":
                return (full.argmax(dim=1).to(torch.uint8),)
            confidence, classes = full.softmax(dim=1).max(dim=1)
            return classes.to(torch.uint8), confidence

    return call
