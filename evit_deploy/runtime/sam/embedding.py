# SPDX-License-Identifier: Apache-2.0
"""A picture as the image encoder sees it: computed once, asked many times."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy.typing as npt

from evit_deploy.data.masks import PromptFrame
from evit_deploy.manifest import Bundle

SHAPE = (1, 256, 64, 64)


@dataclass(frozen=True, eq=False)
class Fitted:
    """A picture as the image encoder takes it.

    Attributes:
        inputs: The encoder's inputs, by name.
        frame: Size of the picture.
    """

    inputs: dict[str, npt.NDArray[Any]]
    frame: PromptFrame


@dataclass(frozen=True, eq=False)
class Embedding:
    """A picture's embedding: a value, which threads may share and programs may keep or send.

    Attributes:
        array: Float [1, 256, 64, 64], read-only.
        frame: Size of the picture, whose pixels prompts refer to.
        model: Whose encoder made it, as `model_id` says.
    """

    array: npt.NDArray[Any]
    frame: PromptFrame
    model: str

    def __post_init__(self) -> None:
        self.array.flags.writeable = False


def model_id(bundle: Bundle) -> str:
    """Name and weights of a model: engines of equal ids understand each other's embeddings, of any precision."""
    return f"{bundle.model.name} {bundle.weights.sha256[:16]}"
