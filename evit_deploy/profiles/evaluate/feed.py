# SPDX-License-Identifier: Apache-2.0
"""Images into an engine and its outputs back, apart from each other, so that fitting overlaps with running."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from evit_deploy.runtime.engine import Engine
from evit_deploy.runtime.preprocess import fit_frame, graph_input

Array = npt.NDArray[Any]
_MOST = 16


class Feed:
    """One input and one output of an engine for images.

    Attributes:
        engine: The engine.
        batch: Images that one run takes at most.
    """

    def __init__(self, engine: Engine, output: str) -> None:
        """Of an engine take the output of a name; others are not looked at."""
        self.engine, self._input, self._output = engine, engine.inputs[0].name, output
        self._low, high = engine.manifest.graph.batch
        self.batch = max(self._low, min(high, _MOST))

    def fit(self, image: npt.NDArray[np.uint8]) -> Array:
        """An image uint8 [H, W, 3] as the graph takes it, without the batch. For several threads.

        Raises:
            UsageError: A classifier's image that is too narrow.
        """
        graph, rules = self.engine.manifest.graph, self.engine.manifest.preprocess
        fitted = np.ascontiguousarray(fit_frame(image, rules, *graph.resolution))
        ready: Array = graph_input(fitted[None], graph, rules)[0]
        return ready

    def run(self, fitted: Sequence[Array]) -> list[Array]:
        """The output of 1 to `batch` fitted images, copied. For one thread."""
        found = self.engine.infer({self._input: self._together(fitted)})[self._output]
        return [found[index].copy() for index in range(len(fitted))]

    def _together(self, fitted: Sequence[Array]) -> Array:
        """Images as a batch: in what a GPU reads, so that they are written once; one image for a CPU as it lies."""
        count = max(self._low, len(fitted))
        if count == 1 and not self.engine.on_gpu:
            return fitted[0][None]
        images = self.engine.input_buffer(self._input, count)
        for index in range(count):  # a graph of a fixed batch gets the last image again
            images[index] = fitted[min(index, len(fitted) - 1)]
        return images
