# SPDX-License-Identifier: Apache-2.0
"""``evit-deploy export``: weights in, verified artifact out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import onnx

from evit_deploy.agreement import BUDGETS, require
from evit_deploy.export.describe import A_BUG, artifact_key, describe, graph_info, runner
from evit_deploy.export.forms import FORM
from evit_deploy.export.graph import LOGITS, trace_deployed
from evit_deploy.export.options import INPUTS, OUTPUTS, ExportOptions, make_plan, preprocess_rules
from evit_deploy.export.peaks import record_peaks
from evit_deploy.export.reference import choose_frames, make_reference
from evit_deploy.export.sam.export import export_sam
from evit_deploy.export.trace import check_graph, hide_output
from evit_deploy.manifest import Agreement, Bundle, Manifest, read_existing, write_artifact
from evit_deploy.models.build import build_model
from evit_deploy.models.weights import load_weights, resolve_weights
from evit_deploy.models.zoo import find_model
from evit_deploy.progress import Progress, silent
from evit_deploy.runtime.verify import Reference, verify

__all__ = ["INPUTS", "OUTPUTS", "ExportOptions", "export_graph", "export_model", "preprocess_rules"]

GRAPH = "model.onnx"


def export_model(
    name: str, folder: Path, options: ExportOptions | None = None, progress: Progress = silent
) -> tuple[Manifest | Bundle, bool]:
    """Export a model, and write it only if ONNX Runtime agrees with PyTorch on real images.

    Args:
        name: A model of the zoo.
        folder: Where to write, such as ``export/b1-seg``.
        options: What to export.
        progress: Told about every step.

    Returns:
        The manifest (of a bundle of two graphs for Segment Anything), and whether anything was written: False if the
        folder already holds exactly this export.

    Raises:
        UsageError: Options that make no sense.
        CheckFailedError: The exported graph does not agree with PyTorch.
    """
    if find_model(name).task == "sam":
        return export_sam(name, folder, options, progress)
    return export_graph(name, folder, options, progress)


def export_graph(
    name: str, folder: Path, options: ExportOptions | None = None, progress: Progress = silent
) -> tuple[Manifest, bool]:
    """`export_model` for a model that is one graph: a classifier or a segmenter."""
    options = options or ExportOptions()
    plan = make_plan(find_model(name), options)
    with progress("weights"):
        weights = resolve_weights(plan.spec, options.weights, seed=options.seed, resolution=plan.resolution)
    frames = choose_frames(options.images, plan.resolution)
    key = artifact_key(plan, weights, frames, form=FORM)
    if (existing := read_existing(folder, key)) is not None:
        return existing, False
    with write_artifact(folder) as writer:
        with progress("model"):
            model = build_model(plan.spec)
            load_weights(model, weights)
            model.eval()
        rules = preprocess_rules(plan.spec)
        with progress("PyTorch", len(frames)) as step, record_peaks(model) as peaks:
            reference = make_reference(model, frames, rules, plan.resolution, step.advance)
        with progress("trace to ONNX"):
            graph = trace_deployed(
                model, rules, plan.resolution, plan.input, plan.output,
                peaks=peaks, opset=plan.opset, batch=plan.batch,
            )  # fmt: skip
        reference.save(writer.folder)
        everything = graph.SerializeToString()
        if plan.output != LOGITS:
            hide_output(graph, LOGITS)
            check_graph(graph, plan.opset)
        onnx.save(graph, writer.folder / GRAPH)
        manifest = describe(key, plan.spec, weights, frames, graph_info(GRAPH, plan, graph))
        with progress("verify", len(frames)) as step:
            agreement = _verify_graph(everything, manifest, reference, step.advance)
        require(agreement, f"the exported graph of {plan.spec.name}", A_BUG)
        return writer.commit(replace(manifest, agreement=agreement)), True


def _verify_graph(graph: bytes, manifest: Manifest, reference: Reference, advance: Callable[[], None]) -> Agreement:
    """Compare a graph that also gives its logits, run by ONNX Runtime on the CPU, with PyTorch."""
    return verify(runner(graph), manifest, reference, BUDGETS["fp32"], advance)
