# SPDX-License-Identifier: Apache-2.0
"""The part a robot ships: load an engine, run frames through it, verify it.

    from evit_deploy.runtime import load

    with load("engines/b1-seg.cpu.fp32") as segment:
        result = segment(frame)            # H×W×3 uint8 RGB, any size
        result.class_map                   # uint8 [H, W]

Needs numpy and the engine's backend; imports neither PyTorch nor ONNX. On GPUs: docs/runtime.md.
"""

from __future__ import annotations

import warnings
from pathlib import Path

from evit_deploy.manifest.signing import read_trusted
from evit_deploy.runtime.backends import GPU_BACKENDS
from evit_deploy.runtime.classify import Classification, Classifier
from evit_deploy.runtime.engine import Engine, open_engine
from evit_deploy.runtime.pending import Pending
from evit_deploy.runtime.segment import Segmentation, Segmenter

__all__ = ["Classification", "Classifier", "Engine", "Pending", "Segmentation", "Segmenter", "load", "open_engine"]


def load(
    path: str | Path,
    *,
    threads: int | None = None,
    device: int = 0,
    in_flight: int = 2,
    trusted_keys: str | Path | None = None,
) -> Segmenter | Classifier:
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
        A `Segmenter` or a `Classifier`: call it with a frame.

    Raises:
        UsageError: Not an engine folder.
        ArtifactError: Damaged, edited, not signed by a trusted key, or of a newer version.
        UnavailableError: The backend is missing, or cannot run this engine here.
        CudaError: The GPU failed, or its memory does not suffice.
    """
    folder = Path(path)
    manifest = read_trusted(folder, trusted_keys)
    engine = open_engine(folder, manifest, threads=threads, device=device, in_flight=in_flight)
    _warn_of_another_version(engine)
    return Classifier(engine) if manifest.model.task == "cls" else Segmenter(engine)


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
