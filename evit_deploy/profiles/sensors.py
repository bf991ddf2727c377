# SPDX-License-Identifier: Apache-2.0
"""Temperatures, clocks and other programs' load while something is measured: what a latency depends on and hides.

Nothing is read while the clock runs: `Watch.look` is called between blocks of timed calls.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from evit_deploy.targets.jetson import gpu_clock

_PLAUSIBLE = (-40.0, 150.0)
"""°C. A sensor that is switched off gives 0 kelvin, or the largest number it has."""


@dataclass(frozen=True)
class Clock:
    """A clock in MHz.

    Attributes:
        now: As it is.
        highest: As it may become; None where the system does not say.
    """

    now: float
    highest: float | None = None


@dataclass(frozen=True)
class GpuState:
    """What the driver of a discrete GPU tells between two rounds.

    Attributes:
        celsius: Its temperature in °C; None where the driver does not say.
        clock: That of its multiprocessors; None where the driver does not say.
    """

    celsius: float | None = None
    clock: Clock | None = None


ReadGpu = Callable[[], GpuState]


def temperatures(root: Path = Path("/")) -> dict[str, float]:
    """Temperature of every thermal zone in °C; of zones of one name, the hottest."""
    found: dict[str, float] = {}
    for zone in sorted((root / "sys/class/thermal").glob("thermal_zone*")):
        name, value = _text(zone / "type"), _number(zone / "temp")
        if name and value is not None and _PLAUSIBLE[0] < value / 1000 < _PLAUSIBLE[1]:
            found[name] = max(value / 1000, found.get(name, _PLAUSIBLE[0]))
    return found


def clocks(root: Path = Path("/")) -> dict[str, Clock]:
    """The clocks of "CPU" (its fastest core) and "GPU" (a Jetson's), where the system tells them."""
    found = {}
    if cpu := _cpu_clock(root):
        found["CPU"] = cpu
    if gpu := gpu_clock(root):
        found["GPU"] = Clock(*gpu)
    return found


class Watch:
    """Looks at the machine now and then.

    Args:
        root: Where the system's files are.
        gpu: What reads a discrete GPU, which has no such files; see `evit_deploy.profiles.gpu_state`.
    """

    def __init__(self, root: Path = Path("/"), gpu: ReadGpu | None = None) -> None:
        self._root, self._gpu = root, gpu
        self._seen: dict[str, list[float]] = {}
        self._highest: dict[str, float] = {}
        self._began = (time.perf_counter(), _busy_seconds(root), _own_seconds())
        self.look()

    def look(self) -> None:
        """Read everything once."""
        heat, rates = temperatures(self._root), clocks(self._root)
        if self._gpu is not None:
            state = self._gpu()
            heat |= {} if state.celsius is None else {"GPU": state.celsius}
            rates |= {} if state.clock is None else {"GPU": state.clock}
        for name, celsius in heat.items():
            self._seen.setdefault(f"temperature of {name}", []).append(celsius)
        for name, clock in rates.items():
            self._seen.setdefault(f"{name} clock", []).append(clock.now)
            if clock.highest is not None:
                self._highest[f"{name} clock"] = clock.highest

    def beside(self, advance: Callable[[], None]) -> Callable[[], None]:
        """What to call after every round: looks, and tells a progress."""

        def look_and_advance() -> None:
            self.look()
            advance()

        return look_and_advance

    def entries(self) -> dict[str, str]:
        """What was seen, as entries of a report's environment."""
        return dict(self._entries())

    def _entries(self) -> Iterator[tuple[str, str]]:
        for name, values in self._seen.items():
            if name.endswith("clock"):
                limit = f", at most {self._highest[name]:.0f}" if name in self._highest else ""
                yield name, f"{_span(values, '.0f')} MHz while measured{limit}"
            else:
                yield name, f"{_span(values, '.1f')} °C while measured"
        if (cores := self.other_load()) is not None:
            yield "other load", f"{cores:.2f} cores of {os.cpu_count()} while measured"

    def other_load(self) -> float | None:
        """Cores that other processes kept busy since the beginning; None where the system does not say."""
        start, busy, own = self._began
        now, elapsed = _busy_seconds(self._root), time.perf_counter() - start
        if busy is None or now is None or elapsed <= 0:
            return None
        return max(0.0, (now - busy) - (_own_seconds() - own)) / elapsed


def _span(values: list[float], form: str) -> str:
    low, high = format(min(values), form), format(max(values), form)
    return low if low == high else f"{low} to {high}"


def _cpu_clock(root: Path) -> Clock | None:
    folders = sorted((root / "sys/devices/system/cpu/cpufreq").glob("policy*"))
    now = [value for folder in folders if (value := _number(folder / "scaling_cur_freq")) is not None]
    highest = [value for folder in folders if (value := _number(folder / "cpuinfo_max_freq")) is not None]
    if now:
        return Clock(max(now) / 1e3, max(highest) / 1e3 if highest else None)
    shown = re.findall(r"^cpu MHz\s*:\s*([\d.]+)", _text(root / "proc/cpuinfo"), flags=re.MULTILINE)
    return Clock(max(map(float, shown))) if shown else None


def _busy_seconds(root: Path) -> float | None:
    """Seconds that all cores together were busy since the machine started, from the first line of /proc/stat."""
    fields = _text(root / "proc/stat").partition("\n")[0].split()
    with suppress(ValueError, IndexError, AttributeError, OSError):
        user, nice, system, _idle, _waiting, irq, softirq = (int(value) for value in fields[1:8])
        return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")
    return None


def _own_seconds() -> float:
    """CPU seconds of this process and of children that ended."""
    spent = os.times()
    return spent.user + spent.system + spent.children_user + spent.children_system


def _number(path: Path) -> float | None:
    with suppress(ValueError):
        return float(_text(path))
    return None


def _text(path: Path) -> str:
    with suppress(OSError):
        return path.read_bytes().decode("utf-8", "replace").strip()
    return ""
