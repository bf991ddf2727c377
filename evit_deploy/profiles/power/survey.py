# SPDX-License-Identifier: Apache-2.0
"""Which sources of power this machine has, and what keeps others from being read."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from evit_deploy.profiles.power.ina3221 import find_ina3221
from evit_deploy.profiles.power.nvml import find_nvml
from evit_deploy.profiles.power.rapl import find_rapl
from evit_deploy.profiles.power.source import Obstacle, Processor, Source
from evit_deploy.profiles.power.tegrastats import find_tegrastats


def survey(root: Path = Path("/")) -> Iterator[Source | Obstacle]:
    """Every source that this machine has, best first, or why it cannot be read.

    A board's own monitors come first: they are read faster than tegrastats reads them, and nothing runs beside.

    Args:
        root: Where the system's files are.
    """
    finders = (partial(find_ina3221, root), find_tegrastats, find_nvml, partial(find_rapl, root))
    for find in finders:  # one by one: to look at tegrastats takes a while
        found = find()
        if found is not None:
            yield found


def sources(root: Path = Path("/")) -> list[Source]:
    """The sources that can be read here, best first; empty where there are none.

    Args:
        root: Where the system's files are.
    """
    return [found for found in survey(root) if isinstance(found, Source)]


def find_source(processor: Processor, root: Path = Path("/")) -> Source | None:
    """The best source for work on the GPU or on the CPU; None where there is none.

    Args:
        processor: "gpu" or "cpu".
        root: Where the system's files are.
    """
    found = (item for item in survey(root) if isinstance(item, Source) and processor in item.serves)
    return next(found, None)


def obstacles(root: Path = Path("/"), processor: Processor | None = None) -> list[Obstacle]:
    """The sources that are here and cannot be read, with the reason and what to do.

    Args:
        root: Where the system's files are.
        processor: Only those for work on the "gpu" or on the "cpu".
    """
    found = [item for item in survey(root) if isinstance(item, Obstacle)]
    return [item for item in found if processor is None or processor in item.serves]
