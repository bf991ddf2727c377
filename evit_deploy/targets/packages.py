# SPDX-License-Identifier: Apache-2.0
"""How optional packages come to a machine, as commands for the person at the terminal."""

from __future__ import annotations

from evit_deploy.targets.device import this_device


def pip_command(extra: str) -> str:
    """What installs an extra of this package."""
    return f"pip install 'evit-deploy[{extra}]'"


def tensorrt_command() -> str:
    """What installs TensorRT here: on a Jetson it comes with JetPack, and no wheel fits."""
    device = this_device()
    if device is not None and (device.l4t is not None or device.integrated):
        return "sudo apt install python3-libnvinfer, and make virtual environments with --system-site-packages"
    return pip_command("tensorrt")
