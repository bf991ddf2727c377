# SPDX-License-Identifier: Apache-2.0
"""NVML: NVIDIA's own bindings on a double of its libraries."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from evit_deploy.profiles.power import measure_power, nvml
from evit_deploy.profiles.power.nvml import find_nvml
from evit_deploy.profiles.power.source import Obstacle, Source
from evit_deploy.targets import driver
from tests.conftest import require
from tests.targets.boards import driver_answers

PLACE = "0000:65:00.0"


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("gcc") is None and not os.environ.get("CI"):
        pytest.skip("needs gcc to build a double of NVML")
    path = tmp_path_factory.mktemp("nvml") / "libnvml.so"
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", path, Path(__file__).with_name("libnvml.c")], check=True)
    return path


@pytest.fixture
def gpu(library: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., ctypes.CDLL]:
    """Puts a GPU of `boards.GPUS` into this process, with answers of its own."""
    require("pynvml")
    import pynvml

    opened = ctypes.CDLL(str(library))
    monkeypatch.setattr(pynvml, "nvmlLib", opened)
    monkeypatch.setattr(pynvml, "_nvmlGetFunctionPointer_cache", {})
    monkeypatch.setattr(driver, "LIBRARY", str(library))
    monkeypatch.setattr(nvml, "LIBRARY", str(library))

    def choose(name: str = "a100", **answers: str) -> ctypes.CDLL:
        for key, value in {**driver_answers(name), **answers}.items():
            monkeypatch.setenv(key, value)
        return opened

    return choose


def test_energy_becomes_power(gpu) -> None:
    opened = gpu(FAKE_CUDA_PLACE=PLACE)
    source = find_nvml()
    assert isinstance(source, Source)
    assert source.name == "NVML, NVIDIA A100-SXM4-80GB"
    assert (source.serves, source.notes) == ({"gpu"}, ())
    with source.open() as reader:
        reading = reader.read()
    assert reading.watts == {"board": pytest.approx(250, rel=0.02)}
    assert reading.temperatures == {"GPU": 61}
    assert source.total(reading.watts).rails == ("board",)
    assert opened.users_left() == 0


def test_a_gpu_without_a_counter_tells_its_power(gpu) -> None:
    gpu(FAKE_CUDA_PLACE=PLACE, FAKE_NVML_OLD="1")
    with find_nvml().open() as reader:
        assert reader.read().watts == {"board": 180.0}


def test_a_driver_that_does_not_tell_the_place_has_one_gpu(gpu) -> None:
    gpu()
    with find_nvml().open() as reader:
        assert reader.read().watts == {"board": pytest.approx(250, rel=0.02)}


def test_a_divided_gpu_is_said_to_be_one(gpu) -> None:
    gpu(FAKE_CUDA_PLACE=PLACE, FAKE_NVML_MIG="1")
    assert "MIG" in find_nvml().notes[0]


@pytest.mark.parametrize(
    ("answers", "reason"),
    [
        ({"FAKE_NVML_INIT": "15"}, "GPU is lost"),
        ({"FAKE_NVML_LOST": "1", "FAKE_CUDA_PLACE": PLACE}, "GPU is lost"),
        ({"FAKE_CUDA_PLACE": "0000:01:00.0"}, "Not Found"),
        ({"FAKE_CUDA_PLACE": PLACE, "FAKE_NVML_OLD": "1", "FAKE_NVML_SILENT": "1"}, "Not Supported"),
    ],
)
def test_a_gpu_that_does_not_answer_is_an_obstacle(gpu, answers: dict[str, str], reason: str) -> None:
    opened = gpu(**answers)
    found = find_nvml()
    assert isinstance(found, Obstacle)
    assert found.what == f"the driver does not tell the power of NVIDIA A100-SXM4-80GB: {reason}"
    assert opened.users_left() == 0


def test_a_gpu_that_is_lost_ends_the_measurement(gpu, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = gpu(FAKE_CUDA_PLACE=PLACE)
    with pytest.raises(OSError, match="GPU is lost"), find_nvml().open() as reader:
        reader.read()
        monkeypatch.setenv("FAKE_NVML_LOST", "1")
        reader.read()
    assert opened.users_left() == 0


def test_a_missing_package_is_an_obstacle_that_names_its_extra(gpu, monkeypatch: pytest.MonkeyPatch) -> None:
    gpu()
    monkeypatch.setitem(sys.modules, "pynvml", None)
    found = find_nvml()
    assert isinstance(found, Obstacle)
    assert found.fix == "pip install 'evit-deploy[power]'"


def test_a_jetson_has_rails_instead(gpu) -> None:
    gpu("agx_orin_64")
    assert find_nvml() is None


def test_a_machine_without_a_gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(driver, "LIBRARY", str(tmp_path / "none.so"))
    assert find_nvml() is None


@pytest.mark.gpu
def test_a_real_gpu_draws_more_at_work_than_at_rest() -> None:
    """Copies within its memory are work enough."""
    pytest.importorskip("pynvml")
    cudart = pytest.importorskip("cuda.bindings.runtime")
    source = find_nvml()
    if not isinstance(source, Source):
        pytest.skip(f"needs an NVIDIA GPU that tells its power: {source}")
    size = 1 << 28
    error, memory = cudart.cudaMalloc(2 * size)
    assert not int(error)

    def call() -> None:
        for _ in range(10):
            cudart.cudaMemcpy(memory + size, memory, size, cudart.cudaMemcpyKind.cudaMemcpyDeviceToDevice)
        cudart.cudaDeviceSynchronize()

    try:
        record = measure_power(call, seconds=6, source=source)
    finally:
        cudart.cudaFree(memory)
    assert record.total_w > record.idle_w > 1
    assert record.total_sigma_w < 0.1 * record.total_w
    assert record.energy_mj == pytest.approx(record.total_w * record.seconds / record.frames * 1e3, rel=0.05)
