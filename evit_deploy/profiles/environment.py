# SPDX-License-Identifier: Apache-2.0
"""Where and when something was measured, in words: without it a latency means nothing."""

from __future__ import annotations

import os
import platform
import re
import sys
from pathlib import Path

import numpy as np

import evit_deploy
from evit_deploy.manifest import utc_now
from evit_deploy.runtime.backends import GPU_BACKENDS
from evit_deploy.runtime.engine import available_cores
from evit_deploy.targets.device import Device, machine_record, this_device, with_clocks
from evit_deploy.targets.machine import describe, memory_gb

_DRIVER = Path("/proc/driver/nvidia/version")
_GOVERNOR = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
UNKNOWN = "unknown"


def environment(backend: str) -> dict[str, str]:
    """The machine and the software at hand.

    Args:
        backend: Name of the engine's backend, imported already.

    Returns:
        Readable names to readable values.
    """
    memory, bindings = memory_gb(), ["cuda.bindings"] if backend in GPU_BACKENDS else []
    return {
        "date": utc_now(),
        **describe(),
        "cores": f"{available_cores()} of {os.cpu_count()}",
        "memory": f"{memory:.1f} GB" if memory else UNKNOWN,
        "governor": governor() or "not readable",
        **device_entries(this_device()),
        "evit-deploy": evit_deploy.__version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        **{name: version for name in (backend, *bindings, "torch") if (version := imported_version(name))},
    }


def device_entries(device: Device | None) -> dict[str, str]:
    """The GPU and the state that its board is in; nothing without one."""
    if device is None:
        return {}
    device = with_clocks(device)
    pinned = {True: "held at their maximum", False: "free to change", None: UNKNOWN}[device.clocks_pinned]
    record = machine_record(device)
    return {
        **{name: value for name, value in record.items() if name != "driver"},
        "clocks": pinned,
        "highest GPU clock": f"{device.clock_mhz} MHz" if device.clock_mhz else UNKNOWN,
        "driver": nvidia_driver() or UNKNOWN,
        "driver serves": f"CUDA {device.driver}",
    }


def nvidia_driver(path: Path = _DRIVER) -> str | None:
    """Version of NVIDIA's kernel driver, such as "550.54.15"; None where the system does not say."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    match = re.search(r"^NVRM version:.*?\s(\d+\.\d+(?:\.\d+)*)\s", text, flags=re.MULTILINE)
    return match[1] if match else None


def imported_version(module: str) -> str | None:
    """Version of a module, if this process has imported it."""
    found = sys.modules.get(module)
    return None if found is None else str(getattr(found, "__version__", UNKNOWN))


def governor() -> str | None:
    """The CPU frequency governor, such as "performance"; None where the system does not say."""
    try:
        return _GOVERNOR.read_text(encoding="ascii").strip() or None
    except (OSError, ValueError):
        return None


def load_average() -> float | None:
    """Processes that ran or wanted to run, averaged over the last minute; None where the system does not say."""
    try:
        return os.getloadavg()[0]
    except (AttributeError, OSError):  # not on Windows
        return None
