# SPDX-License-Identifier: Apache-2.0
"""Classification of frames."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from evit_deploy.errors import UsageError
from evit_deploy.runtime.preprocess import check_frame
from evit_deploy.runtime.task import Task


@dataclass(frozen=True)
class Classification:
    """The best classes of a frame, best first.

    Attributes:
        indices: Class numbers.
        names: Class names.
        probabilities: Softmax probabilities, over all classes.
    """

    indices: tuple[int, ...]
    names: tuple[str, ...]
    probabilities: tuple[float, ...]


class Classifier(Task):
    """Classifies frames of any size: ``Classifier(engine)(frame)``."""

    def __call__(self, frame: npt.NDArray[np.uint8], *, top: int = 5) -> Classification:
        """Classify one frame.

        Args:
            frame: uint8 [H, W, 3] RGB, any size: short side resized, centre cropped.
            top: Number of classes to return.

        Raises:
            UsageError: Not such a frame, or `top` out of range.
        """
        classes = len(self.classes.names)
        if not 1 <= top <= classes:
            raise UsageError("top is out of range", found=str(top), expected=f"1 to {classes}")
        with self.engine.exclusive():
            logits = self._run_frame(check_frame(frame))["logits"].copy()
        scores = np.exp(logits.astype(np.float64) - logits.max())
        best = np.argsort(-scores, kind="stable")[:top]
        return Classification(
            indices=tuple(int(index) for index in best),
            names=tuple(self.classes.names[index] for index in best),
            probabilities=tuple(float(p) for p in scores[best] / scores.sum()),
        )
