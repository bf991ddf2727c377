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
from evit_deploy.manifest import Agreement, Budget, FrameAgreement, Manifest
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
    """Run a graph on the reference frames, at its smallest and its largest batch, and compare with PyTorch.

    Args:
        infer: Maps named inputs to named outputs.
        manifest: Describes the graph and its preprocessing.
        reference: Frames and PyTorch's logits.
        budget: What still passes.
        advance: Called after every call of `infer`.
    """
    graph, rules = manifest.graph, manifest.preprocess
    frames: list[FrameAgreement] = []
    for batch in sorted(set(graph.batch)):
        for start in range(0, len(reference.names), batch):
            # Neighbours in a batch are different frames, so that a graph that mixes its items is found out.
            chosen = [(start + item) % len(reference.names) for item in range(batch)]
            outputs = infer({graph.inputs[0].name: graph_input(reference.images[chosen], graph, rules)})
            for item, index in enumerate(chosen):
                name = reference.names[index] + (f" [{item + 1} of {batch}]" if batch > 1 else "")
                answer = {key: array[item] for key, array in outputs.items()}
                frames.append(compare_frame(name, reference.logits[index], answer))
            advance()
    return judge(manifest.agreement.against, budget, frames)
