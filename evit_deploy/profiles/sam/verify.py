# SPDX-License-Identifier: Apache-2.0
"""``evit-deploy verify`` of an engine of several parts: each against PyTorch, and the way from picture to masks."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from evit_deploy.agreement import compare_embedding, judge
from evit_deploy.engines.bundle import smallest_decoder
from evit_deploy.engines.running import opened
from evit_deploy.errors import UsageError, extra
from evit_deploy.manifest import ENCODER, ITSELF, Agreement, Bundle, FrameAgreement, Manifest
from evit_deploy.manifest.signing import read_trusted_bundle
from evit_deploy.profiles.files import write_json
from evit_deploy.profiles.verify import AGREEMENT, agreement_record, budget_of, compare_reference, record_head
from evit_deploy.progress import Progress, named, silent
from evit_deploy.runtime.sam.reference import PromptReference
from evit_deploy.runtime.sam.verify import verify_bundle
from evit_deploy.runtime.verify import Infer, Reference, load_reference

if TYPE_CHECKING:
    from evit_deploy.data.images import Frame
    from evit_deploy.models.sam import SegmentAnything


@dataclass(frozen=True)
class Verdict:
    """What was compared of an engine of several parts.

    Attributes:
        bundle: What the engine says about itself.
        manifests: Of its parts.
        parts: Comparison of each part with the reference it carries; empty where images were given.
        whole: From pictures to masks, through the encoder and the decoder for the fewest prompts.
    """

    bundle: Bundle
    manifests: Mapping[str, Manifest]
    parts: Mapping[str, Agreement]
    whole: Agreement

    @property
    def passed(self) -> bool:
        """Whether everything is within the budget of its precision."""
        return all(agreement.passed for agreement in (*self.parts.values(), self.whole))

    def to_json(self) -> dict[str, Any]:
        """The comparison from picture to masks as JSON values, with those of the parts beside it."""
        parts = {name: agreement_record(agreement) for name, agreement in self.parts.items()}
        return {**agreement_record(self.whole), "passed": self.passed, "parts": parts}


@dataclass(frozen=True)
class Opened:
    """A part that is ready to be run, and how its outputs come about, in words."""

    folder: Path
    manifest: Manifest
    infer: Infer
    method: str


def verify_parts(
    folder: Path,
    profiles: Path,
    images: Path | None = None,
    progress: Progress = silent,
    trusted_keys: str | Path | None = None,
) -> tuple[Verdict, Path]:
    """Open all parts of an engine as a robot would, and compare them with PyTorch, one by one and together.

    Where a GPU's engine cannot run here, its typed graph is emulated faithfully instead, and the record says so.

    Without `images` PyTorch's answers come from the references in the engine, and PyTorch is not needed. With them it
    computes its answers now, one photo at a time, to a few prompts, from the very weights the engine was made from.

    Args:
        folder: Folder of an engine of several parts.
        profiles: Folder of all profiles; ``<engine's name>/agreement.json`` is written there, whatever the outcome.
        images: Folder of photos of any size, or None for the references.
        progress: Told about every step.
        trusted_keys: Keys one of which must have signed the engine, as for `evit_deploy.load`.

    Returns:
        The comparison (passed or not: a disagreement is not an error here), and the file.

    Raises:
        UsageError: Not an engine of several parts, or no images.
        ArtifactError: A damaged engine, or weights that are not the engine's.
        UnavailableError: A part cannot run here, or `images` without PyTorch or without its weights.
    """
    with progress("check the engine"):
        bundle, manifests = read_engine(folder, trusted_keys)
    decoder = smallest_decoder(manifests)
    parts: dict[str, Agreement] = {}
    with ExitStack() as stack:
        ready: dict[str, Opened] = {}
        for name, manifest in manifests.items():
            if images is None or name in (ENCODER, decoder):
                place, told = folder / name, named(progress, name)
                ready[name] = Opened(place, manifest, *stack.enter_context(opened(place, manifest, told)))
            if images is None:
                parts[name] = compare_part(ready[name], told)
        if images is None:
            whole = compare_whole(ready[ENCODER], ready[decoder], progress)
        else:
            whole = _compare_images(ready[ENCODER], ready[decoder], images, progress)
    verdict = Verdict(bundle, manifests, parts, whole)
    path = profiles / folder.resolve().name / AGREEMENT
    write_json(path, {**record_head(folder, bundle, images), **verdict.to_json()})
    return verdict, path


def read_engine(folder: Path, trusted_keys: str | Path | None = None) -> tuple[Bundle, dict[str, Manifest]]:
    """Read an engine of several parts, after its signature where keys are given.

    Raises:
        UsageError: An export, or an artifact of one graph.
        ArtifactError: Damaged, or not signed.
    """
    bundle, manifests = read_trusted_bundle(folder, trusted_keys)
    if bundle.kind != "engine":
        raise UsageError(f"{folder} is an export, not an engine", fix="evit-deploy build, then name the engine")
    return bundle, manifests


def compare_part(part: Opened, progress: Progress = silent) -> Agreement:
    """Hold one part against the reference it carries, with the budget of its precision."""
    reference = load_reference(part.folder, part.manifest)
    return replace(compare_reference(part.infer, part.manifest, reference, progress), method=part.method)


def compare_whole(encoder: Opened, decoder: Opened, progress: Progress = silent) -> Agreement:
    """From the encoder's reference pictures to the decoder's reference masks, on the engine's own embeddings."""
    pictures, prompts = Reference.load(encoder.folder), PromptReference.load(decoder.folder)
    with progress("verify from picture to masks", len(prompts.names)) as step:
        agreement = verify_bundle(
            encoder.infer, decoder.infer, encoder.manifest, decoder.manifest, pictures, prompts,
            budget_of(encoder.manifest), step.advance,
        )  # fmt: skip
    return replace(agreement, method=_method(encoder, decoder))


def _compare_images(encoder: Opened, decoder: Opened, images: Path, progress: Progress) -> Agreement:
    """Compare on the user's photos. One at a time: a folder may hold more than the memory does."""
    with extra("export", "Comparing on your own images"):
        import torch

        from evit_deploy.models.sam import SegmentAnything
    from evit_deploy.data.images import Frame, list_images, read_image
    from evit_deploy.profiles.original import original_model

    paths = list_images(images)
    with progress("PyTorch's weights"):
        model = original_model(encoder.manifest)
    assert isinstance(model, SegmentAnything)
    frames: list[FrameAgreement] = []
    with progress("compare with PyTorch", len(paths)) as step:
        for path in paths:
            frames += _compare_photo(
                model, encoder, decoder, Frame(path.relative_to(images).as_posix(), read_image(path))
            )
            step.advance()
    against = f"PyTorch {torch.__version__}, FP32, CPU"
    return replace(judge(against, budget_of(encoder.manifest), frames), method=_method(encoder, decoder))


def _compare_photo(model: SegmentAnything, encoder: Opened, decoder: Opened, frame: Frame) -> list[FrameAgreement]:
    """The embedding of one photo, and the masks that a few prompts get from it."""
    from evit_deploy.export.sam.reference import make_picture_reference, make_prompt_reference

    pictures = make_picture_reference(model, [frame], encoder.manifest.preprocess)
    prompts = make_prompt_reference(model, pictures)
    embeddings: list[npt.NDArray[np.float32]] = []

    def encode(inputs: Mapping[str, npt.NDArray[Any]]) -> Mapping[str, npt.NDArray[Any]]:
        outputs = encoder.infer(inputs)
        embeddings.append(np.array(outputs["embedding"][0], np.float32))
        return outputs

    masks = verify_bundle(
        encode, decoder.infer, encoder.manifest, decoder.manifest, pictures, prompts, budget_of(encoder.manifest)
    )
    return [compare_embedding(frame.name, pictures.logits[0], embeddings[0]), *masks.frames]


def _method(encoder: Opened, decoder: Opened) -> str:
    """How masks come about: as the part that was emulated says, if one was."""
    return encoder.method if decoder.method == ITSELF else decoder.method
