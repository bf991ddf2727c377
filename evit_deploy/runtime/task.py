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
        graph = engine.manifest.graph
        self._in_place = engine.on_gpu and graph.input == "image" and graph.batch[0] == 1
        self._fitted = np.empty((0 if self._in_place else graph.resolution[0], graph.resolution[1], 3), np.uint8)

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
        name = graph.inputs[0].name
        # What the GPU reads, so that a frame is written once; asked for each time, since a run may be reading it.
        buffer = self.engine.input_buffer(name)[0] if self._in_place else self._fitted
        image = np.ascontiguousarray(fit_frame(frame, rules, *graph.resolution, out=buffer))
        outputs = self.infer({name: graph_input(image[None], graph, rules)})
        return {output: array[0] for output, array in outputs.items()}
