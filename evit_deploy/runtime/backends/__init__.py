# SPDX-License-Identifier: Apache-2.0
"""One small file per backend. To add one, write a module of its name here, with `open_backend`."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from evit_deploy.errors import ArtifactError, UnavailableError
from evit_deploy.manifest import Manifest

BACKENDS = tuple(module.name for module in pkgutil.iter_modules(__path__))
"""Names of all backends. The module of each has its name."""

COMPILE_ONLY = {"tensorrt_rtx": "TensorRT-RTX"}
"""Engines that a compiler here makes and nothing here runs yet."""


class Backend(Protocol):
    """A loaded graph with buffers of its own.

    Attributes:
        version: Version of the library that runs it, as the compiler of the same library would name it.
    """

    version: str

    def run(self, inputs: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
        """Run checked inputs; the outputs are the backend's buffers, overwritten by the next call."""

    def close(self) -> None:
        """Free the graph and its buffers."""


def open_backend(folder: Path, manifest: Manifest, threads: int) -> Backend:
    """Load an engine's file with the backend its manifest names."""
    assert manifest.engine is not None
    name = manifest.engine.backend
    if name in COMPILE_ONLY:
        raise UnavailableError(
            f"{folder} cannot run in this version", found=f"{COMPILE_ONLY[name]} engines are built here, not run",
            fix="evit-deploy verify emulates its graph; evit-deploy inspect shows its kernels",
        )  # fmt: skip
    if name not in BACKENDS:
        raise ArtifactError(
            f"the engine needs the backend '{name}', which this version does not have",
            expected=f"one of {', '.join(BACKENDS)}",
            fix="pip install --upgrade evit-deploy",
        )
    module = importlib.import_module(f"{__name__}.{name}")
    return module.open_backend(folder, manifest, threads)  # type: ignore[no-any-return]


def output_buffers(manifest: Manifest, batch: int) -> dict[str, npt.NDArray[Any]]:
    """Uninitialised arrays for all outputs at a batch size."""
    return {
        tensor.name: np.empty([batch if size == -1 else size for size in tensor.shape], tensor.dtype)
        for tensor in manifest.graph.outputs
    }
