# SPDX-License-Identifier: Apache-2.0
"""Can a GPU's engine run on this device? Answered in words before any library sees it.

An engine holds kernels that were chosen on one machine. What its manifest says about that machine is compared with the
one at hand. What blocks, and what only costs speed, is documented by NVIDIA:

* TensorRT plans need the very release that made them, "major, minor, patch, and build" (DRIVE OS 7.0.3, TensorRT
  release properties; NVIDIA/TensorRT#3793: 9.2.0.4 refuses a plan of 9.2.0.5). Version-compatible plans, which are
  slower, are not built here. TensorRT-RTX engines "are not compatible between different releases" (its page on engine
  compatibility).
* They need the compute capability that they were compiled for (TensorRT 11.4.1 support matrix, "Hardware
  Compatibility"; NVIDIA/TensorRT#2176). Compatibility modes are not supported on JetPack, cost speed, and are not used.
* TensorRT plans are "not portable across platforms" (same page, "Platform"): operating system and processor.
  TensorRT-RTX's are portable across operating systems (its product page); across processors nothing is documented.
* Another GPU model of the same compute capability is "not recommended and is likely to affect performance or even cause
  errors" (TensorRT's own warning, NVIDIA/TensorRT#2900): it runs, and a warning says so. The power mode of a Jetson
  changes the number of multiprocessors (nvpmodel_p3701_0000.conf: 16 in MAXN, 8 in 30W, the default of AGX Orin).
* An older driver than the one at compile time may be too old. This is an inference: TensorRT-RTX refuses such an engine
  by itself (its page on engine compatibility, OLD_CUDA_DRIVER), and for TensorRT, whose engines alone record a driver
  here, nothing is documented. Which driver an engine really needs is not recorded in it, so this is a warning.
"""

from __future__ import annotations

import os
import platform
import re
import shlex
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from evit_deploy.errors import UnavailableError
from evit_deploy.manifest import EngineInfo, Manifest
from evit_deploy.targets import find_target, find_target_of
from evit_deploy.targets.device import Device, this_device

TITLES = {"tensorrt": "TensorRT", "tensorrt_rtx": "TensorRT-RTX"}
"""Backends whose engines belong to one kind of device, and what their library is called."""

_PROCESSORS = {"amd64": "x86_64", "arm64": "aarch64"}


@dataclass(frozen=True)
class Mismatch:
    """One thing that is not as it was when an engine was compiled.

    Attributes:
        what: What differs.
        engine: How it was then.
        device: How it is here.
        blocks: Whether the engine cannot run because of it; otherwise it runs, and the rest is a warning.
        why: What follows from it.
        fix: What to do about it; a command where one exists.
        curable: Whether the graph in the engine's folder, compiled again for this device, would be without it.
    """

    what: str
    engine: str
    device: str
    blocks: bool
    why: str
    fix: str
    curable: bool = True


class EngineMismatchError(UnavailableError):
    """An engine that was compiled for another device, or by another library, than is here.

    Attributes:
        mismatches: Everything that differs, what blocks as well as what does not.
        engine: What it was compiled for and by, as far as that differs.
        device: The same of this device.
        curable: Whether its lowered graph, compiled again here, would run.
    """

    def __init__(self, folder: Path, mismatches: tuple[Mismatch, ...]) -> None:
        self.mismatches = mismatches
        self.engine, self.device = _sides(mismatches)
        self.curable = all(row.curable for row in mismatches if row.blocks)
        super().__init__(f"the engine {folder} cannot run on this device", fix=_fixes(mismatches, blocks=True)[0])

    def _parts(self) -> list[tuple[str, str | None]]:
        why = "; ".join(row.why for row in self.mismatches if row.blocks)
        return [("engine", self.engine), ("device", self.device), ("why", why), ("fix", self.fix)]


def require_compatible(
    folder: Path, manifest: Manifest, version: str, device: Device | None = None, number: int = 0
) -> None:
    """Refuse an engine that cannot run here, before it is deserialised; warn where it is merely not at its best.

    Args:
        folder: Folder of the engine.
        manifest: What it says about itself.
        version: Version of the library that would deserialise it.
        device: The GPU that would run it; None takes the first one of this machine.
        number: Number of that GPU, as CUDA counts them, for the commands.

    Raises:
        EngineMismatchError: It cannot run here; the message sets the two machines side by side and names the command.
        UnavailableError: There is no GPU.
    """
    device = device or this_device()
    if device is None:
        raise UnavailableError(
            f"the engine {folder} needs an NVIDIA GPU",
            found="no GPU here, or no driver for it",
            fix="evit-deploy doctor says what this machine has",
        )
    found = explain(folder, manifest, device, version, this_system(), number)
    if any(row.blocks for row in found):
        raise EngineMismatchError(folder, found)
    if found:
        engine, here = _sides(found)
        reasons, fixes = "; ".join(row.why for row in found), " or ".join(_fixes(found, blocks=False))
        warnings.warn(
            f"the engine {folder} was compiled elsewhere (engine: {engine}; device: {here}): {reasons}. {fixes}",
            stacklevel=2,
        )


def explain(
    folder: Path, manifest: Manifest, device: Device, version: str, system: str, number: int = 0
) -> tuple[Mismatch, ...]:
    """Everything that differs between where an engine was compiled and where it is to run; what blocks comes first.

    What the manifest does not record, or the device does not say, is not compared.

    Args:
        folder: Folder of the engine, for the commands.
        manifest: What it says about itself.
        device: The GPU that would run it.
        version: Version of the library that would deserialise it.
        system: Operating system and processor, such as "Linux aarch64".
        number: Number of the GPU, as CUDA counts them, for the commands.
    """
    engine = manifest.engine
    assert engine is not None
    again = build_command(folder, number=number)
    found = [
        *_capability(manifest, engine, device, number, again),
        *_library(engine, version, again),
        *_system(engine, system, again),
        *_board(engine, device, again),
        *_gpu(engine, device, again),
        *_power_mode(engine, device, again),
        *_release(engine, device, again),
        *_driver(engine, device),
    ]
    return tuple(sorted(found, key=lambda row: not row.blocks))


def this_system() -> str:
    """Operating system and processor of this machine, such as "Linux aarch64"."""
    return f"{platform.system()} {_processor(platform.machine())}"


def build_command(source: str | Path, *options: str, number: int = 0) -> str:
    """The command that builds for a GPU of this machine. It knows only the first one, so others have to become that.

    Args:
        source: Name of a model, or folder of an engine, whose graph is compiled again.
        options: Further words of the command.
        number: Number of the GPU, as CUDA counts them in this process.
    """
    command = shlex.join(["evit-deploy", "build", str(source), *options])
    if number == 0:
        return command
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")  # this process may count a part of them
    name = visible[number].strip() if number < len(visible) else str(number)
    return f"CUDA_VISIBLE_DEVICES={shlex.quote(name)} {command}"


def _capability(manifest: Manifest, engine: EngineInfo, device: Device, number: int, again: str) -> Iterator[Mismatch]:
    """The compute capability that it was compiled for: chosen by name, or that of the GPU at hand."""
    arch = re.fullmatch(r"sm([0-9]+)([0-9])", engine.machine.get("arch", ""))
    made_for = f"{arch[1]}.{arch[2]}" if arch else engine.machine.get("compute capability")
    if made_for in (None, device.compute_capability):
        return
    fix, other = again, find_target_of(device)
    curable = device.compute_capability in find_target(engine.target).capabilities
    if not curable and other is not None:
        options = ("--target", other.name, f"--{engine.precision}")
        fix = build_command(manifest.model.name, *options, number=number)
    elif not curable:
        fix = "evit-deploy targets lists the machines that engines can be built for; none has such a GPU"
    why = "an engine runs only on GPUs of the compute capability that it was compiled for"
    yield Mismatch("compute capability", f"SM {made_for}", f"SM {device.compute_capability}", True, why, fix, curable)


def _library(engine: EngineInfo, version: str, again: str) -> Iterator[Mismatch]:
    title = TITLES.get(engine.backend, engine.backend)
    if not _same_version(engine.compiler_version, version):
        why = f"an engine runs only with the release of {title} that made it"
        yield Mismatch(title, f"{title} {engine.compiler_version}", f"{title} {version}", True, why, again)


def _same_version(first: str, second: str) -> bool:
    """Whether two names of a version mean the same: Python's module leaves out the build number where it can."""
    a, b = ([int(part) for part in re.findall(r"[0-9]+", re.split(r"[-+]", text)[0])] for text in (first, second))
    return a[:3] == b[:3] and all(x == y for x, y in zip(a[3:], b[3:], strict=False))


def _system(engine: EngineInfo, system: str, again: str) -> Iterator[Mismatch]:
    if not {"system", "architecture"} <= set(engine.machine):
        return
    made_on = f"{engine.machine['system'].partition(' ')[0]} {_processor(engine.machine['architecture'])}"
    same = made_on == system
    if engine.backend == "tensorrt_rtx":  # portable across operating systems
        same = made_on.partition(" ")[2] == system.partition(" ")[2]
    if not same:
        why = "engines are not portable across operating systems and processors"
        yield Mismatch("system", made_on, system, True, why, again)


def _processor(name: str) -> str:
    return _PROCESSORS.get(name.lower(), name)


def _board(engine: EngineInfo, device: Device, again: str) -> Iterator[Mismatch]:
    """The kind of Jetson. Every Orin's GPU has the same name, and one kind of module sits on boards of many names."""
    board = engine.machine.get("board")
    if board is None:
        return
    made_on, here = find_target_of(replace(device, board=board)), find_target_of(device)
    if made_on is not None and here is not None and made_on is not here:
        yield Mismatch("board", made_on.title, here.title, False, "its kernels were chosen for another board", again)


def _gpu(engine: EngineInfo, device: Device, again: str) -> Iterator[Mismatch]:
    """GPU model and number of multiprocessors."""
    name = engine.machine.get("gpu", device.gpu)
    if name != device.gpu:
        yield Mismatch("GPU", name, device.gpu, False, "its kernels were chosen for another GPU", again)
    count = engine.machine.get("multiprocessors", str(device.multiprocessors))
    if count != str(device.multiprocessors):
        why = "its kernels were chosen for another number of multiprocessors"
        yield Mismatch("multiprocessors", f"{count} SMs", f"{device.multiprocessors} SMs", False, why, again)


def _power_mode(engine: EngineInfo, device: Device, again: str) -> Iterator[Mismatch]:
    mode = engine.machine.get("power mode")
    if None in (mode, device.power_mode) or mode == device.power_mode:
        return
    number = next((number for number, name in device.power_modes if name == mode), None)
    fix = again if number is None else f"sudo nvpmodel -m {number}"
    why = "the power mode decides on clocks and multiprocessors"
    yield Mismatch("power mode", f"mode {mode}", f"mode {device.power_mode}", False, why, fix)


def _release(engine: EngineInfo, device: Device, again: str) -> Iterator[Mismatch]:
    """Release of Jetson Linux; JetPack is its name in public, and comes with libraries that an update can change."""
    l4t = engine.machine.get("l4t")
    if None in (l4t, device.l4t) or l4t == device.l4t:
        return
    made_on, here = _release_words(engine.machine.get("jetpack"), l4t), _release_words(device.jetpack, device.l4t)
    yield Mismatch("JetPack", made_on, here, False, "it was verified under another JetPack", again)


def _release_words(jetpack: str | None, l4t: str | None) -> str:
    return f"JetPack {jetpack} (L4T {l4t})" if jetpack else f"L4T {l4t}"


def _driver(engine: EngineInfo, device: Device) -> Iterator[Mismatch]:
    compiled = engine.machine.get("driver", "")
    then, now = ([int(part) for part in re.findall(r"[0-9]+", text)] for text in (compiled, device.driver))
    if then and now and now < then:
        why, fix = "the driver is older than where it was compiled, and may be too old", "update the NVIDIA driver"
        yield Mismatch("driver", f"driver for CUDA {compiled}", f"driver for CUDA {device.driver}", False, why, fix)


def _sides(mismatches: tuple[Mismatch, ...]) -> tuple[str, str]:
    """The engine's and the device's values, in the same order."""
    return ", ".join(row.engine for row in mismatches), ", ".join(row.device for row in mismatches)


def _fixes(mismatches: tuple[Mismatch, ...], *, blocks: bool) -> list[str]:
    return list(dict.fromkeys(row.fix for row in mismatches if row.blocks is blocks))
