# SPDX-License-Identifier: Apache-2.0
"""What every task runner shares: the engine it owns, and how that is closed."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from evit_deploy.data.classes import ClassSet, class_set
from evit_deploy.manifest import Manifest
from evit_deploy.runtime.engine import Engine
from evit_deploy.runtime.preprocess import fit_frame, graph_input

if TYPE_CHECKING:
    from typing_extensions import Self


class Task:
    """An engine and the classes it knows.

    Attributes:
        engine: The engine, owned by the task.
        classes: Names and colours of its classes.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.classes: ClassSet = class_set(engine.manifest.model.dataset)
        self._fitted = np.empty((*engine.manifest.graph.resolution, 3), np.uint8)

    @property
    def manifest(self) -> Manifest:
        """What the engine says about itself."""
        return self.engine.manifest

    def infer(self, inputs: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
        """Run the raw graph; see `Engine.infer`."""
        return self.engine.infer(inputs)

    def close(self) -> None:
        """Free the engine."""
        self.engine.close()

    def __enter__(self) -> Self:
        """Return the task itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Free the engine."""
        self.close()

    def _run_frame(self, frame: npt.NDArray[np.uint8]) -> dict[str, npt.NDArray[Any]]:
        """Fit one checked frame to the graph, run it, and drop the batch axis."""
        graph, rules = self.manifest.graph, self.manifest.preprocess
        image = np.ascontiguousarray(fit_frame(frame, rules, *graph.resolution, out=self._fitted))
        outputs = self.infer({graph.inputs[0].name: graph_input(image[None], graph, rules)})
        return {name: array[0] for name, array in outputs.items()}
