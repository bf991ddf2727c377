# SPDX-License-Identifier: Apache-2.0
"""The machines an engine can be built for, as data with sources, and how the machine at hand differs from them."""

from __future__ import annotations

import difflib

from evit_deploy.errors import UsageError
from evit_deploy.targets.differences import Difference, differences, find_target_of
from evit_deploy.targets.rows import TARGETS
from evit_deploy.targets.spec import PRECISIONS, Figure, PowerMode, TargetSpec, Variant

__all__ = [
    "PRECISIONS",
    "TARGETS",
    "Difference",
    "Figure",
    "PowerMode",
    "TargetSpec",
    "Variant",
    "differences",
    "find_target",
    "find_target_of",
]


def find_target(name: str) -> TargetSpec:
    """Look a target up by its name.

    Raises:
        UsageError: No such target; the message lists the nearest names.
    """
    if name in TARGETS:
        return TARGETS[name]
    near = difflib.get_close_matches(name.lower(), TARGETS, n=3, cutoff=0.4) or list(TARGETS)
    raise UsageError(
        f"there is no target '{name}'",
        expected=f"one of {', '.join(near)}",
        fix="evit-deploy targets lists all of them",
    )
