# SPDX-License-Identifier: Apache-2.0
"""The GPU tests' machine: the double in its forms, or with ``-m gpu`` a real GPU with a real TensorRT."""

from __future__ import annotations

import gc
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cuda.bindings
import numpy as np
import pytest

from evit_deploy.manifest import read_artifact
from evit_deploy.runtime import Engine, compatibility, open_engine
from evit_deploy.runtime.cuda import api
from evit_deploy.targets.device import Device, this_device
from tests.runtime.doubles import bench
from tests.runtime.doubles.cudart import Cudart, Driver
from tests.runtime.doubles.trt import make_trt, plan_of
from tests.runtime.doubles.world import World

ORIN = Device("Orin", "8.7", 16, 64.0, True, "12.6")


@dataclass
class Machine:
    """A GPU to test on.

    Attributes:
        world: The double's inside; None on a real GPU.
        tmp: Where engines are written.
    """

    world: World | None
    tmp: Path
    version: str = "10.3.0"
    backend: str = "tensorrt"

    @property
    def cudart(self) -> Any:
        """The bindings in force."""
        return bench.modules()[0]

    def folder(self, batch: tuple[int, int] = (1, 1), name: str = "engine") -> Path:
        """An engine that this machine can run."""
        folder = self.tmp / f"{name}-{batch[0]}-{batch[1]}"
        if not folder.exists():
            graph = bench.small_graph(batch[0] if batch[0] == batch[1] else "n")
            plan = plan_of(graph) if self.world else compile_here(graph, batch)
            device = this_device()
            machine = None if self.world or device is None else {"compute capability": device.compute_capability}
            bench.write_engine(folder, plan, batch=batch, version=self.version, backend=self.backend, machine=machine)
        return folder

    def load(self, batch: tuple[int, int] = (1, 1), **options: Any) -> Engine:
        """That engine, loaded."""
        folder = self.folder(batch)
        return open_engine(folder, read_artifact(folder), **options)

    def stream(self) -> Any:
        """A stream of another library."""
        return bench.Foreign._ok(self.cudart.cudaStreamCreateWithFlags(self.cudart.cudaStreamNonBlocking))


def install(monkeypatch: pytest.MonkeyPatch, world: World, version: str = "10.3.0", *, rtx: bool = False) -> None:
    """Put the double where the bindings are imported from."""
    monkeypatch.setattr(cuda.bindings, "runtime", Cudart(world))
    monkeypatch.setattr(cuda.bindings, "driver", Driver(world))
    monkeypatch.setitem(sys.modules, "tensorrt_rtx" if rtx else "tensorrt", make_trt(world, version=version, rtx=rtx))
    monkeypatch.setattr(compatibility, "this_device", lambda: ORIN)
    monkeypatch.setattr(api, "_OPEN", {})


@pytest.fixture
def make_double(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    """Makes a machine of the double; afterwards nothing of it may be left over."""
    made: list[World] = []

    def make(version: str = "10.3.0", *, rtx: bool = False, **options: Any) -> Machine:
        world = World(**options)
        install(monkeypatch, world, version, rtx=rtx)
        made.append(world)
        return Machine(world, tmp_path, version, "tensorrt_rtx" if rtx else "tensorrt")

    yield make
    if any(world.alive() for world in made):
        gc.collect()
    for world in made:
        assert world.sticky is not None or not world.alive()


@pytest.fixture(
    params=["lazy", "interleaved", "integrated", pytest.param("gpu", marks=pytest.mark.gpu)],
)
def machine(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """The double in three forms, and the GPU of this machine."""
    if request.param == "gpu":
        return real_machine(tmp_path)
    make = request.getfixturevalue("make_double")
    return make(integrated=request.param == "integrated", interleaved=request.param == "interleaved")


@pytest.fixture
def foreign(machine: Machine) -> Iterator[Any]:
    """Makes arrays of another library, and gives their memory back."""
    made: list[bench.Foreign] = []

    def make(array: np.ndarray, stream: Any = None, **options: Any) -> bench.Foreign:
        made.append(bench.Foreign(array, stream, **options))
        return made[-1]

    yield make
    for one in made:
        one.free()


@pytest.fixture
def double(make_double: Any) -> Any:
    """The double alone, for what no GPU does on demand."""
    return make_double()


def real_machine(tmp_path: Path) -> Machine:
    """This machine's GPU, or the test is skipped with the reason."""
    if this_device() is None:
        pytest.skip("this machine has no NVIDIA GPU")
    for backend in ("tensorrt", "tensorrt_rtx"):
        try:
            trt = __import__(backend)
        except ImportError:
            continue
        version = str(trt.__version__).partition("-")[0]
        return Machine(None, tmp_path, version, backend)
    pytest.skip("neither TensorRT nor TensorRT-RTX is installed")


def compile_here(graph: bytes, batch: tuple[int, int]) -> bytes:
    """A real plan of a graph, for the GPU of this machine."""
    try:
        import tensorrt as trt
    except ImportError:
        import tensorrt_rtx as trt
    logger = trt.Logger(trt.Logger.ERROR)
    builder = trt.Builder(logger)
    flags = trt.NetworkDefinitionCreationFlag
    network = builder.create_network(1 << int(flags.STRONGLY_TYPED) if hasattr(flags, "STRONGLY_TYPED") else 0)
    parser = trt.OnnxParser(network, logger)
    assert parser.parse(graph), parser.get_error(0).desc()
    config = builder.create_builder_config()
    if batch[0] != batch[1]:
        profile = builder.create_optimization_profile()
        shapes = [(size, bench.HEIGHT, bench.WIDTH, 3) for size in (batch[0], batch[0], batch[1])]
        profile.set_shape("image", *shapes)
        config.add_optimization_profile(profile)
    serialized = builder.build_serialized_network(network, config)
    if serialized is None:
        pytest.skip("this TensorRT does not compile for this GPU")
    return bytes(serialized)


@pytest.fixture(autouse=True)
def no_warnings() -> Iterator[None]:
    """An engine that loses its CUDA graph would warn; a test that expects it says so."""
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "the engine", UserWarning)
        yield
