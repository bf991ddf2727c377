# SPDX-License-Identifier: Apache-2.0
"""One small file per backend. To add one, write a module of its name here, with `open_backend`."""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from evit_deploy.errors import ArtifactError, UsageError
from evit_deploy.manifest import Manifest
from evit_deploy.runtime.cuda.memory import MemoryReport
from evit_deploy.runtime.shapes import batch_of

if TYPE_CHECKING:
    from evit_deploy.targets.device import Device

T = TypeVar("T")

BACKENDS = tuple(module.name for module in pkgutil.iter_modules(__path__))
"""Names of all backends. The module of each has its name."""

GPU_BACKENDS = {"tensorrt": "tensorrt", "tensorrt_rtx": "rtx"}
"""Backends that need an NVIDIA GPU: the name is that of the Python module too, the value that of the extra."""

BUFFER_SETS = 4
"""Sets of buffers kept: an image has one shape, prompts come in few."""


@dataclass(frozen=True)
class Place:
    """Where and how an engine runs.

    Attributes:
        threads: CPU threads, of engines that run on the CPU.
        device: Number of the GPU.
        in_flight: How many submitted runs a GPU may have at once; each has buffers of its own.
    """

    threads: int
    device: int = 0
    in_flight: int = 2


class Backend(Protocol):
    """A loaded graph with buffers of its own.

    Attributes:
        version: Version of the library that runs it, as the compiler of the same library would name it.
    """

    version: str

    def run(self, inputs: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
        """Run checked inputs; the outputs are the backend's buffers, overwritten by the next call."""

    def close(self) -> None:
        """Free the graph and its buffers."""


class Work(Protocol):
    """A run that was put under way."""

    def result(self, stream: int | None) -> dict[str, Any]:
        """Wait for it, or let a stream wait, and return its outputs."""

    def done(self) -> bool:
        """Whether `result` would return at once."""


class DeviceBackend(Backend, Protocol):
    """A backend on a GPU, which can do more."""

    takes_device_arrays: bool

    def submit(self, inputs: Mapping[str, Any]) -> Work:
        """Put a run under way."""

    def input_buffer(self, name: str, batch: int) -> npt.NDArray[Any]:
        """The array that the GPU reads an input from."""

    def memory(self) -> MemoryReport:
        """What the engine takes."""

    def notes(self) -> tuple[str, ...]:
        """What is worth knowing about how it runs."""


def open_backend(folder: Path, manifest: Manifest, place: Place) -> Backend:
    """Load an engine's file with the backend its manifest names."""
    assert manifest.engine is not None
    name = manifest.engine.backend
    if name not in BACKENDS:
        raise ArtifactError(
            f"the engine needs the backend '{name}', which this version does not have",
            expected=f"one of {', '.join(BACKENDS)}",
            fix="pip install --upgrade evit-deploy",
        )
    module = importlib.import_module(f"{__name__}.{name}")
    return module.open_backend(folder, manifest, place)  # type: ignore[no-any-return]


def obstacle(manifest: Manifest) -> str | None:
    """Why this machine cannot run a compiled engine, in words; None if it can.

    Nothing is imported or loaded for the answer, so an engine may still fail to load.
    """
    info = manifest.engine
    if info is None or info.backend not in GPU_BACKENDS:
        return None
    from evit_deploy.runtime.compatibility import explain, this_system
    from evit_deploy.targets.device import this_device
    from evit_deploy.targets.packages import pip_command, tensorrt_command

    library = tensorrt_command() if info.backend == "tensorrt" else pip_command(GPU_BACKENDS[info.backend])
    for module, command in ((info.backend, library), ("cuda.bindings", pip_command("cuda"))):
        if not _is_installed(module):
            return f"the Python module {module} is not installed ({command})"
    device = this_device()
    if device is None:
        return "this machine has no NVIDIA GPU, or no driver for it"
    differs = explain(Path(), manifest, device, info.compiler_version, this_system())
    blocking = next((row for row in differs if row.blocks), None)
    if blocking is None:
        return None
    return f"it was compiled for {blocking.engine}, and here is {blocking.device}: {blocking.why}"


def other_device(place: Place) -> Device | None:
    """The GPU of a place, if it is not the first one, which everybody means who names none.

    Raises:
        UsageError: There is no such GPU.
    """
    if place.device == 0:
        return None
    from evit_deploy.targets.device import read_device

    device = read_device(index=place.device)
    if device is None:
        raise UsageError(f"there is no GPU {place.device}", fix="evit-deploy doctor lists what this machine has")
    return device


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):  # its parent is missing, or it was taken out of reach
        return False


def output_buffers(manifest: Manifest, inputs: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
    """Uninitialised arrays for all outputs of a run on given inputs: what an output has open is the batch."""
    batch = batch_of(manifest.graph, inputs)
    return {
        tensor.name: np.empty([batch if size == -1 else size for size in tensor.shape], tensor.dtype)
        for tensor in manifest.graph.outputs
    }


class BufferSets(Generic[T]):
    """What belongs to the shapes of inputs: made when they first come, kept for the few that came last."""

    def __init__(self, make: Callable[[Mapping[str, npt.NDArray[Any]]], T]) -> None:
        self._make = make
        self._sets: OrderedDict[tuple[tuple[int, ...], ...], T] = OrderedDict()

    def of(self, inputs: Mapping[str, npt.NDArray[Any]]) -> T:
        """The set for inputs of these shapes."""
        key = tuple(array.shape for _, array in sorted(inputs.items()))
        found = self._sets.get(key)
        if found is None:
            while len(self._sets) >= BUFFER_SETS:
                self._sets.popitem(last=False)
            found = self._sets[key] = self._make(inputs)
        self._sets.move_to_end(key)
        return found

    def clear(self) -> None:
        """Forget all."""
        self._sets.clear()
