# SPDX-License-Identifier: Apache-2.0
"""Does an engine still agree with PyTorch? Answered from the reference it carries, without PyTorch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy.typing as npt

from evit_deploy.agreement import compare_frame, judge
from evit_deploy.manifest import Agreement, Budget, FrameAgreement, Manifest
from evit_deploy.runtime.preprocess import graph_input
from evit_deploy.runtime.reference import REFERENCE, Reference

__all__ = ["REFERENCE", "Infer", "Reference", "verify"]

Infer = Callable[[Mapping[str, npt.NDArray[Any]]], Mapping[str, npt.NDArray[Any]]]


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
