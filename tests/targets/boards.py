# SPDX-License-Identifier: Apache-2.0
"""Machines that this one is not: recorded boards as trees of files and tools, and a driver that answers as told."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

RECORDED = Path(__file__).parent / "recorded"
SOURCE = Path(__file__).with_name("libcuda.c")


def _gpu(
    name: str, cc: int, sms: int, memory: int, version: int, clock: int = 0, integrated: bool = False
) -> dict[str, str | int]:
    """Compute capability without its dot, memory in bytes, CUDA version as the driver counts it, clock in kHz."""
    return {
        "name": name, "cc": cc, "sms": sms, "memory": memory, "version": version, "clock": clock,
        "integrated": int(integrated),
    }  # fmt: skip


GPUS = {
    "agx_orin_64": _gpu("Orin", 87, 8, 65_829_400_576, 12060, 1_300_000, integrated=True),
    "agx_orin_32": _gpu("Orin", 87, 14, 32_020_660_224, 11040, 930_000, integrated=True),
    "orin_nx_16": _gpu("Orin", 87, 8, 16_416_505_856, 12060, 1_173_000, integrated=True),
    "orin_nano_8": _gpu("Orin", 87, 8, 7_989_559_296, 12060, 918_000, integrated=True),
    "orin_nano_4": _gpu("Orin", 87, 4, 3_700_000_000, 12060, 625_000, integrated=True),
    "thor": _gpu("NVIDIA Thor", 110, 20, 131_881_500_672, 13000, integrated=True),
    "a100": _gpu("NVIDIA A100-SXM4-80GB", 80, 108, 85_100_000_000, 12080, 1_410_000),
    "a100_pcie_80": _gpu("NVIDIA A100 80GB PCIe", 80, 108, 85_100_000_000, 12080, 1_410_000),
    "a100_40": _gpu("NVIDIA A100-PCIE-40GB", 80, 108, 42_400_000_000, 12080),
    "a100_mig": _gpu("NVIDIA A100-SXM4-40GB MIG 7g.40gb", 80, 98, 42_000_000_000, 12080),
    "a30": _gpu("NVIDIA A30", 80, 56, 25_200_000_000, 12080),
    "h100": _gpu("NVIDIA H100 80GB HBM3", 90, 132, 85_000_000_000, 13010),
    "h200": _gpu("NVIDIA H200", 90, 132, 150_000_000_000, 13010),
    "rtx_4090": _gpu("NVIDIA GeForce RTX 4090", 89, 128, 25_300_000_000, 13000),
    "xavier": _gpu("Xavier", 72, 8, 33_000_000_000, 11040, integrated=True),
}
"""GPUs as their drivers describe them."""


def build_driver(folder: Path) -> Path:
    """Compile the driver that answers from the environment; a machine without a compiler skips, except in CI."""
    if shutil.which("gcc") is None and not os.environ.get("CI"):
        pytest.skip("needs gcc to build a CUDA driver's double")
    library = folder / "libcuda.so.1"
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", library, SOURCE], check=True)
    return library


def driver_answers(gpu: str, free: int = 0) -> dict[str, str]:
    """The environment in which that driver describes a GPU of `GPUS`."""
    return {f"FAKE_CUDA_{key.upper()}": str(value) for key, value in {**GPUS[gpu], "free": free}.items()}


def install(record: str, folder: Path) -> tuple[Path, Path]:
    """Lay a recorded board out as files and tools.

    Returns:
        The root of its files, and the folder of its tools, to be put before everything else on PATH.
    """
    root, tools = folder / "root", folder / "tools"
    for path in (root, tools):
        path.mkdir(parents=True)
    text = (RECORDED / f"{record}.txt").read_text(encoding="utf-8")
    for part in text.split("== ")[1:]:
        name, _, content = part.partition("\n")
        if name.startswith("$ "):
            words = name.split()
            write_tool(tools / words[1], f'[ "$*" = "{" ".join(words[2:])}" ] || exit 1\ncat <<"END"\n{content}END\n')
        else:
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.rstrip("\n").encode() + b"\0" if name.endswith("model") else content.encode())
    return root, tools


def write_tool(path: Path, script: str) -> None:
    """Write an executable of the shell."""
    path.write_text(f"#!/bin/sh\n{script}", encoding="utf-8")
    path.chmod(0o755)
