# SPDX-License-Identifier: Apache-2.0
"""How the conditions of two profiles differ, in words, and which differences forbid a verdict on speed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from evit_deploy.manifest import ENCODER, Manifest
from evit_deploy.profiles.reading import Report
from evit_deploy.profiles.report import ProfileReport

_MACHINE = ("processor", "architecture", "cores", "gpu", "board")
_SETTINGS = ("power mode", "multiprocessors", "clocks", "highest GPU clock", "governor")
_DECISIVE = ("model", "resolution", "batch", *_MACHINE, *_SETTINGS)
_STATE = re.compile(r"date|memory|load average|other load|temperature of .*|.* clock")
"""Entries of an environment that differ each time; what matters of them is said in other words."""

_BUSY = 0.1  # of all cores
_SLOWER_CLOCK = 0.9


@dataclass(frozen=True)
class Difference:
    """Something that is not the same in two profiles.

    Attributes:
        name: What, such as "power mode".
        first: Its value in the first profile.
        other: Its value in the other one.
    """

    name: str
    first: str
    other: str

    @property
    def decisive(self) -> bool:
        """Whether latencies then tell about it, and not about the engines."""
        return self.name in _DECISIVE

    def __str__(self) -> str:
        """Such as "power mode: MAXN, then 30W"."""
        return f"{self.name}: {self.first}, then {self.other}"


def differences(first: Report, other: Report) -> tuple[Difference, ...]:
    """What two profiles do not share: the work, the machine, its settings, the software.

    What only one of them recorded, because the other one is older, is no difference.
    """
    before = {**_work(first), **_fixed(first.environment)}
    after = {**_work(other), **_fixed(other.environment)}
    names = [name for name in before if name in after and before[name] != after[name]]
    return tuple(Difference(name, before[name], after[name]) for name in names)


def one_sided(first: Report, other: Report) -> tuple[str, ...]:
    """What would forbid a verdict if it differed, and stands in one of two profiles only."""
    before, after = first.environment, other.environment
    return tuple(name for name in (*_MACHINE, *_SETTINGS) if (name in before) != (name in after))


def disturbances(report: Report) -> tuple[str, ...]:
    """What may have slowed a run down, in words: other programs, and clocks that fell."""
    return tuple(_disturbances(report.environment))


def main_manifest(report: Report) -> Manifest:
    """The manifest of the engine; of several parts, that of the image encoder."""
    return report.manifest if isinstance(report, ProfileReport) else report.verdict.manifests[ENCODER]


def _work(report: Report) -> dict[str, str]:
    manifest = main_manifest(report)
    graph, engine = manifest.graph, manifest.engine
    assert engine is not None, "held to by `read_report`"
    height, width = graph.resolution
    return {
        "model": manifest.model.name,
        "weights": f"{manifest.weights.sha256[:12]}…",
        "resolution": f"{height}x{width}",
        "batch": str(graph.batch[0]),
        "graph input": graph.input,
        "graph output": graph.output,
        "precision": engine.precision,
        "target": engine.target,
        "compiler": f"{engine.compiler} {engine.compiler_version}",
    }


def _fixed(environment: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if not _STATE.fullmatch(name) or name in _SETTINGS}


def _disturbances(environment: dict[str, str]) -> Iterator[str]:
    load = re.match(r"([\d.]+) cores of (\d+)", environment.get("other load", ""))
    if load and float(load[1]) > _BUSY * int(load[2]):
        yield f"other programs kept {load[1]} of {load[2]} cores busy"
    elif not load and (average := _load_before(environment)) is not None:
        yield f"the load average was {average:.1f} on {environment['cores']} cores before"
    for name, text in environment.items():
        clock = re.match(r"([\d.]+)(?: to [\d.]+)? MHz while measured, at most ([\d.]+)", text)
        if clock and name.endswith(" clock") and float(clock[1]) < _SLOWER_CLOCK * float(clock[2]):
            yield f"the {name} fell to {clock[1]} of {clock[2]} MHz"


def _load_before(environment: dict[str, str]) -> float | None:
    """The load average before an older measurement, where it says that the machine was busy."""
    average = re.match(r"([\d.]+) before", environment.get("load average", ""))
    cores = re.match(r"(\d+) of", environment.get("cores", ""))
    if not average or not cores or float(average[1]) <= 0.5 * int(cores[1]):
        return None
    return float(average[1])
