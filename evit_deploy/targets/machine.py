# SPDX-License-Identifier: Apache-2.0
"""What the machine at hand is: processor, instruction sets, memory."""

from __future__ import annotations

import os
import platform
import re
from functools import lru_cache
from pathlib import Path

from evit_deploy.targets.device import this_device


@lru_cache(maxsize=1)
def _cpuinfo() -> str:
    try:
        return Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return ""


def cpu_name() -> str:
    """Model name of the processor, as the system reports it."""
    match = re.search(r"^model name\s*:\s*(.+)$", _cpuinfo(), flags=re.MULTILINE)
    return match.group(1).strip() if match else platform.processor() or platform.machine()


def cpu_features() -> list[str]:
    """The instruction sets that matter for inference and that this processor has."""
    match = re.search(r"^(?:flags|Features)\s*:\s*(.+)$", _cpuinfo(), flags=re.MULTILINE)
    flags = set(match.group(1).split()) if match else set()
    wanted = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8", "asimd", "bf16", "i8mm")
    return [flag for flag in wanted if flag in flags]


def memory_gb() -> float | None:
    """Installed memory in GB (10⁹ bytes), or None where the system does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    except (AttributeError, ValueError, OSError):
        return None


def cache_folder() -> Path:
    """Where this package keeps what can be made again: below $XDG_CACHE_HOME, or ~/.cache.

    The XDG base directory specification: a relative path is to be ignored.
    """
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (base if base.is_absolute() else Path.home() / ".cache") / "evit-deploy"


def gpu_compute_capability() -> str | None:
    """CUDA compute capability of the first NVIDIA GPU, such as "8.6"; None where there is no GPU or no driver."""
    device = this_device()
    return device.compute_capability if device else None


def describe() -> dict[str, str]:
    """The machine in a few words, for manifests and reports."""
    return {
        "processor": cpu_name(),
        "architecture": platform.machine(),
        "features": " ".join(cpu_features()),
        "system": f"{platform.system()} {platform.release()}",
    }
