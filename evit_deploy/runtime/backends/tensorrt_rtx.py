# SPDX-License-Identifier: Apache-2.0
"""TensorRT-RTX on an RTX GPU.

It finishes compiling when an engine is loaded, for the very GPU. What came out is kept in the user's cache folder, so
that the next load is quicker; TensorRT-RTX itself refuses a cache of another GPU, version or driver.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from evit_deploy.errors import MissingExtraError, UnavailableError, UsageError
from evit_deploy.manifest import Manifest
from evit_deploy.manifest.store import replace_file
from evit_deploy.runtime.backends import Place, other_device
from evit_deploy.runtime.compatibility import require_compatible
from evit_deploy.runtime.cuda.api import Cuda, open_device
from evit_deploy.runtime.cuda.backend import CudaBackend
from evit_deploy.runtime.cuda.plan import Plan
from evit_deploy.targets import machine


def open_backend(folder: Path, manifest: Manifest, place: Place) -> CudaBackend:
    """Load an engine compiled by TensorRT-RTX.

    A plan is executable content: its folder is compared with this machine first, and exactly the bytes whose hash is
    in the manifest are given to TensorRT-RTX.
    """
    trt = _tensorrt_rtx()
    version = str(trt.__version__).partition("-")[0]
    require_compatible(folder, manifest, version, other_device(place), place.device)
    device = open_device(place.device)
    plan = Plan(trt, device, folder, manifest)
    assert manifest.engine is not None
    cached = cache_folder() / f"{manifest.files[manifest.engine.entry].sha256[:32]}.{place.device}.{version}"
    before = _restore(device, plan, cached)
    backend = CudaBackend(plan, device, version, place.in_flight)
    _keep(device, plan, cached, before)
    return backend


def cache_folder() -> Path:
    """Where compiled kernels are kept: a folder of the user's own, like any program that the user runs."""
    return machine.cache_folder() / "tensorrt-rtx"


def _restore(device: Cuda, plan: Plan, path: Path) -> bytes:
    """Give TensorRT-RTX the kernels of an earlier load; it checks them, and starts anew if they do not fit."""
    runtime_cache = plan.runtime_cache()
    try:
        data = path.read_bytes()
    except OSError:
        return b""
    with device.current():
        return data if runtime_cache is not None and runtime_cache.deserialize(data) else b""


def _keep(device: Cuda, plan: Plan, path: Path, before: bytes) -> None:
    """Store the kernels, if there are new ones and a place for them; nothing depends on it."""
    runtime_cache = plan.runtime_cache()
    if runtime_cache is None:
        return
    with device.current():
        serialized = runtime_cache.serialize()
    data = b"" if serialized is None else bytes(serialized)
    if not data or data == before:
        return
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        replace_file(path, data)
    except (OSError, UsageError):
        pass


def _tensorrt_rtx() -> Any:
    try:
        import tensorrt_rtx as trt
    except ImportError as error:
        if error.name == "tensorrt_rtx":
            raise MissingExtraError("tensorrt_rtx", "rtx", "This engine") from None
        raise UnavailableError("TensorRT-RTX is installed but cannot be imported", found=str(error)) from error
    return trt
