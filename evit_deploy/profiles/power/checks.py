# SPDX-License-Identifier: Apache-2.0
"""What `evit-deploy doctor` says about power."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from evit_deploy.engines.doctor import Check
from evit_deploy.profiles.power.source import Obstacle
from evit_deploy.profiles.power.survey import survey

NAME = "power"
_NOTHING = "nothing here tells it: no Jetson rails, no NVIDIA GPU, no processor with RAPL"


def power_checks(root: Path = Path("/")) -> Iterator[Check]:
    """One check per source of power, whether it can be read or not; one that says so where there is none.

    Args:
        root: Where the system's files are.
    """
    found = list(survey(root))
    for item in found:
        if isinstance(item, Obstacle):
            yield Check(NAME, False, f"{item.source}: {item.what}", item.fix, optional=True)
        else:
            serves = " and ".join(name.upper() for name in sorted(item.serves))
            yield Check(NAME, True, f"{item.name}: measures work on the {serves}")
    if not found:
        yield Check(NAME, False, _NOTHING, optional=True)
