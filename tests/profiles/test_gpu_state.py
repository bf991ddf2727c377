# SPDX-License-Identifier: Apache-2.0
"""What a discrete GPU tells between rounds: NVIDIA's own bindings on a double of its libraries."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import Mock

import pytest

from evit_deploy.profiles import profile as profile_module
from evit_deploy.profiles import profile_engine
from evit_deploy.profiles.gpu_state import gpu_reader
from evit_deploy.profiles.insight import Wanted
from evit_deploy.profiles.sensors import Clock, GpuState, ReadGpu, Watch
from tests.profiles.power.test_nvml import PLACE, gpu, library  # noqa: F401
from tests.profiles.test_profile import quick


@pytest.fixture
def clocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clocks, of which the double knows nothing."""
    pynvml = pytest.importorskip("pynvml")
    monkeypatch.setattr(pynvml, "nvmlDeviceGetClockInfo", Mock(side_effect=[1980, 1980, 1200]))
    monkeypatch.setattr(pynvml, "nvmlDeviceGetMaxClockInfo", lambda *_: 1980)


def test_a_gpu_that_throttles_is_seen(gpu, clocks, tmp_path: Path) -> None:  # noqa: F811
    opened = gpu(FAKE_CUDA_PLACE=PLACE)
    with gpu_reader(wanted=True) as read:
        watch = Watch(tmp_path, read)
        watch.look()
        watch.look()
    assert watch.entries() == {
        "temperature of GPU": "61.0 °C while measured",
        "GPU clock": "1200 to 1980 MHz while measured, at most 1980",
    }
    assert opened.users_left() == 0


def test_a_driver_that_tells_a_part(gpu) -> None:  # noqa: F811
    gpu(FAKE_CUDA_PLACE=PLACE)
    with gpu_reader(wanted=True) as read:
        assert read() == GpuState(61.0, None)


@pytest.mark.parametrize("wanted", [True, False])
def test_nothing_is_read_where_nothing_is_to_be_had(gpu, monkeypatch: pytest.MonkeyPatch, wanted: bool) -> None:  # noqa: F811
    """A CPU's engine, a Jetson, a driver that does not answer, no bindings: none of it ends a measurement."""
    opened = gpu("agx_orin_64" if wanted else "a100")
    with gpu_reader(wanted=wanted) as read:
        assert read is None
    gpu(FAKE_NVML_INIT="15")
    with gpu_reader(wanted=True) as read:
        assert read is None
    monkeypatch.setitem(sys.modules, "pynvml", None)
    with gpu_reader(wanted=True) as read:
        assert read is None
    assert opened.users_left() == 0


def test_what_goes_wrong_inside_is_not_hidden(gpu) -> None:  # noqa: F811
    opened = gpu(FAKE_CUDA_PLACE=PLACE)
    with pytest.raises(OSError, match="of the measurement"), gpu_reader(wanted=True):
        raise OSError("of the measurement")
    assert opened.users_left() == 0


def test_a_gpu_that_is_lost_while_measured_is_no_end(gpu, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:  # noqa: F811
    gpu(FAKE_CUDA_PLACE=PLACE)
    with gpu_reader(wanted=True) as read:
        watch = Watch(tmp_path, read)
        monkeypatch.setenv("FAKE_NVML_LOST", "1")
        watch.look()
    assert watch.entries() == {"temperature of GPU": "61.0 °C while measured"}


def test_a_profile_tells_it(engine_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def reader(*, wanted: bool) -> Iterator[ReadGpu]:
        assert not wanted, "the engine runs on a CPU"
        yield lambda: GpuState(70.0, Clock(900.0))

    quick(monkeypatch)
    monkeypatch.setattr(profile_module, "gpu_reader", reader)
    report, _ = profile_engine(engine_folder, tmp_path, pytorch=False, wanted=Wanted(layers=False, power=False))
    assert report.environment["GPU clock"] == "900 MHz while measured"


def test_a_discrete_gpus_state_stands_beside_the_boards(tmp_path: Path) -> None:
    watch = Watch(tmp_path, lambda: GpuState(70.0, Clock(900.0)))
    assert watch.entries() == {"temperature of GPU": "70.0 °C while measured", "GPU clock": "900 MHz while measured"}
