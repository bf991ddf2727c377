# SPDX-License-Identifier: Apache-2.0
"""How much memory a build may take, so that a robot keeps what it needs.

TensorRT's workspace limit binds what kernels take beside their tensors. Weights, tensors and the library's own code
come on top (NVIDIA/TensorRT#2679, #4211). So the workspace is half of what is free after a reserve, and a build does
not begin where that is little. The reserve is larger where CPU and GPU share one memory: there the reserve is the
robot's too, and a build that takes too much has the kernel kill a process, perhaps another one. There a second limit,
on all that TensorRT takes to try kernels, is everything after the reserve.

Memory is measured twice: before anything is loaded, and with the builder loaded, which takes more than 1 GB itself.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from evit_deploy.errors import UnavailableError
from evit_deploy.targets.device import Device, free_memory

MIB = 1 << 20
SHARED_RESERVE, OWN_RESERVE = 1536 * MIB, 512 * MIB
SMALLEST = 256 * MIB

_SCORE = Path("/proc/self/oom_score_adj")
_FIRST_TO_GO = 1000


def spare_memory(device: Device, *, loaded: bool = False) -> int:
    """Bytes that are free after the reserve.

    Args:
        device: The GPU that builds.
        loaded: Whether TensorRT's builder is in memory already, so that less is still to come.

    Raises:
        UnavailableError: Too little is free to build here, or nobody knows how much.
    """
    free = free_memory(device)
    reserve = SHARED_RESERVE if device.integrated else OWN_RESERVE
    needed = reserve + (SMALLEST if loaded else 2 * SMALLEST)
    if free is not None and free >= needed:
        return free - reserve
    where = "memory, which CPU and GPU share" if device.integrated else "GPU memory"
    others = ", or the desktop (sudo systemctl isolate multi-user.target)" if device.integrated else " that use the GPU"
    raise UnavailableError(
        "too little memory is free to build an engine" if free is not None else "how much memory is free is unknown",
        found=(f"{free // MIB} MiB of {where}" if free is not None else f"no answer about {where}")
        + (", with TensorRT's builder loaded" if loaded else ""),
        expected=f"at least {needed // MIB} MiB, of which {reserve // MIB} MiB are left to others",
        fix=f"stop other programs{others}" if free is not None else "see what nvidia-smi says about the GPU",
    )


def workspace_pool(spare: int) -> int:
    """Bytes of the workspace: half of what is free after the reserve."""
    return max(SMALLEST, spare // 2)


def tactic_pool(spare: int) -> int:
    """Bytes that TensorRT may take in all to try kernels where memory is shared.

    TensorRT takes a power of two only, and stays at its default, 75 % of all memory, where it is told anything else.
    """
    return 1 << (spare.bit_length() - 1)


@contextlib.contextmanager
def first_to_go(device: Device) -> Iterator[None]:
    """Where CPU and GPU share one memory, have the kernel end this process before the robot's if it runs out.

    Linux lets every process raise its own score, and lower it to where it was.
    """
    try:
        before = _SCORE.read_text(encoding="ascii") if device.integrated else None
        if before is not None:
            _SCORE.write_text(str(_FIRST_TO_GO), encoding="ascii")
    except OSError:
        before = None
    try:
        yield
    finally:
        if before is not None:
            with contextlib.suppress(OSError):
                _SCORE.write_text(before, encoding="ascii")
