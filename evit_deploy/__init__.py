# SPDX-License-Identifier: Apache-2.0
"""EfficientViT from PyTorch weights to a verified engine, and the runtime that runs it.

    import evit_deploy

    engine = evit_deploy.load("engines/b1-seg.cpu.fp32")
    result = engine(frame)

The house is described in docs/architecture.md. Importing this package imports nothing heavy.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from evit_deploy.runtime import Classifier, Segmenter

__all__ = ["__version__", "load"]
__version__ = "0.1.0"


def load(path: str | Path, *, threads: int | None = None) -> Segmenter | Classifier:
    """Load an engine folder; see `evit_deploy.runtime.load`."""
    from evit_deploy.runtime import load

    return load(path, threads=threads)
