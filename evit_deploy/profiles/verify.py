# SPDX-License-Identifier: Apache-2.0
"""``evit-deploy verify``: does an engine still agree with PyTorch, here and now?"""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import evit_deploy
from evit_deploy.agreement import BUDGETS, broken_limits, judge, worst
from evit_deploy.errors import MissingExtraError
from evit_deploy.manifest import ITSELF, Agreement, Budget, FrameAgreement, Manifest, read_artifact
from evit_deploy.profiles.files import plain, write_json
from evit_deploy.profiles.layers import layer_part
from evit_deploy.progress import Progress, silent
from evit_deploy.runtime.engine import open_engine
from evit_deploy.runtime.verify import Infer, Reference, verify
from evit_deploy.targets import find_target
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
) -> tuple[Manifest, Agreement, Path]:
    """Open an engine as a robot would, run it, and compare it with PyTorch.

    A GPU's engine does not run here: its typed graph is emulated faithfully instead, and the record says so.

    Without `images` PyTorch's answers come from the reference in the engine, and PyTorch is not needed. With them it
    computes its answers now, one image at a time, from the very weights the engine was made from.

    Args:
        folder: Folder of an engine.
        profiles: Folder of all profiles; ``<engine's name>/agreement.json`` is written there, whatever the outcome.
        images: Folder of images of any size, or None for the reference.
        progress: Told about every step.
        layers: What `engine_layers` found, to be written with the comparison.

    Returns:
        The engine's manifest, the comparison (passed or not: a disagreement is not an error here), and the file.

    Raises:
        UsageError: Not an engine, or no images.
        ArtifactError: A damaged engine, or weights that are not the engine's.
        UnavailableError: The engine cannot run here, or `images` without PyTorch or without its weights.
    """
    with progress("load the engine"):
        manifest = read_artifact(folder)
    with _opened(folder, manifest, progress) as (infer, method):
        if images is None:
            agreement = compare_reference(infer, manifest, Reference.load(folder), progress)
        else:
            agreement = _compare_images(infer, manifest, images, progress)
    agreement = replace(agreement, method=method)
    path = profiles / folder.resolve().name / AGREEMENT
    write_json(path, {**_record(folder, manifest, agreement, images), **layer_part(layers)})
    return manifest, agreement, path


def compare_reference(infer: Infer, manifest: Manifest, reference: Reference, progress: Progress = silent) -> Agreement:
    """Hold an engine against the reference it carries, with the budget of its precision."""
    with progress("verify against PyTorch", len(reference.names)) as step:
        return verify(infer, manifest, reference, _budget(manifest), step.advance)


def agreement_record(agreement: Agreement) -> dict[str, Any]:
    """A comparison as JSON values, with the worst case and every broken limit in words."""
    frames = [
        {**asdict(frame), "broken": broken_limits(frame, agreement.budget)}
        for frame in (*agreement.frames, worst(agreement.frames))
    ]
    record = {**asdict(agreement), "frames": frames[:-1], "worst": frames[-1]}
    return plain(record)  # type: ignore[no-any-return]


def _budget(manifest: Manifest) -> Budget:
    assert manifest.engine is not None
    return BUDGETS[manifest.engine.precision]


@contextmanager
def _opened(folder: Path, manifest: Manifest, progress: Progress) -> Iterator[tuple[Infer, str]]:
    """What runs an engine's graph here, and how, in words."""
    engine = manifest.engine
    if engine is not None and find_target(engine.target).attention is not None:
        from evit_deploy.engines.lowering import emulated

        with progress("prepare the emulation"):
            emulation = emulated(folder, manifest)
        yield emulation
        return
    with open_engine(folder, manifest) as opened:
        yield opened.infer, ITSELF


def _compare_images(infer: Infer, manifest: Manifest, images: Path, progress: Progress) -> Agreement:
    """Compare on the user's images. One at a time: a folder may hold more than the memory does."""
    try:
        import torch

        from evit_deploy.export.reference import make_reference
    except ImportError as error:
        raise MissingExtraError(error.name or "torch", "export", "Comparing on your own images") from None
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
            reference = make_reference(model, [frame], manifest.preprocess, manifest.graph.resolution)
            frames += verify(infer, manifest, reference, _budget(manifest)).frames
            step.advance()
    return judge(against, _budget(manifest), frames)


def _record(folder: Path, manifest: Manifest, agreement: Agreement, images: Path | None) -> dict[str, Any]:
    return {
        "engine": folder.resolve().name,
        "key": manifest.key,
        "created": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "tool": evit_deploy.__version__,
        "machine": describe(),
        "images": None if images is None else str(images.resolve()),
        "warnings": list(manifest.warnings),
        **agreement_record(agreement),
    }
