# SPDX-License-Identifier: Apache-2.0
"""Segment Anything as a bundle of two exports: image encoder and mask decoder, checked apart and together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import onnx

import evit_deploy
from evit_deploy.agreement import BUDGETS, require
from evit_deploy.data.images import Frame
from evit_deploy.export.describe import A_BUG, artifact_key, describe, graph_info, model_info, runner, warnings_of
from evit_deploy.export.forms import SAM_FORM
from evit_deploy.export.options import MAX_BATCH, ExportOptions, Plan, make_sam_plan, preprocess_rules
from evit_deploy.export.sam.decoder import trace_decoder
from evit_deploy.export.sam.encoder import EncoderPeaks, trace_encoder
from evit_deploy.export.sam.reference import (
    choose_pictures,
    make_picture_reference,
    make_prompt_reference,
    prompts_of,
)
from evit_deploy.manifest import (
    Agreement,
    Bundle,
    WeightsInfo,
    content_key,
    read_artifact,
    read_existing,
    utc_now,
    write_artifact,
)
from evit_deploy.manifest.bundle import DECODER, ENCODER, read_existing_bundle, write_bundle
from evit_deploy.models.build import build_model
from evit_deploy.models.sam import SegmentAnything
from evit_deploy.models.sam.layers import FRAME
from evit_deploy.models.weights import Weights, load_weights, resolve_weights
from evit_deploy.models.zoo import find_model
from evit_deploy.progress import Progress, silent
from evit_deploy.runtime.sam.reference import PromptReference
from evit_deploy.runtime.sam.verify import verify_bundle
from evit_deploy.runtime.verify import Reference, verify


@dataclass(frozen=True)
class _Source:
    """What both parts are made from."""

    plan: Plan
    weights: Weights
    frames: Sequence[Frame]
    frame: tuple[int, int] | None

    @property
    def plans(self) -> dict[str, Plan]:
        """What each part is made to."""
        output = "pixels" if self.frame else "masks"
        decoder = replace(self.plan, resolution=(FRAME, FRAME), batch=(1, MAX_BATCH), input="prompts", output=output)
        return {ENCODER: self.plan, DECODER: decoder}

    @property
    def keys(self) -> dict[str, str]:
        """Key of each part: what changes one part only does not make the other one anew."""
        own: dict[str, dict[str, Any]] = {ENCODER: {}, DECODER: {"frame": self.frame}}
        return {
            part: artifact_key(plan, self.weights, self.frames, form=SAM_FORM, part=part, **own[part])
            for part, plan in self.plans.items()
        }


def export_sam(
    name: str, folder: Path, options: ExportOptions | None = None, progress: Progress = silent
) -> tuple[Bundle, bool]:
    """Export a model of Segment Anything as a bundle of two graphs.

    Nothing is written before ONNX Runtime agreed with PyTorch: the encoder on real pictures, the decoder on prompts of
    every kind, and both together from picture to mask.

    Args:
        name: A model of the zoo.
        folder: Where to write, such as ``export/l0-sam``.
        options: What to export.
        progress: Told about every step.

    Returns:
        The bundle, and whether anything was written: False if the folder already holds exactly this export.

    Raises:
        UsageError: Options that make no sense.
        CheckFailedError: A graph does not agree with PyTorch.
    """
    options = options or ExportOptions()
    plan = make_sam_plan(find_model(name), options)
    with progress("weights"):
        weights = resolve_weights(plan.spec, options.weights, seed=options.seed)
    source = _Source(plan, weights, choose_pictures(options.images), options.frame)
    keys = source.keys
    key = content_key(**keys)
    if (existing := read_existing_bundle(folder, key)) is not None:
        return existing, False
    with write_bundle(folder) as writer:
        if any(read_existing(writer.part(part), keys[part]) is None for part in keys):
            _write_parts(source, {part: writer.part(part) for part in keys}, progress)
        agreement = _verify_together(writer.part(ENCODER), writer.part(DECODER), progress)
        require(agreement, f"{plan.spec.name} from picture to mask", A_BUG)
        bundle = Bundle(
            kind="export",
            key=key,
            created=utc_now(),
            tool=evit_deploy.__version__,
            model=model_info(plan.spec),
            weights=WeightsInfo(weights.source, weights.location, weights.sha256),
            agreement=agreement,
            warnings=warnings_of(weights, source.frames),
        )
        return writer.commit(bundle, tuple(keys)), True


def _write_parts(source: _Source, places: dict[str, Path], progress: Progress) -> None:
    """Write what is not there yet; PyTorch's embeddings are needed for either."""
    with progress("model"):
        model = build_model(source.plan.spec)
        assert isinstance(model, SegmentAnything)
        load_weights(model, source.weights)
        model.eval()
    rules = preprocess_rules(source.plan.spec)
    with progress("PyTorch: pictures", len(source.frames)) as step, EncoderPeaks(model) as peaks:
        pictures = make_picture_reference(model, source.frames, rules, step.advance)
    if read_existing(places[ENCODER], source.keys[ENCODER]) is None:
        _write_encoder(source, places[ENCODER], model, peaks, pictures, progress)
    if read_existing(places[DECODER], source.keys[DECODER]) is None:
        with progress("PyTorch: prompts", prompts_of(len(source.frames))) as step:
            prompts = make_prompt_reference(model, pictures, step.advance)
        _write_decoder(source, places[DECODER], model, prompts, progress)


def _write_encoder(
    source: _Source,
    folder: Path,
    model: SegmentAnything,
    peaks: EncoderPeaks,
    pictures: Reference,
    progress: Progress,
) -> None:
    plan = source.plan
    with progress("trace the encoder"):
        graph = trace_encoder(
            model, preprocess_rules(plan.spec), plan.input, peaks=peaks, opset=plan.opset, batch=plan.batch
        )
    _write_part(source, ENCODER, folder, graph, pictures, progress)


def _write_decoder(
    source: _Source, folder: Path, model: SegmentAnything, prompts: PromptReference, progress: Progress
) -> None:
    with progress("trace the decoder"):
        graph = trace_decoder(model, source.frame, source.plan.opset)
    _write_part(source, DECODER, folder, graph, prompts, progress)


def _write_part(
    source: _Source,
    name: str,
    folder: Path,
    graph: onnx.ModelProto,
    reference: Reference | PromptReference,
    progress: Progress,
) -> None:
    """Check one graph and write it."""
    plan = source.plans[name]
    manifest = describe(
        source.keys[name], plan.spec, source.weights, source.frames, graph_info(f"{name}.onnx", plan, graph)
    )
    with write_artifact(folder) as writer:
        onnx.save(graph, writer.folder / manifest.graph.file)
        reference.save(writer.folder)
        with progress(f"verify the {name}", _runs(plan, reference)) as step:
            agreement = verify(runner(graph.SerializeToString()), manifest, reference, BUDGETS["fp32"], step.advance)
        require(agreement, f"the exported {name} of {plan.spec.name}", A_BUG)
        writer.commit(replace(manifest, agreement=agreement))


def _runs(plan: Plan, reference: Reference | PromptReference) -> int | None:
    """How often a verification runs the graph, where that is known before."""
    if isinstance(reference, PromptReference):
        return None
    return sum(-(-len(reference.names) // batch) for batch in set(plan.batch))


def _verify_together(encoder: Path, decoder: Path, progress: Progress) -> Agreement:
    """From picture to mask, with the graphs as they were written."""
    first, second = read_artifact(encoder), read_artifact(decoder)
    pictures, prompts = Reference.load(encoder), PromptReference.load(decoder)
    encode = runner((encoder / first.graph.file).read_bytes())
    decode = runner((decoder / second.graph.file).read_bytes())
    with progress("verify both together", len(prompts.names)) as step:
        return verify_bundle(encode, decode, first, second, pictures, prompts, BUDGETS["fp32"], step.advance)
