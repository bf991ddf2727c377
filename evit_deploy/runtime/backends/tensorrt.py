# SPDX-License-Identifier: Apache-2.0
"""TensorRT 10 and 11 on an NVIDIA GPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from evit_deploy.errors import UnavailableError
from evit_deploy.manifest import Manifest
from evit_deploy.runtime.backends import Place, other_device
from evit_deploy.runtime.compatibility import require_compatible
from evit_deploy.runtime.cuda.api import open_device
from evit_deploy.runtime.cuda.backend import CudaBackend
from evit_deploy.runtime.cuda.plan import Plan
from evit_deploy.targets.packages import tensorrt_command


def open_backend(folder: Path, manifest: Manifest, place: Place) -> CudaBackend:
    """Load an engine compiled by TensorRT on this device.

    A plan is executable content: its folder is compared with this machine first, and exactly the bytes whose hash is
    in the manifest are given to TensorRT.
    """
    trt = _tensorrt()
    version = str(trt.__version__).partition("-")[0]
    require_compatible(folder, manifest, version, other_device(place), place.device)
    device = open_device(place.device)
    return CudaBackend(Plan(trt, device, folder, manifest), device, version, place.in_flight)


def _tensorrt() -> Any:
    try:
        import tensorrt as trt
    except ImportError as error:
        if error.name == "tensorrt":
            what = "this engine needs the package 'tensorrt', which is not installed"
            raise UnavailableError(what, fix=tensorrt_command()) from None
        raise UnavailableError("TensorRT is installed but cannot be imported", found=str(error)) from error
    if not hasattr(trt.ICudaEngine, "num_io_tensors") or not hasattr(trt, "ExecutionContextAllocationStrategy"):
        raise UnavailableError(
            "this TensorRT is too old", found=f"TensorRT {trt.__version__}", expected="TensorRT 10.0 or newer",
            fix="on a Jetson, update to JetPack 6.2 (TensorRT 10.3) or newer",
        )  # fmt: skip
    return trt
