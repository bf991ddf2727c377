# SPDX-License-Identifier: Apache-2.0
"""Does an engine still agree with PyTorch? Answered from the reference it carries, without PyTorch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy.typing as npt

from evit_deploy.agreement import compare_embedding, compare_frame, judge
from evit_deploy.manifest import Agreement, Budget, FrameAgreement, Manifest
from evit_deploy.runtime.preprocess import graph_inputs
from evit_deploy.runtime.reference import REFERENCE, Reference
from evit_deploy.runtime.sam.reference import PromptReference
from evit_deploy.runtime.sam.verify import verify_prompts

__all__ = ["REFERENCE", "Infer", "PromptReference", "Reference", "load_reference", "verify"]

Infer = Callable[[Mapping[str, npt.NDArray[Any]]], Mapping[str, npt.NDArray[Any]]]


def load_reference(folder: Path, manifest: Manifest) -> Reference | PromptReference:
    """Read the reference of an artifact: pictures, or prompts for a mask decoder.

    Raises:
        ArtifactError: Missing or damaged.
    """
    return (PromptReference if manifest.graph.input == "prompts" else Reference).load(folder)


def verify(
    infer: Infer,
    manifest: Manifest,
    reference: Reference | PromptReference,
    budget: Budget,
    advance: Callable[[], None] = lambda: None,
) -> Agreement:
    """Run a graph on the reference, at its smallest and its largest batch, and compare with PyTorch.

    Args:
        infer: Maps named inputs to named outputs.
        manifest: Describes the graph and its preprocessing.
        reference: Pictures or prompts, and PyTorch's answers.
        budget: What still passes.
        advance: Called after every call of `infer`.
    """
    if isinstance(reference, PromptReference):
        return verify_prompts(infer, manifest, reference, budget, advance)
    graph = manifest.graph
    frames: list[FrameAgreement] = []
    for batch in sorted(set(graph.batch)):
        for start in range(0, len(reference.names), batch):
            # Neighbours in a batch are different frames, so that a graph that mixes its items is found out.
            chosen = [(start + item) % len(reference.names) for item in range(batch)]
            outputs = infer(reference_inputs(reference, manifest, chosen))
            for item, index in enumerate(chosen):
                name = reference.names[index] + (f" [{item + 1} of {batch}]" if batch > 1 else "")
                answer = {key: array[item] for key, array in outputs.items()}
                frames.append(_compare(name, reference.logits[index], answer))
            advance()
    return judge(manifest.agreement.against, budget, frames)


def reference_inputs(reference: Reference, manifest: Manifest, chosen: Sequence[int]) -> dict[str, npt.NDArray[Any]]:
    """Pictures of a reference as a batch of a graph's inputs.

    Args:
        reference: Pictures of the graph's size.
        manifest: Describes the graph and its preprocessing.
        chosen: Which of them.
    """
    picked = list(chosen)
    return graph_inputs(reference.images[picked], reference.sizes[picked], manifest.graph, manifest.preprocess)


def _compare(name: str, reference: npt.NDArray[Any], answer: Mapping[str, npt.NDArray[Any]]) -> FrameAgreement:
    if "embedding" in answer:
        return compare_embedding(name, reference, answer["embedding"])
    return compare_frame(name, reference, answer)
