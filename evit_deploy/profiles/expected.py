# SPDX-License-Identifier: Apache-2.0
"""What was to be expected of an engine on the machine that it is measured on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from evit_deploy.manifest import Manifest
from evit_deploy.profiles.remarks import Notes
from evit_deploy.progress import Progress, silent
from evit_deploy.runtime.backends import GPU_BACKENDS
from evit_deploy.targets.device import Device, this_device
from evit_deploy.targets.differences import find_target_of, find_variant

if TYPE_CHECKING:
    from evit_deploy.profiles.predict.ask import Asked
    from evit_deploy.profiles.predict.prediction import Prediction


def expected(folder: Path, manifest: Manifest, *, notes: Notes, progress: Progress = silent) -> tuple[Prediction, ...]:
    """Predict an engine's latency on this machine, in its power mode and as the runtime runs it.

    Args:
        folder: The engine's folder; of an engine of several parts, the one that holds them.
        manifest: Its manifest, or that of one of its parts.
        notes: Gets the reason where a prediction fails.
        progress: Told about every step.

    Returns:
        A prediction for every part; nothing of an engine for the CPU, or on a machine that nothing is predicted for.
    """
    assert manifest.engine is not None
    device = this_device()
    asked = question(device) if device is not None and manifest.engine.backend in GPU_BACKENDS else None
    if asked is None:
        return ()
    from evit_deploy.profiles.predict.ask import predict

    with progress("predict"):
        whole = notes.attempt("Nothing was predicted", lambda: predict(folder, folder.parent.parent, asked))
    return () if whole is None else whole.parts


def question(device: Device) -> Asked | None:
    """What to predict for: the machine at hand; None where its figures, or its power mode, are not known."""
    from evit_deploy.profiles.predict.ask import Asked

    spec = find_target_of(device)
    size = None if spec is None else find_variant(device, spec)
    if spec is None or size is None or (size.modes and device.power_mode is None):
        return None
    return Asked(
        target=spec.name,
        mode=device.power_mode if size.modes else None,
        variant=size.name,
        cuda_graph=True,
        copies="zero-copy" if device.integrated else "pinned",
    )
