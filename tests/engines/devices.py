# SPDX-License-Identifier: Apache-2.0
"""Machines that are not here."""

from __future__ import annotations

from evit_deploy.targets.device import Device

ORIN = Device(
    gpu="Orin", compute_capability="8.7", multiprocessors=16, memory_gb=64.3, integrated=True, driver="12.6",
    board="NVIDIA Jetson AGX Orin Developer Kit", l4t="36.4.3", jetpack="6.2", power_mode="MAXN", clocks_pinned=True,
)  # fmt: skip
A100 = Device(
    gpu="NVIDIA A100-SXM4-80GB", compute_capability="8.0", multiprocessors=108, memory_gb=85.1, integrated=False,
    driver="13.0",
)  # fmt: skip
