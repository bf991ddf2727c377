# SPDX-License-Identifier: Apache-2.0
"""The GPU at hand and the board that it sits on. What cannot be read is None, never an error."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from evit_deploy.targets import jetson
from evit_deploy.targets.driver import free_device_memory, gpu_properties
from evit_deploy.targets.jetpack import jetpack_of


@dataclass(frozen=True)
class Device:
    """A GPU and its surroundings, read from the machine itself.

    Attributes:
        gpu: Name that the driver gives it.
        compute_capability: Such as "8.7".
        multiprocessors: Streaming multiprocessors switched on; on a Jetson the power mode decides.
        memory_gb: Device memory in GB (10⁹ bytes); on a Jetson all memory.
        integrated: Whether it shares the CPU's memory.
        driver: Largest CUDA version that the driver serves, such as "12.6".
        board: Name of the board in the device tree.
        l4t: Version of Jetson Linux, such as "36.4.3".
        jetpack: JetPack that this L4T belongs to, such as "6.2".
        power_mode: Name of the power mode, such as "MAXN" or "30W".
        clocks_pinned: Whether the GPU's clock is held at the maximum of the power mode; None until `with_clocks` asks.
        clock_mhz: Highest clock that the driver names, in MHz.
        power_modes: Number and name of every power mode of this board.
    """

    gpu: str
    compute_capability: str
    multiprocessors: int
    memory_gb: float
    integrated: bool
    driver: str
    board: str | None = None
    l4t: str | None = None
    jetpack: str | None = None
    power_mode: str | None = None
    clocks_pinned: bool | None = None
    clock_mhz: int | None = None
    power_modes: tuple[tuple[int, str], ...] = ()


def read_device(root: Path = Path("/"), index: int = 0) -> Device | None:
    """Read a GPU and its board.

    Args:
        root: Where the system's files are.
        index: Number of the GPU, as CUDA counts them.

    Returns:
        The device; None without an NVIDIA GPU or its driver.
    """
    gpu = gpu_properties(index)
    if gpu is None:
        return None
    release = jetson.l4t(root)
    on_board = gpu.integrated or release is not None
    return Device(
        gpu=gpu.name,
        compute_capability=gpu.compute_capability,
        multiprocessors=gpu.multiprocessors,
        memory_gb=gpu.memory / 1e9,
        integrated=gpu.integrated,
        driver=gpu.driver,
        board=jetson.board(root) if on_board else None,
        l4t=release,
        jetpack=jetpack_of(release),
        power_mode=jetson.power_mode(root) if on_board else None,
        clock_mhz=gpu.clock_mhz,
        power_modes=tuple(jetson.power_modes(root).items()) if on_board else (),
    )


@lru_cache(maxsize=1)
def this_device() -> Device | None:
    """This machine's first GPU, read once."""
    return read_device()


def with_clocks(device: Device, root: Path = Path("/")) -> Device:
    """The device with `clocks_pinned`. A robot has no use for it, and a board's tool may take seconds to say."""
    on_board = device.integrated or device.l4t is not None
    if device.clocks_pinned is not None or not on_board:
        return device
    return replace(device, clocks_pinned=jetson.clocks_pinned(root))


def machine_record(device: Device) -> dict[str, str]:
    """What an engine's manifest keeps about the device that it was compiled on; what is unknown is left out."""
    known = {
        "gpu": device.gpu,
        "compute capability": device.compute_capability,
        "multiprocessors": str(device.multiprocessors),
        "power mode": device.power_mode,
        "jetpack": device.jetpack,
        "l4t": device.l4t,
        "driver": device.driver,
        "board": device.board,
    }
    return {name: value for name, value in known.items() if value is not None}


def free_memory(device: Device | None, root: Path = Path("/"), index: int = 0) -> int | None:
    """How much an allocation may take now.

    Args:
        device: The GPU that allocates; None for the CPU.
        root: Where the system's files are.
        index: Number of the GPU, as CUDA counts them.

    Returns:
        Bytes: what Linux can free for a CPU or a Jetson, whose memory is shared; free device memory for other GPUs.
        None where nobody says.
    """
    if device is not None and not device.integrated:
        return free_device_memory(index)
    try:
        text = (root / "proc/meminfo").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    match = re.search(r"^MemAvailable:\s*(\d+) kB", text, flags=re.MULTILINE)
    return int(match[1]) * 1024 if match else None
