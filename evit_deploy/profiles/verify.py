# SPDX-License-Identifier: Apache-2.0
"""``evit-deploy verify``: does an engine still agree with PyTorch, here and now?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import evit_deploy
from evit_deploy.agreement import broken_limits, budget_for, judge, worst
from evit_deploy.engines.running import opened
from evit_deploy.errors import UsageError, extra
from evit_deploy.manifest import Agreement, Budget, Bundle, FrameAgreement, Manifest, is_bundle, utc_now
from evit_deploy.manifest.signing import read_trusted
from evit_deploy.profiles.files import plain, write_json
from evit_deploy.profiles.layers import layer_part
from evit_deploy.progress import Progress, silent
from evit_deploy.runtime.sam.reference import PromptReference
from evit_deploy.runtime.verify import Infer, Reference, load_reference, verify
from evit_deploy.targets.machine import describe

if TYPE_CHECKING:
    from evit_deploy.precision.locate import LayerError

AGREEMENT = "agreement.json"


def verify_engine(
    folder: Path,
    profiles: Path,
    images: Path | None = None,
    progress: Progress = silent,
    layers: Sequence[LayerError] | None = None,
    trusted_keys: str | Path | None = None,
) -> tuple[Manifest, Agreement, Path]:
    """Open an engine as a robot would, run it, and compare it with PyTorch.

    Where a GPU's engine cannot run here, its typed graph is emulated faithfully instead, and the record says so.

    Without `images` PyTorch's answers come from the reference in the engine, and PyTorch is not needed. With them it
    computes its answers now, one image at a time, from the very weights the engine was made from.

    Args:
        folder: Folder of an engine, or of one part of an engine; `evit_deploy.profiles.sam.verify` takes a whole one.
        profiles: Folder of all profiles; ``<engine's name>/agreement.json`` is written there, whatever the outcome.
        images: Folder of images of any size, or None for the reference.
        progress: Told about every step.
        layers: What `engine_layers` found, to be written with the comparison.
        trusted_keys: Keys one of which must have signed the engine, as for `evit_deploy.load`.

    Returns:
        The engine's manifest, the comparison (passed or not: a disagreement is not an error here), and the file.

    Raises:
        UsageError: Not an engine, no images, or images for a mask decoder, which sees none.
        ArtifactError: A damaged engine, or weights that are not the engine's.
        UnavailableError: The engine cannot run here, or `images` without PyTorch or without its weights.
    """
    with progress("check the engine"):
        manifest = read_trusted(folder, trusted_keys)
    if images is not None and manifest.graph.input == "prompts":
        raise UsageError(
            "a mask decoder sees no images", found=str(folder), expected="the engine with its image encoder",
            fix=f"evit-deploy verify {folder.parent} --images {images}",
        )  # fmt: skip
    with opened(folder, manifest, progress) as (infer, method):
        if images is None:
            agreement = compare_reference(infer, manifest, load_reference(folder, manifest), progress)
        else:
            agreement = _compare_images(infer, manifest, images, progress)
    agreement = replace(agreement, method=method)
    path = profiles / place_name(folder) / AGREEMENT
    write_json(path, {**record_head(folder, manifest, images), **agreement_record(agreement), **layer_part(layers)})
    return manifest, agreement, path


def place_name(folder: Path) -> Path:
    """Where the records of an engine belong in the folder of all profiles: of a part, in that of the whole."""
    folder = folder.resolve()
    return Path(folder.parent.name, folder.name) if is_bundle(folder.parent) else Path(folder.name)


def compare_reference(
    infer: Infer, manifest: Manifest, reference: Reference | PromptReference, progress: Progress = silent
) -> Agreement:
    """Hold an engine against the reference it carries, with the budget of its precision."""
    with progress("verify against PyTorch", len(reference.names)) as step:
        return verify(infer, manifest, reference, budget_of(manifest), step.advance)


def agreement_record(agreement: Agreement) -> dict[str, Any]:
    """A comparison as JSON values, with the worst case and every broken limit in words."""
    frames = [
        {**asdict(frame), "broken": broken_limits(frame, agreement.budget)}
        for frame in (*agreement.frames, worst(agreement.frames))
    ]
    record = {**asdict(agreement), "frames": frames[:-1], "worst": frames[-1]}
    return plain(record)  # type: ignore[no-any-return]


def budget_of(manifest: Manifest) -> Budget:
    """What an engine's precision allows."""
    assert manifest.engine is not None
    return budget_for(manifest.engine.precision, manifest.model.task)


def _compare_images(infer: Infer, manifest: Manifest, images: Path, progress: Progress) -> Agreement:
    """Compare on the user's images. One at a time: a folder may hold more than the memory does."""
    with extra("export", "Comparing on your own images"):
        import torch

        from evit_deploy.export.reference import make_reference
        from evit_deploy.export.sam.reference import make_picture_reference
        from evit_deploy.models.sam import SegmentAnything
    from evit_deploy.data.images import Frame, list_images, read_image
    from evit_deploy.profiles.original import original_model

    paths = list_images(images)
    against = f"PyTorch {torch.__version__}, FP32, CPU"
    with progress("PyTorch's weights"):
        model = original_model(manifest)
    frames: list[FrameAgreement] = []
    with progress("compare with PyTorch", len(paths)) as step:
        for path in paths:
            frame = Frame(path.relative_to(images).as_posix(), read_image(path))
            if isinstance(model, SegmentAnything):
                reference = make_picture_reference(model, [frame], manifest.preprocess)
            else:
                reference = make_reference(model, [frame], manifest.preprocess, manifest.graph.resolution)
            frames += verify(infer, manifest, reference, budget_of(manifest)).frames
            step.advance()
    return judge(against, budget_of(manifest), frames)


def record_head(folder: Path, manifest: Manifest | Bundle, images: Path | None) -> dict[str, Any]:
    """What was compared, when and where, as JSON values."""
    return {
        "engine": folder.resolve().name,
        "key": manifest.key,
        "created": utc_now(),
        "tool": evit_deploy.__version__,
        "machine": describe(),
        "images": None if images is None else str(images.resolve()),
        "warnings": list(manifest.warnings),
    }
