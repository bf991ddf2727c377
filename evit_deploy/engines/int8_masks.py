# SPDX-License-Identifier: Apache-2.0
"""What an image encoder's embedding is worth: the masks that the exported decoder makes of it.

The encoder's error alone tells little: the decoder may not care. So INT8 encoders are judged by masks, of a few points
that lie inside every picture up to 2.6 times as wide as high, or the other way round.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from evit_deploy.data.masks import LOW_RES
from evit_deploy.errors import ArtifactError, extra
from evit_deploy.manifest import DECODER, read_manifest

POINTS = (128, 256, 384)
"""Coordinates in the 1024 frame, px; every pair of them is a prompt of one point."""

Masks = Callable[[npt.NDArray[np.float32]], npt.NDArray[np.bool_]]


def masks_of(encoder: Path) -> Masks:
    """What turns an embedding into masks, from the decoder beside an exported encoder.

    Args:
        encoder: Folder of the exported encoder.

    Returns:
        A function from an embedding, float32 [C, h, w], to the masks of all prompts, bool [P, M, 256, 256].

    Raises:
        ArtifactError: There is no decoder beside it.
    """
    folder = encoder.resolve().parent / DECODER
    if not folder.is_dir():
        raise ArtifactError(f"there is no mask decoder beside {encoder}", fix="export the whole model again")
    with extra("onnxruntime", "Judging an image encoder by its masks"):
        import onnxruntime as ort

    from evit_deploy.runtime.backends.onnxruntime import session_options
    from evit_deploy.runtime.engine import available_cores

    graph = read_manifest(folder).graph
    options = session_options(available_cores())
    session = ort.InferenceSession(str(folder / graph.file), options, providers=["CPUExecutionProvider"])
    dtypes = {tensor.name: tensor.dtype for tensor in graph.inputs}
    prompts = _prompts()

    def masks(embedding: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
        arrays = prompts | {"embedding": embedding[None]}
        found = session.run(["masks"], {name: np.asarray(arrays[name], dtype) for name, dtype in dtypes.items()})[0]
        return np.asarray(found > 0)

    return masks


def _prompts() -> dict[str, npt.NDArray[Any]]:
    """Inputs of the decoder beside the embedding: one point for each prompt, no earlier mask."""
    coords = np.array([[[x, y]] for y in POINTS for x in POINTS], np.float32)
    return {
        "coords": coords,
        "labels": np.ones(coords.shape[:2], np.int32),
        "mask": np.zeros((1, 1, LOW_RES, LOW_RES), np.float32),
        "has_mask": np.zeros(1, np.float32),
    }
