# SPDX-License-Identifier: Apache-2.0
"""Look at the graph of an export or an engine, on the frames or prompts it carries."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from evit_deploy.manifest import Manifest
from evit_deploy.precision.graph import load_graph
from evit_deploy.precision.locate import LayerError, locate
from evit_deploy.precision.probe import Feed
from evit_deploy.precision.ranges import TensorRange, measure_ranges
from evit_deploy.progress import Progress, silent
from evit_deploy.runtime.sam.reference import PromptReference
from evit_deploy.runtime.sam.verify import prompt_inputs
from evit_deploy.runtime.verify import Reference, load_reference, reference_inputs


def artifact_ranges(folder: Path, manifest: Manifest, progress: Progress = silent) -> tuple[TensorRange, ...]:
    """Take the ranges of an artifact's FP32 graph on its reference frames; see `measure_ranges`.

    Args:
        folder: Folder of the artifact.
        manifest: Its manifest.
        progress: Told about every frame.

    Raises:
        ArtifactError: The graph or the reference is damaged.
        UsageError: The graph is typed FP16.
    """
    graph, reference = load_graph(folder / manifest.graph.file), load_reference(folder, manifest)
    with progress("ranges", len(reference.names)) as step:
        return measure_ranges(graph, reference_feeds(reference, manifest, step.advance))


def artifact_layers(folder: Path, manifest: Manifest, progress: Progress = silent) -> tuple[LayerError, ...]:
    """Compare all tensors of an artifact's typed graph on its reference frames; see `locate`.

    Args:
        folder: Folder of the artifact.
        manifest: Its manifest.
        progress: Told about every frame.

    Raises:
        ArtifactError: The graph or the reference is damaged.
        UsageError: The graph is not typed FP16.
    """
    graph, reference = load_graph(folder / manifest.graph.file), load_reference(folder, manifest)
    with progress("layers", len(reference.names)) as step:
        return locate(graph, reference_feeds(reference, manifest, step.advance))


def reference_feeds(
    reference: Reference | PromptReference, manifest: Manifest, advance: Callable[[], None] = lambda: None
) -> Iterator[Feed]:
    """The reference as a graph takes it, picture by picture or prompt by prompt, at its smallest batch.

    Args:
        reference: Pictures of the graph's size, or prompts.
        manifest: Describes the graph and its preprocessing.
        advance: Called when a picture or prompt has been dealt with and the next one is asked for.
    """
    batch = manifest.graph.batch[0]
    for start in range(len(reference.names)):
        if isinstance(reference, PromptReference):  # a batch of prompts is on one picture
            yield prompt_inputs(reference, manifest, [start] * batch)
        else:
            chosen = [(start + item) % len(reference.names) for item in range(batch)]
            yield reference_inputs(reference, manifest, chosen)
        advance()
