# SPDX-License-Identifier: Apache-2.0
"""Where and when something was measured, in words: without it a latency means nothing."""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path

import numpy as np

import evit_deploy
from evit_deploy.manifest import utc_now
from evit_deploy.runtime.engine import available_cores
from evit_deploy.targets.machine import describe, memory_gb

_GOVERNOR = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
UNKNOWN = "unknown"


def environment(backend: str) -> dict[str, str]:
    """The machine and the software at hand.

    Args:
        backend: Name of the engine's backend, imported already.

    Returns:
        Readable names to readable values.
    """
    memory = memory_gb()
    return {
        "date": utc_now(),
        **describe(),
        "cores": f"{available_cores()} of {os.cpu_count()}",
        "memory": f"{memory:.1f} GB" if memory else UNKNOWN,
        "governor": governor() or "not readable",
        "evit-deploy": evit_deploy.__version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        **{name: version for name in (backend, "torch") if (version := imported_version(name))},
    }


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
