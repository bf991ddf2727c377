# SPDX-License-Identifier: Apache-2.0
"""What goes wrong: classes that are taken for one another, and outputs that are no numbers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from evit_deploy.profiles.evaluate.task import Mistake

MOST = 20


def not_finite(broken: int, total: int) -> tuple[str, ...]:
    """A warning, where the outputs of some images are not finite; they count as wrong."""
    return (f"the outputs of {broken} of {total} images are not finite",) if broken else ()


def worst_mistakes(counts: npt.NDArray[np.int64], names: Sequence[str]) -> tuple[Mistake, ...]:
    """The most frequent mistakes, worst first, `MOST` of them at most.

    Args:
        counts: int64 [classes, classes], row = truth, column = prediction.
        names: Names of the classes.
    """
    wrong = np.where(np.eye(len(names), dtype=np.bool_), 0, counts)
    order = np.argsort(-wrong, axis=None, kind="stable")[:MOST]
    rows, columns = np.unravel_index(order, wrong.shape)
    return tuple(
        Mistake(names[truth], names[guess], int(wrong[truth, guess]))
        for truth, guess in zip(rows, columns, strict=True)
        if wrong[truth, guess]
    )
