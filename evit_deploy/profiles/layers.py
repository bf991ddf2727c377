# SPDX-License-Identifier: Apache-2.0
"""``evit-deploy verify --layers``: which tensors of a typed engine carry the difference from PyTorch?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evit_deploy.errors import UsageError, extra
from evit_deploy.manifest.signing import read_trusted
from evit_deploy.profiles.files import plain
from evit_deploy.progress import Progress, silent

if TYPE_CHECKING:
    from evit_deploy.precision.locate import LayerError

TYPED = ("fp16", "int8")


def engine_layers(
    folder: Path, progress: Progress = silent, trusted_keys: str | Path | None = None
) -> tuple[LayerError, ...]:
    """Compare every tensor of an engine's typed graph with the same graph without rounding, on the reference frames.

    The graph is run by ONNX Runtime on the CPU, FP16 emulated, so this needs no GPU and says nothing about a device.

    Args:
        folder: Folder of an engine.
        progress: Told about every step.
        trusted_keys: Keys one of which must have signed the engine, as for `evit_deploy.load`.

    Raises:
        UsageError: Not an engine, or one whose graph is not typed FP16.
        ArtifactError: A damaged engine.
        MissingExtraError: Without onnx.
    """
    with progress("read the engine"):
        manifest = read_trusted(folder, trusted_keys)
    if manifest.engine is None:
        raise UsageError(f"{folder} is an export, not an engine", fix="evit-deploy build, then name the engine")
    precision = manifest.engine.precision
    if precision not in TYPED or not (folder / manifest.graph.file).is_file():
        raise UsageError(
            f"the layers of {folder} cannot be compared one by one",
            found=f"precision {precision}: its graph is FP32, and what its compiler rounds is not written in it",
            expected=f"an engine with a typed graph ({' or '.join(TYPED)})",
            fix="leave out --layers; evit-deploy export MODEL --check-range shows the ranges of its tensors",
        )
    with extra("export", "Comparing layers"):
        from evit_deploy.precision.artifact import artifact_layers
    return artifact_layers(folder, manifest, progress)


def layer_part(layers: Sequence[LayerError] | None) -> dict[str, Any]:
    """The part of a record that holds layers: JSON values, null for NaN and infinity; nothing where none were taken."""
    return {} if layers is None else {"layers": plain([asdict(layer) for layer in layers])}
