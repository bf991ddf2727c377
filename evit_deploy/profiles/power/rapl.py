# SPDX-License-Identifier: Apache-2.0
"""Power of Intel's and AMD's processors: RAPL's counters of energy, as Linux shows them below /sys/class/powercap.

https://docs.kernel.org/power/powercap/powercap.html. A zone is a processor package; its sub-zones "core" and "uncore"
are parts of it, while "dram" is beside it. "psys" is all of them and more, where a laptop has it. The zones of
intel-rapl-mmio are the same packages by another road. Since CVE-2020-8694 only root may read the counters.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from evit_deploy.profiles.power.counter import Counter
from evit_deploy.profiles.power.files import read_name, read_number
from evit_deploy.profiles.power.source import Obstacle, Polled, Processor, Reader, Source, Total
from evit_deploy.profiles.sensors import temperatures

NAME = "RAPL"
INTERVAL = 0.1
"""Seconds. The counters move every millisecond."""

_SERVES: frozenset[Processor] = frozenset({"cpu"})


def find_rapl(root: Path) -> Source | Obstacle | None:
    """RAPL as a source; why it cannot be read; None where the system has no such counters.

    Args:
        root: Where the system's files are.
    """
    zones, denied = {}, False
    for name, folder in _zones(root):
        try:
            read_number(folder / "energy_uj")
        except PermissionError:
            denied = True
        except OSError:
            continue
        else:
            zones[name] = folder
    if any(name.startswith("package") for name in zones):
        return Source(NAME, _SERVES, INTERVAL, partial(_open, root, zones), rapl_total)
    if denied:
        fix = "run as root, or until the next boot: sudo chmod a+r /sys/class/powercap/intel-rapl:*/energy_uj"
        return Obstacle(NAME, _SERVES, "only root may read the processor's energy counters", fix)
    return None


def rapl_total(names: Collection[str]) -> Total:
    """Packages, and memory where it is counted."""
    packages = [name for name in names if name.startswith("package") and "/" not in name]
    memory = [name for name in names if name.endswith("/dram")]
    return Total((*packages, *memory), "processor package" + (" and memory" if memory else ""))


def _zones(root: Path) -> Iterator[tuple[str, Path]]:
    """Name and folder of every zone; a sub-zone has its package's name before its own."""
    folders = {path.name: path for path in sorted((root / "sys/class/powercap").glob("intel-rapl:*"))}
    names = {key: read_name(path / "name") or key for key, path in folders.items()}
    for key, path in folders.items():
        above = key.rpartition(":")[0]
        yield (f"{names[above]}/{names[key]}" if above in names else names[key]), path


@contextmanager
def _open(root: Path, zones: dict[str, Path]) -> Iterator[Reader]:
    counters = {name: _counter(folder) for name, folder in zones.items()}
    yield Polled(
        INTERVAL, lambda: {name: counter.watts() for name, counter in counters.items()}, partial(temperatures, root)
    )


def _counter(folder: Path) -> Counter:
    return Counter(lambda: read_number(folder / "energy_uj") / 1e6, read_number(folder / "max_energy_range_uj") / 1e6)
