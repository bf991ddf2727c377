# SPDX-License-Identifier: Apache-2.0
"""The part a robot ships: load an engine, run frames through it, verify it.

    from evit_deploy.runtime import load

    with load("engines/b1-seg.cpu.fp32") as segment:
        result = segment(frame)            # H×W×3 uint8 RGB, any size
        result.class_map                   # uint8 [H, W]

    with load("engines/l0-sam.cpu.fp32") as sam:
        sam.set_image(frame)
        sam.predict(points=[[320, 240]]).best().masks

Needs numpy and the engine's backend; imports neither PyTorch nor ONNX. On GPUs: docs/runtime.md.
"""

from __future__ import annotations

import warnings
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from evit_deploy.errors import ArtifactError, UsageError
from evit_deploy.manifest import DECODER, ENCODER, is_bundle
from evit_deploy.manifest.signing import read_trusted, read_trusted_bundle
from evit_deploy.runtime.backends import GPU_BACKENDS
from evit_deploy.runtime.classify import Classification, Classifier
from evit_deploy.runtime.engine import Engine, open_engine
from evit_deploy.runtime.pending import Pending
from evit_deploy.runtime.sam import Embedding, EverythingOptions, MaskRecord, Masks, SegmentAnything
from evit_deploy.runtime.segment import Segmentation, Segmenter

__all__ = [
    "Classification",
    "Classifier",
    "Embedding",
    "Engine",
    "EverythingOptions",
    "MaskRecord",
    "Masks",
    "Pending",
    "SegmentAnything",
    "Segmentation",
    "Segmenter",
    "load",
    "open_engine",
]


def load(
    path: str | Path,
    *,
    threads: int | None = None,
    device: int = 0,
    in_flight: int = 2,
    trusted_keys: str | Path | None = None,
) -> Segmenter | Classifier | SegmentAnything:
    """Load an engine folder and return what its task needs.

    The signature is checked where keys are trusted, the manifest validated and every file's hash checked before
    anything is executed: docs/loading.md.

    Args:
        path: Folder written by ``evit-deploy build``.
        threads: CPU threads, of engines for CPUs; None takes the number of cores this process may use.
        device: Number of the GPU, of engines for GPUs.
        in_flight: How many submitted runs a GPU may have at once; each has buffers of its own.
        trusted_keys: A public key, or a folder of them, one of which must have signed the engine. None takes what
            ``EVIT_TRUSTED_KEYS`` names, if anything.

    Returns:
        A `Segmenter` or a `Classifier`: call it with a frame. Of a model of several graphs, a `SegmentAnything`: set
        a frame, then ask.

    Raises:
        UsageError: Not an engine folder, or a part of one.
        ArtifactError: Damaged, edited, not signed by a trusted key, or of a newer version.
        UnavailableError: The backend is missing, or cannot run this engine here.
        CudaError: The GPU failed, or its memory does not suffice.
    """
    folder = Path(path)
    place: dict[str, Any] = {"threads": threads, "device": device, "in_flight": in_flight}
    if is_bundle(folder):
        return _load_bundle(folder, trusted_keys, place)
    manifest = read_trusted(folder, trusted_keys)
    if manifest.model.task == "sam":
        raise UsageError(
            f"{folder} is a part of a model",
            found=f"an {manifest.graph.output} engine" if manifest.engine else "a part of an export",
            expected="the folder that holds its encoder and its decoder",
            fix=f"load {folder.parent}; of the part alone, evit_deploy.runtime.open_engine gives the raw graph",
        )
    engine = open_engine(folder, manifest, **place)
    _warn_of_another_version(engine)
    return Classifier(engine) if manifest.model.task == "cls" else Segmenter(engine)


def _load_bundle(folder: Path, trusted_keys: str | Path | None, place: dict[str, Any]) -> SegmentAnything:
    """Open all parts of a model, or none."""
    bundle, manifests = read_trusted_bundle(folder, trusted_keys)
    if bundle.kind != "engine":
        raise UsageError(
            f"{folder} is an export, not an engine", fix=f"evit-deploy build {bundle.model.name} --target cpu"
        )
    if ENCODER not in manifests or not any(_is_decoder(name) for name in manifests):
        raise ArtifactError(
            f"{folder} is incomplete",
            found=", ".join(manifests) or "no parts",
            expected=f"{ENCODER} and {DECODER}",
            fix=f"evit-deploy build {bundle.model.name} writes it again",
        )
    with ExitStack() as stack:
        engines = {
            name: stack.enter_context(open_engine(folder / name, manifest, **place))
            for name, manifest in manifests.items()
            if name == ENCODER or _is_decoder(name)
        }
        _warn_of_another_version(engines[ENCODER])
        sam = SegmentAnything(folder, bundle, engines.pop(ENCODER), tuple(engines.values()))
        stack.pop_all()
        return sam


def _is_decoder(name: str) -> bool:
    return name.partition("-")[0] == DECODER


def _warn_of_another_version(engine: Engine) -> None:
    info = engine.manifest.engine
    if info is None or info.backend in GPU_BACKENDS:  # another version was refused there
        return
    if info.compiler_version != engine.backend_version:
        warnings.warn(
            f"{engine.folder} was verified with {info.backend} {info.compiler_version}; here it runs with "
            f"{engine.backend_version}. evit-deploy verify {engine.folder} says whether it still agrees with PyTorch",
            stacklevel=3,
        )
