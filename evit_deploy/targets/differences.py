# SPDX-License-Identifier: Apache-2.0
"""Which target a device is, and how it differs from the target asked for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from evit_deploy.targets.jetpack import JetPack, find_jetpack, jetpacks_of
from evit_deploy.targets.rows import TARGETS
from evit_deploy.targets.spec import TargetSpec, Variant

if TYPE_CHECKING:
    from evit_deploy.targets.device import Device

_TOLERANCE = 0.2  # drivers and carve-outs keep part of the memory that a module is sold with


@dataclass(frozen=True)
class Difference:
    """One way in which a device is not the target asked for.

    Attributes:
        what: What differs.
        found: What the device has.
        expected: What the target has.
        fix: What to do about it; empty where nothing can be done.
        blocks: Whether engines of the target do not run on the device.
    """

    what: str
    found: str
    expected: str
    fix: str = ""
    blocks: bool = False


def find_target_of(device: Device | None) -> TargetSpec | None:
    """The target that a device is.

    Args:
        device: The device; None for a machine without a GPU.

    Returns:
        The target; None where no target has such a GPU, or where the board does not say which of two it is.
    """
    if device is None:
        return TARGETS["cpu"]
    able = [spec for spec in TARGETS.values() if device.compute_capability in spec.capabilities]
    exact = [spec for spec in able if spec.compute_capability] or able
    if len(exact) <= 1:
        return exact[0] if exact else None
    return _by_name(device, exact) or _by_memory(device, exact)


def find_variant(device: Device, spec: TargetSpec) -> Variant | None:
    """The size of a target that a device is, by its memory and its name; None if it is another one."""
    near = [size for size in spec.variants if _apart(device, size) <= _TOLERANCE * size.memory_gb.value]
    named = [size for size in near if size.name.rpartition(" ")[2] in device.gpu]  # "SXM" and "PCIe" are in GPU names
    closest = sorted(near, key=lambda size: _apart(device, size))
    return next(iter(named or closest), None)


def differences(device: Device | None, spec: TargetSpec) -> tuple[Difference, ...]:
    """How a device differs from a target.

    Args:
        device: The device; None for a machine without a GPU.
        spec: The target asked for.

    Returns:
        The differences, those that block first; none for the CPU.
    """
    if not spec.capabilities:
        return ()
    if device is None:
        expected = f"a GPU of compute capability {_either(spec.capabilities)}"
        return (Difference("GPU", "no NVIDIA GPU, or no driver for it", expected, blocks=True),)
    if device.compute_capability not in spec.capabilities:
        found = f"{device.compute_capability} ({device.gpu})"
        other = find_target_of(device)
        fix = f"--target {other.name}" if other else ""
        return (Difference("compute capability", found, _either(spec.capabilities), fix, blocks=True),)
    found_all = [*_release(device, spec), *_size(device, spec), *_power(device, spec)]
    return tuple(sorted(found_all, key=lambda row: not row.blocks))


def _apart(device: Device, size: Variant) -> float:
    return abs(device.memory_gb - size.memory_gb.value)


def _by_name(device: Device, specs: list[TargetSpec]) -> TargetSpec | None:
    """The target whose title is in the board's name."""
    return next((spec for spec in specs if device.board and spec.title in device.board), None)


def _by_memory(device: Device, specs: list[TargetSpec]) -> TargetSpec | None:
    """The only target with as much memory; boards with 8 GB can be two."""
    able = [spec for spec in specs if find_variant(device, spec)]
    return able[0] if len(able) == 1 else None


def _release(device: Device, spec: TargetSpec) -> Iterator[Difference]:
    """A JetPack whose TensorRT is too old."""
    if not spec.jetson or device.l4t is None:
        return
    line, major = find_jetpack(device.jetpack or ""), int(device.l4t.partition(".")[0])
    if line.supported if line else major >= 36:
        return
    found = f"{device.jetpack} (TensorRT {line.tensorrt})" if line else f"L4T {device.l4t} (TensorRT 8)"
    newest = [row for row in jetpacks_of(spec.name) if row.supported][-2:]
    words = " or ".join(_release_words(row) for row in newest)
    yield Difference("JetPack", found, words, _other_release(newest, upgradable=major == 36), blocks=True)


def _other_release(newest: list[JetPack], *, upgradable: bool) -> str:
    """How to come to a newer release; apt goes from JetPack 6.0 to 6.2, everything else is flashed."""
    names = [row.releases[-1] for row in newest]
    if not names:
        return ""
    return (
        f"flash JetPack {names[-1]}, or upgrade to {names[0]}"
        if upgradable
        else f"flash JetPack {_either(tuple(names))}"
    )


def _release_words(row: JetPack) -> str:
    return f"{row.releases[-1]} (TensorRT {row.tensorrt})"


def _size(device: Device, spec: TargetSpec) -> Iterator[Difference]:
    """Another size, or one that is not switched on as a whole."""
    size = find_variant(device, spec)
    if spec.variants and size is None:
        other = find_target_of(device)
        fix = f"--target {other.name}" if other and other is not spec else ""
        names = _either(tuple(dict.fromkeys(f"{row.memory_gb.value:g} GB" for row in spec.variants)))
        yield Difference("memory", f"{device.memory_gb:.0f} GB ({device.board or device.gpu})", names, fix)
    if size and device.multiprocessors < size.multiprocessors.value:
        fix = _fastest(device) if spec.jetson else "a MIG instance has a part of the GPU: nvidia-smi -L"
        yield Difference("multiprocessors", str(device.multiprocessors), f"{size.multiprocessors}", fix)


def _power(device: Device, spec: TargetSpec) -> Iterator[Difference]:
    """A power mode with limits, or clocks that move."""
    if not spec.jetson:
        return
    modes = [name for _, name in device.power_modes]
    unlimited = not modes or any(name.startswith("MAXN") for name in modes)
    if device.power_mode and unlimited and not device.power_mode.startswith("MAXN"):
        yield Difference("power mode", device.power_mode, _maxn(device)[1], _fastest(device))
    if device.clocks_pinned is False:
        yield Difference("clocks", "they follow the load", "held at their maximum for measuring", "sudo jetson_clocks")


def _maxn(device: Device) -> tuple[int | None, str]:
    """Number and name of the mode without limits; MAXN_SUPER before MAXN."""
    rows = [(number, name) for number, name in device.power_modes if name.startswith("MAXN")]
    return max(rows, key=lambda row: len(row[1])) if rows else (None, "MAXN")


def _fastest(device: Device) -> str:
    """The command that switches to the mode without limits, whose number differs from board to board."""
    number, name = _maxn(device)
    if number is None:
        return "sudo nvpmodel -m NUMBER, with the number of MAXN: grep POWER_MODEL /etc/nvpmodel.conf"
    return f"sudo nvpmodel -m {number}  # {name}"


def _either(names: tuple[str, ...]) -> str:
    return " or ".join(names) if len(names) < 3 else f"{', '.join(names[:-1])} or {names[-1]}"
