# SPDX-License-Identifier: Apache-2.0
"""EfficientViT from PyTorch weights to a verified engine, and the runtime that runs it.

    import evit_deploy

    engine = evit_deploy.load("engines/b1-seg.cpu.fp32")
    result = engine(frame)

    sam = evit_deploy.load("engines/l0-sam.cpu.fp32")
    sam.set_image(frame)
    masks = sam.predict(points=[[320, 240]])

The house is described in docs/architecture.md. Importing this package imports nothing heavy.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from evit_deploy.runtime import Classifier, SegmentAnything, Segmenter

__all__ = ["__version__", "load"]
__version__ = "0.1.0"


def load(
    path: str | Path,
    *,
    threads: int | None = None,
    device: int = 0,
    in_flight: int = 2,
    rebuild: Literal["never", "if-needed"] = "never",
    trusted_keys: str | Path | None = None,
) -> Segmenter | Classifier | SegmentAnything:
    """Load an engine folder; docs/loading.md says what is checked before anything of it is executed.

    Args:
        path: Folder written by ``evit-deploy build``.
        threads: CPU threads, of engines for CPUs; None takes the number of cores this process may use.
        device: Number of the GPU, of engines for GPUs, as CUDA counts them.
        in_flight: How many submitted runs a GPU may have at once.
        rebuild: What to do with a GPU's engine that this device cannot run, because it was compiled elsewhere or not
            yet: "never" refuses it and names the command; "if-needed" compiles the graph in its folder again, which
            can take minutes and is told by a warning. That needs a compiler, writes the folder, and compiles for the
            first GPU only.
        trusted_keys: A public key, or a folder of them: an engine that none of them signed is refused. None takes what
            ``EVIT_TRUSTED_KEYS`` names, if anything.

    Returns:
        A `Segmenter` or a `Classifier`: call it with a frame. A `SegmentAnything`: set a frame, then ask for masks.

    Raises:
        UsageError: Not an engine folder, or another word for `rebuild`.
        ArtifactError: Damaged, edited, or of a newer version; `SignatureError` where no trusted key signed it.
        UnavailableError: It cannot run here; `EngineMismatchError` where it was compiled for another device.
        CheckFailedError: The rebuilt engine does not agree with PyTorch.
    """
    from evit_deploy import runtime
    from evit_deploy.errors import UnavailableError, UsageError

    if rebuild not in ("never", "if-needed"):
        raise UsageError("there is no such way to rebuild", found=repr(rebuild), expected="'never' or 'if-needed'")
    folder = Path(path)
    options: dict[str, Any] = {
        "threads": threads, "device": device, "in_flight": in_flight, "trusted_keys": trusted_keys
    }  # fmt: skip
    try:
        return runtime.load(folder, **options)
    except UnavailableError as error:
        if rebuild == "never":
            raise
        from evit_deploy.engines.rebuild import is_needed, rebuild_engine

        if not is_needed(folder, error):
            raise
        rebuild_engine(folder, error, device, trusted_keys)
    return runtime.load(folder, **options)
