# SPDX-License-Identifier: Apache-2.0
"""Does an engine still agree with PyTorch? Answered from the reference it carries, without PyTorch."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from evit_deploy.agreement import compare_frame, judge
from evit_deploy.errors import ArtifactError
from evit_deploy.manifest import Agreement, Budget, Manifest
from evit_deploy.runtime.preprocess import graph_input

REFERENCE = "reference.npz"
Infer = Callable[[Mapping[str, npt.NDArray[Any]]], Mapping[str, npt.NDArray[Any]]]


@dataclass(frozen=True)
class Reference:
    """Frames and what PyTorch answered.

    Attributes:
        names: One name per frame.
        images: uint8 [K, H, W, 3] RGB, already fitted to the graph's size.
        logits: float32 [K, classes] or [K, classes, h, w].
    """

    names: tuple[str, ...]
    images: npt.NDArray[np.uint8]
    logits: npt.NDArray[np.float32]

    def save(self, folder: Path) -> None:
        """Write ``reference.npz``."""
        np.savez_compressed(folder / REFERENCE, names=np.array(self.names), images=self.images, logits=self.logits)

    @classmethod
    def load(cls, folder: Path) -> Reference:
        """Read ``reference.npz``.

        Raises:
            ArtifactError: Missing or damaged.
        """
        try:
            with np.load(folder / REFERENCE, allow_pickle=False) as data:
                return cls(tuple(str(name) for name in data["names"]), data["images"], data["logits"])
        except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise ArtifactError(
                f"{folder / REFERENCE} cannot be read", found=str(error), fix="write the artifact again"
            ) from error


def verify(
    infer: Infer,
    manifest: Manifest,
    reference: Reference,
    budget: Budget,
    advance: Callable[[], None] = lambda: None,
) -> Agreement:
    """Run a graph on the reference frames and compare with PyTorch.

    Args:
        infer: Maps named inputs to named outputs.
        manifest: Describes the graph and its preprocessing.
        reference: Frames and PyTorch's logits.
        budget: What still passes.
        advance: Called after every frame.
    """
    frames = []
    batch = manifest.graph.batch[0]
    for name, image, logits in zip(reference.names, reference.images, reference.logits, strict=True):
        images = np.repeat(image[None], batch, axis=0)
        outputs = infer({manifest.graph.inputs[0].name: graph_input(images, manifest.graph, manifest.preprocess)})
        # Every item of the batch saw the same frame; the last one is compared, so that a batch that mixes items shows.
        frames.append(compare_frame(name, logits, {key: array[-1] for key, array in outputs.items()}))
        advance()
    return judge(manifest.agreement.against, budget, frames)
