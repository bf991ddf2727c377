# SPDX-License-Identifier: Apache-2.0
"""What a Jetson says about itself: board, release, power mode, clocks. Parsers are plain functions of text.

The forms are those of Jetson Linux R35 to R39; examples in the form of each are in tests/targets/recorded.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
from pathlib import Path

TIMEOUT = 2.0
"""Seconds that a board's tool may take. What takes longer counts as unknown."""

_GPU_NAMES = re.compile(r"^(?:[0-9a-f]+\.(?:gpu|ga10b|gv11b)|gpu-gpc-\d+|(?:[0-9a-f]+\.)?gpu\d*)$")


def parse_model(raw: bytes) -> str | None:
    """Name of the board from the device tree, whose strings end in a zero byte."""
    return raw.split(b"\0", 1)[0].decode("utf-8", "replace").strip() or None


def parse_release(text: str) -> str | None:
    """L4T version from /etc/nv_tegra_release, such as "36.4.3" from "# R36 (release), REVISION: 4.3, …"."""
    match = re.search(r"^#\s*R(\d+)\s*\([^)]*\),\s*REVISION:\s*([\d.]+)", text, flags=re.MULTILINE)
    return f"{match[1]}.{match[2].rstrip('.')}" if match else None


def parse_power_mode(text: str) -> str | None:
    """Name of the power mode from ``nvpmodel -q``, without the "MODE_" that some boards put before it."""
    match = re.search(r"^NV Power Mode:\s*(\S+)", text, flags=re.MULTILINE)
    return match[1].removeprefix("MODE_") if match else None


def parse_power_modes(text: str) -> dict[int, str]:
    """Number and name of every power mode from /etc/nvpmodel.conf; numbers differ from board to board."""
    rows = re.findall(r"^<\s*POWER_MODEL\s+ID=(\d+)\s+NAME=(\S+)", text, flags=re.MULTILINE)
    return {int(number): name.removeprefix("MODE_") for number, name in rows}


def parse_power_status(text: str) -> int | None:
    """Number of the power mode from /var/lib/nvpmodel/status, such as 2 from "pmode:0002"."""
    match = re.search(r"\bpmode:(\d+)", text)
    return int(match[1]) if match else None


def parse_clocks(text: str) -> bool | None:
    """Whether ``jetson_clocks --show`` shows the GPU's lowest clock at its highest."""
    match = re.search(r"^GPU\s+MinFreq=(\d+)\s+MaxFreq=(\d+)", text, flags=re.MULTILINE)
    return match[1] == match[2] if match else None


def board(root: Path) -> str | None:
    """Name of the board, such as "NVIDIA Jetson AGX Orin Developer Kit"."""
    return parse_model(_bytes(root / "proc/device-tree/model"))


def l4t(root: Path) -> str | None:
    """Version of Jetson Linux, such as "36.4.3"."""
    return parse_release(_text(root / "etc/nv_tegra_release"))


def power_modes(root: Path) -> dict[int, str]:
    """Number and name of the power modes of this board; empty where it does not say."""
    return parse_power_modes(_text(root / "etc/nvpmodel.conf"))


def power_mode(root: Path) -> str | None:
    """Name of the active power mode: from the files that nvpmodel keeps, or from nvpmodel.

    Files first: they take no time, and a tool that hangs once would make the same device look like another one.
    """
    number = parse_power_status(_text(root / "var/lib/nvpmodel/status"))
    mode = None if number is None else power_modes(root).get(number)
    return mode or parse_power_mode(_output("nvpmodel", "-q"))


def clocks_pinned(root: Path) -> bool | None:
    """Whether the GPU's clock is held at its maximum: from devfreq, else from jetson_clocks, which needs root."""
    pinned = [_pinned(folder) for folder in _gpus(root)]
    known = [value for value in pinned if value is not None]
    return all(known) if known else parse_clocks(_output("jetson_clocks", "--show"))


def gpu_clock(root: Path) -> tuple[float, float] | None:
    """The GPU's clock now and at its highest in this power mode, in MHz; None where devfreq does not say."""
    for folder in _gpus(root):
        now, high = _text(folder / "cur_freq").strip(), _text(folder / "max_freq").strip()
        if now.isdigit() and high.isdigit():
            return int(now) / 1e6, int(high) / 1e6
    return None


def _gpus(root: Path) -> list[Path]:
    """Directories of the GPU's clocks; their names differ from release to release."""
    with contextlib.suppress(OSError):
        return sorted(path for path in (root / "sys/class/devfreq").iterdir() if _GPU_NAMES.match(path.name))
    return []


def _pinned(folder: Path) -> bool | None:
    low, high = _text(folder / "min_freq").strip(), _text(folder / "max_freq").strip()
    return low == high if low.isdigit() and high.isdigit() else None


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def _text(path: Path) -> str:
    return _bytes(path).decode("utf-8", "replace")


def _output(*command: str) -> str:
    """What a tool of the board prints; nothing where it is missing, fails or hangs."""
    try:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
        )
    except OSError:
        return ""
    try:
        return process.communicate(timeout=TIMEOUT)[0].decode("utf-8", "replace")
    except subprocess.TimeoutExpired:
        with contextlib.suppress(OSError):  # with its children: these tools are shell scripts
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return ""
    finally:
        if process.stdout:
            process.stdout.close()
