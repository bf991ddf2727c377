# SPDX-License-Identifier: Apache-2.0
"""Do the masks of an engine agree with PyTorch's? Answered from the prompts that travel with it, without PyTorch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from evit_deploy.agreement import compare_masks, compare_pixels, judge, worst
from evit_deploy.data.masks import LowRes, PromptFrame
from evit_deploy.errors import UsageError
from evit_deploy.manifest import Agreement, Budget, FrameAgreement, GraphInfo, Manifest
from evit_deploy.runtime.preprocess import graph_inputs
from evit_deploy.runtime.reference import Reference
from evit_deploy.runtime.sam.reference import EMPTY_SLOT, PromptReference

Array = npt.NDArray[Any]
Infer = Callable[[Mapping[str, Array]], Mapping[str, Array]]


def verify_prompts(
    infer: Infer,
    manifest: Manifest,
    reference: PromptReference,
    budget: Budget,
    advance: Callable[[], None] = lambda: None,
) -> Agreement:
    """Ask a mask decoder for all prompts of a reference, at its smallest and its largest batch.

    Args:
        infer: Maps named inputs to named outputs.
        manifest: Describes the decoder.
        reference: Prompts, PyTorch's embeddings and PyTorch's masks.
        budget: What still passes.
        advance: Called after every call of `infer`.

    Returns:
        One row per prompt and batch, the worst of all places of the batch: how its four masks together, the single
        one and the three of multimask, compare at the pixels of the prompt's frame. Where the graph ends in masks of a
        camera's size, these are compared with PyTorch's logits at that size as well.

    Raises:
        UsageError: The decoder has too few slots for any of the prompts.
    """
    rows: list[FrameAgreement] = []
    for batch in sorted(set(manifest.graph.batch)):
        for chosen in _runs(reference, manifest.graph, batch):
            outputs = infer(prompt_inputs(reference, manifest, chosen))
            rows += _compare(reference, manifest.graph, chosen, outputs)
            advance()
    return judge(manifest.agreement.against, budget, rows)


def verify_bundle(
    encode: Infer,
    decode: Infer,
    encoder: Manifest,
    decoder: Manifest,
    pictures: Reference,
    prompts: PromptReference,
    budget: Budget,
    advance: Callable[[], None] = lambda: None,
) -> Agreement:
    """Go from pictures to masks: the decoder is given the encoder's own embeddings instead of PyTorch's.

    Args:
        encode: Maps the encoder's named inputs to its outputs.
        decode: The same for the decoder.
        encoder: Describes the encoder.
        decoder: Describes the decoder.
        pictures: The encoder's reference.
        prompts: The decoder's, on the same pictures in the same order.
        budget: What still passes.
        advance: Called once per prompt.

    Raises:
        UsageError: The two references are of different pictures.
    """
    if len(pictures.names) != len(prompts.frames):
        raise UsageError(
            "the references of encoder and decoder do not belong together",
            found=f"{len(pictures.names)} and {len(prompts.frames)} pictures", fix="export the model again",
        )  # fmt: skip
    embeddings = np.stack([_embed(encode, encoder, pictures, index) for index in range(len(pictures.names))])
    own = replace(prompts, embeddings=embeddings)
    low, high = decoder.graph.batch
    most = int(np.bincount(prompts.of).max())
    rows: list[FrameAgreement] = []
    for chosen in _runs(own, decoder.graph, min(max(most, low), high)):
        rows += _compare(own, decoder.graph, chosen, decode(prompt_inputs(own, decoder, chosen)))
        for _ in set(chosen):
            advance()
    return judge(decoder.agreement.against, budget, rows)


def prompt_inputs(reference: PromptReference, manifest: Manifest, chosen: Sequence[int]) -> dict[str, Array]:
    """Prompts of a reference as a batch of a decoder's inputs.

    Args:
        reference: Prompts.
        manifest: Describes the decoder.
        chosen: Which of them; all on one picture, and with one mask at most where the decoder takes one.
    """
    tensors = {tensor.name: tensor for tensor in manifest.graph.inputs}
    picked = list(chosen)
    masked = picked if tensors["mask"].shape[0] != 1 and reference.has_mask[picked].any() else picked[:1]
    slots = tensors["coords"].shape[1]
    coords, labels = fit_slots(reference.coords[picked], reference.labels[picked], None if slots == -1 else slots)
    arrays = {
        "coords": coords,
        "labels": labels,
        "embedding": reference.embeddings[reference.of[picked[0]]][None],
        "mask": reference.mask[masked],
        "has_mask": reference.has_mask[masked],
    }
    return {name: np.ascontiguousarray(arrays[name], tensor.dtype) for name, tensor in tensors.items()}


def fit_slots(coords: Array, labels: Array, slots: int | None, prompts: int | None = None) -> tuple[Array, Array]:
    """Give prompts a fixed number of slots and of prompts: [P, N, 2] and [P, N] become [prompts, slots, …].

    Args:
        coords: Float [P, N, 2].
        labels: Int [P, N].
        slots: How many; only empty slots are cut off. None leaves all as they are.
        prompts: How many, at least P; what is added is empty. None leaves all as they are.
    """
    shape = (len(labels) if prompts is None else prompts, labels.shape[1] if slots is None else slots)
    if shape == labels.shape:
        return coords, labels
    kept = labels[:, : shape[1]]
    fitted = np.full(shape, EMPTY_SLOT, labels.dtype)
    places = np.zeros((*shape, 2), coords.dtype)
    here = np.s_[: kept.shape[0], : kept.shape[1]]
    fitted[here], places[here] = kept, coords[:, : shape[1]]
    return places, fitted


def _runs(reference: PromptReference, graph: GraphInfo, batch: int) -> Iterator[list[int]]:
    """Prompts of each run: of one picture, repeated until the batch is full, so that neighbours differ."""
    tensors = {tensor.name: tensor.shape for tensor in graph.inputs}
    slots, one_mask = tensors["coords"][1], tensors["mask"][0] == 1
    used = reference.labels != EMPTY_SLOT
    fits = np.ones(len(used), np.bool_) if slots == -1 else ~used[:, slots:].any(axis=1)
    if not fits.any():
        raise UsageError("the decoder has too few slots for the prompts of its reference", found=str(slots))
    for picture in range(len(reference.frames)):
        here = np.flatnonzero((reference.of == picture) & fits)
        alone = [index for index in here.tolist() if one_mask and reference.has_mask[index]]
        yield from ([index] * batch for index in alone)
        others = [index for index in here.tolist() if index not in alone]
        for start in range(0, len(others), batch):
            yield [others[(start + item) % len(others)] for item in range(batch)]


def _compare(
    reference: PromptReference, graph: GraphInfo, chosen: Sequence[int], outputs: Mapping[str, Array]
) -> Iterator[FrameAgreement]:
    """One row for each prompt of a run: its worst over all places that it had in the batch."""
    for index in dict.fromkeys(chosen):
        name = reference.names[index] + (f" [of {len(chosen)}]" if len(chosen) > 1 else "")
        rows: list[FrameAgreement] = []
        seen: list[tuple[Array, Array]] = []
        for place in (place for place, other in enumerate(chosen) if other == index):
            found = _answer(outputs, place)
            if any(np.array_equal(masks, found.masks) and np.array_equal(iou, found.iou) for masks, iou in seen):
                continue  # scaling masks up takes longer than finding out that they are the same
            seen.append((found.masks, found.iou))
            frame = reference.frames[reference.of[index]]
            rows.append(compare_masks(name, frame, reference.answer(index), found))
        rows += _compare_pixels(name, reference.answer(index), graph, outputs, chosen.index(index))
        yield replace(worst(rows), frame=name)


def _answer(outputs: Mapping[str, Array], place: int) -> LowRes:
    """The four masks of one prompt in a batch: the single one, then those of multimask."""
    masks = np.concatenate([outputs["single_mask"][place], outputs["masks"][place]])
    return LowRes(masks, np.concatenate([outputs["single_iou"][place], outputs["iou"][place]]))


def _compare_pixels(
    name: str, reference: LowRes, graph: GraphInfo, outputs: Mapping[str, Array], place: int
) -> list[FrameAgreement]:
    """Compare masks of a camera's size, where the graph gives them, with PyTorch's logits at that size."""
    if "pixels" not in outputs:
        return []
    found = np.concatenate([outputs["single_pixels"][place], outputs["pixels"][place]]) != 0
    logits = PromptFrame(*found.shape[1:]).upscale(reference.masks)
    return [replace(compare_pixels(logits, found), frame=name)]


def _embed(encode: Infer, manifest: Manifest, pictures: Reference, index: int) -> Array:
    """The engine's embedding of one picture, in FP32."""
    chosen = [index] * manifest.graph.batch[0]
    inputs = graph_inputs(pictures.images[chosen], pictures.sizes[chosen], manifest.graph, manifest.preprocess)
    return np.array(encode(inputs)["embedding"][0], np.float32)
