# SPDX-License-Identifier: Apache-2.0
"""How long kernels took on this device in earlier builds, so that they need not be timed again.

One file per TensorRT version, GPU, number of multiprocessors and power mode, in the user's cache folder. TensorRT
checks its content and refuses what it did not write here. A cache that cannot be used, read or written costs time and
nothing else, so it is left out with a note in the log, and never stops a build.
"""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

from evit_deploy.errors import EvitError, extra
from evit_deploy.manifest.store import replace_file
from evit_deploy.targets.device import Device
from evit_deploy.targets.machine import cache_folder

_LOG = logging.getLogger(__name__)
_PATIENCE_S = 10


def cache_path(version: str, device: Device) -> Path:
    """Where the timings of a TensorRT version on a device are kept."""
    parts = ("tensorrt", version, device.gpu, device.compute_capability, str(device.multiprocessors), device.power_mode)
    name = "-".join(re.sub(r"[^A-Za-z0-9.]+", "_", part).strip("_") for part in parts if part)
    return cache_folder() / "timing" / f"{name}.cache"


def attach_cache(config: Any, path: Path) -> None:
    """Give a builder's configuration the timings of earlier builds, or an empty cache to fill."""
    for content in (_read(path), b""):
        timing_cache = config.create_timing_cache(content)
        if timing_cache is not None and config.set_timing_cache(timing_cache, ignore_mismatch=False):
            return
        if content:
            _LOG.warning("the timing cache %s is damaged or from another device: starting an empty one", path)


def store_cache(config: Any, path: Path) -> None:
    """Add the timings of a build to those that are kept, among them what others stored meanwhile."""
    timing_cache = config.get_timing_cache()
    if timing_cache is None:
        return
    try:
        with extra("device", "Keeping kernel timings"):
            import filelock
        path.parent.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(path.with_suffix(".lock"), timeout=_PATIENCE_S):
            if content := _read(path):
                stored = config.create_timing_cache(content)
                if stored is not None:
                    timing_cache.combine(stored, ignore_mismatch=False)
            replace_file(path, bytes(timing_cache.serialize()))
    except (OSError, EvitError) as error:  # a lock that stays taken is a TimeoutError
        _LOG.warning("the timing cache %s cannot be written, so the next build times kernels again: %s", path, error)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""
    except OSError as error:
        _LOG.warning("the timing cache %s cannot be read: %s", path, error)
        return b""
