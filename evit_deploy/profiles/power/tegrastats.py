# SPDX-License-Identifier: Apache-2.0
"""Power from tegrastats, NVIDIA's tool on every Jetson.

Its lines have no stable form: tokens come, go and change with release and chip. So lines are searched for the two
kinds of tokens that are wanted, and everything else is skipped:

    VDD_GPU_SOC 3150mW/2971mW      now/average, since JetPack 4.6; Thor adds a peak, some releases have one figure
    POM_5V_IN 1750/1628            the same in mW, JetPack 4.2 to 4.5
    gpu@69.125C  gpu@56.9C/66.6C   temperature; Thor adds a peak
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

from evit_deploy.profiles.power.rails import UNCONNECTED, jetson_total
from evit_deploy.profiles.power.source import Obstacle, Processor, Reading, Source

NAME = "tegrastats"
INTERVAL = 0.1
"""Seconds. Faster, and the tool itself would show in its figures."""

_PATIENCE = 20  # intervals without a line before `read` returns
_RAIL = re.compile(r"(?<!\S)(\w+)\s+(-?\d+)(?:mW(?:/-?\d+mW)*|/-?\d+)(?!\S)")
_NO_RAILS = {UNCONNECTED, "RAM", "SWAP", "IRAM"}
_TEMPERATURE = re.compile(r"(?<!\S)([A-Za-z]\w*)@(-?\d+(?:\.\d+)?)C(?:/\S+)?(?!\S)")
_COLDEST = -100.0  # switched-off sensors show -256
_END_SECONDS = 1.0
_SERVES: frozenset[Processor] = frozenset({"gpu", "cpu"})


def parse_line(line: str) -> tuple[dict[str, float], dict[str, float]]:
    """Rails in W, present power where there is an average beside it, and temperatures in °C; both may be empty."""
    rails = {name: int(milliwatts) / 1e3 for name, milliwatts in _RAIL.findall(line) if name not in _NO_RAILS}
    sensors = {name: float(degrees) for name, degrees in _TEMPERATURE.findall(line)}
    return rails, {name: degrees for name, degrees in sensors.items() if degrees > _COLDEST}


def find_tegrastats() -> Source | Obstacle | None:
    """tegrastats as a source; why it tells no power; None where there is no such tool on PATH."""
    if shutil.which(NAME) is None:
        return None
    try:
        with _run() as lines:
            reading, why = lines.read(), "it prints no power of this board"
    except OSError as error:
        reading, why = None, str(error)
    if reading is None:
        return Obstacle(NAME, _SERVES, why, f"run '{NAME}' and see; on some carrier boards nothing measures power")
    return Source(NAME, _SERVES, INTERVAL, _run, jetson_total)


class _Lines:
    """The lines of a running tool, each waited for with a limit."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        self._process, self._pipe = process, process.stdout.fileno()
        self._buffer = b""
        self._last = time.perf_counter()

    def read(self) -> Reading | None:
        """The next line that has rails."""
        deadline = time.perf_counter() + _PATIENCE * INTERVAL
        while time.perf_counter() < deadline:
            rails, temperatures = parse_line(self._line(deadline))
            if rails:
                # Lines that wait behind this one are younger by an interval each: a pipe may hand them over in heaps.
                now = time.perf_counter() - INTERVAL * self._buffer.count(b"\n")
                self._last = max(self._last, now)
                return Reading(rails, temperatures, self._last)
        return None

    def _end(self) -> str:
        """Why there is no more output."""
        try:
            return f"{NAME} ended with status {self._process.wait(_END_SECONDS)}"
        except subprocess.TimeoutExpired:
            return f"{NAME} closed its output"

    def _line(self, deadline: float) -> str:
        """One whole line; nothing when time is up."""
        while b"\n" not in self._buffer:
            ready, _, _ = select.select([self._pipe], [], [], max(deadline - time.perf_counter(), 0))
            if not ready:
                return ""
            chunk = os.read(self._pipe, 1 << 16)
            if not chunk:
                raise OSError(self._end())
            self._buffer += chunk
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line.decode("utf-8", "replace")


@contextmanager
def _run() -> Iterator[_Lines]:
    process = subprocess.Popen(
        [NAME, "--interval", str(round(INTERVAL * 1000))],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    with process:
        try:
            yield _Lines(process)
        finally:
            with contextlib.suppress(ProcessLookupError):  # with its children; it only reads, so nothing is lost
                os.killpg(process.pid, signal.SIGKILL)
