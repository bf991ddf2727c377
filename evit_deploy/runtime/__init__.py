# SPDX-License-Identifier: Apache-2.0
"""The part a robot ships: load an engine, run frames through it, verify it.

    from evit_deploy.runtime import load

    with load("engines/b1-seg.cpu.fp32") as segment:
        result = segment(frame)            # H×W×3 uint8 RGB, any size
        result.class_map                   # uint8 [H, W]

Needs numpy and the engine's backend; imports neither PyTorch nor ONNX.
"""

from __future__ import annotations

import warnings
from pathlib import Path

from evit_deploy.manifest import read_artifact
from evit_deploy.runtime.classify import Classification, Classifier
from evit_deploy.runtime.engine import Engine, open_engine
from evit_deploy.runtime.segment import Segmentation, Segmenter

__all__ = ["Classification", "Classifier", "Engine", "Segmentation", "Segmenter", "load", "open_engine"]


def load(path: str | Path, *, threads: int | None = None) -> Segmenter | Classifier:
    """Load an engine folder and return what its task needs.

    The manifest is validated and every file's hash checked before anything is executed.

    Args:
        path: Folder written by ``evit-deploy build``.
        threads: CPU threads; None takes the number of cores this process may use.

    Returns:
        A `Segmenter` or a `Classifier`: call it with a frame.

    Raises:
        UsageError: Not an engine folder.
        ArtifactError: Damaged, edited, or of a newer version.
        UnavailableError: The backend is missing, or cannot run this engine here.
    """
    folder = Path(path)
    manifest = read_artifact(folder)
    engine = open_engine(folder, manifest, threads=threads)
    _warn_of_another_version(engine)
    return Classifier(engine) if manifest.model.task == "cls" else Segmenter(engine)


def _warn_of_another_version(engine: Engine) -> None:
    info = engine.manifest.engine
    if info is not None and info.compiler_version != engine.backend_version:
        warnings.warn(
            f"{engine.folder} was verified with {info.backend} {info.compiler_version}; here it runs with "
            f"{engine.backend_version}. evit-deploy verify {engine.folder} says whether it still agrees with PyTorch",
            stacklevel=3,
        )
