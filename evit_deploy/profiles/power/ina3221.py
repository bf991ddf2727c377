# SPDX-License-Identifier: Apache-2.0
"""Power from a Jetson's own monitors, INA3221 and INA238, through the kernel's files.

JetPack 5 and later show them below /sys/class/hwmon. A rail is a channel with a label and a current, its power voltage
times current (https://docs.kernel.org/hwmon/ina3221.html). Channel 7 is a sum of shunt voltages: it has a label and no
current. An INA238 has one channel, its label in a file of its own and its power ready.

JetPack 4 shows them as /sys/bus/iio devices: a name and a power for each channel.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from evit_deploy.profiles.power.files import read_name, read_number
from evit_deploy.profiles.power.rails import UNCONNECTED, jetson_total
from evit_deploy.profiles.power.source import Obstacle, Polled, Processor, Reader, Source
from evit_deploy.profiles.sensors import temperatures

NAME = "INA3221"
INTERVAL = 0.1
"""Seconds. Every file is a question over a slow bus; the chip itself averages over some milliseconds."""

_SERVES: frozenset[Processor] = frozenset({"gpu", "cpu"})


@dataclass(frozen=True)
class _Rail:
    """One channel: its name, and what reads its power in W."""

    name: str
    watts: Callable[[], float]


def find_ina3221(root: Path) -> Source | Obstacle | None:
    """The board's monitors as a source; why they cannot be read; None where there are none.

    Args:
        root: Where the system's files are.
    """
    rails, denied = [], []
    for rail in _rails(root):
        try:
            rail.watts()
        except PermissionError:
            denied.append(rail.name)
        except OSError:  # a channel that is switched off
            continue
        else:
            rails.append(rail)
    if rails:
        total = partial(jetson_total, missing=denied)
        return Source(NAME, _SERVES, INTERVAL, partial(_open, root, rails), total)
    if denied:
        fix = "run as root, or: sudo chmod a+r /sys/class/hwmon/hwmon*/{in,curr,power}*_input"
        return Obstacle(NAME, _SERVES, f"this user may not read {', '.join(denied)}", fix)
    return None


def _rails(root: Path) -> Iterator[_Rail]:
    for folder in sorted((root / "sys/class/hwmon").glob("hwmon*")):
        if read_name(folder / "name").startswith("ina"):
            yield from _hwmon_rails(folder)
    for folder in sorted((root / "sys/bus/iio/devices").glob("iio:device*")):
        for path in sorted(folder.glob("rail_name_*")):
            number, name = path.name.rpartition("_")[2], read_name(path)
            if name and name != UNCONNECTED:
                yield _Rail(name, partial(_milliwatts, folder / f"in_power{number}_input"))


def _hwmon_rails(folder: Path) -> Iterator[_Rail]:
    name = read_name(folder / "label")
    if name and (folder / "power1_input").exists():
        yield _Rail(name, partial(_microwatts, folder / "power1_input"))
        return
    for path in sorted(folder.glob("in*_label")):
        number, name = path.name.removeprefix("in").removesuffix("_label"), read_name(path)
        current = folder / f"curr{number}_input"
        if name and name != UNCONNECTED and current.exists():
            yield _Rail(name, partial(_product, folder / f"in{number}_input", current))


def _milliwatts(path: Path) -> float:
    return read_number(path) / 1e3


def _microwatts(path: Path) -> float:
    return read_number(path) / 1e6


def _product(millivolts: Path, milliamperes: Path) -> float:
    return read_number(millivolts) * read_number(milliamperes) / 1e6


@contextmanager
def _open(root: Path, rails: list[_Rail]) -> Iterator[Reader]:
    yield Polled(INTERVAL, lambda: {rail.name: rail.watts() for rail in rails}, partial(temperatures, root))
