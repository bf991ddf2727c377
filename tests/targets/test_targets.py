# SPDX-License-Identifier: Apache-2.0
"""The machines as data, and the machine at hand."""

from __future__ import annotations

import os
import platform

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evit_deploy.engines import COMPILERS, lowering
from evit_deploy.errors import UsageError
from evit_deploy.export.trace import OPSETS
from evit_deploy.precision.attention import FORMS
from evit_deploy.targets import PRECISIONS, TARGETS, TargetSpec, find_target, machine

NAMES = ("cpu", "orin", "orin-nx", "orin-nano", "thor", "a100", "h100", "rtx")

EPYC = """processor\t: 0
model name\t: AMD EPYC 9654 96-Core Processor
flags\t\t: fpu avx2 avx512f avx512_vnni avx512_bf16 sse
processor\t: 1
model name\t: another one
"""
ORIN = """processor\t: 0
Features\t: fp asimd bf16 i8mm
CPU implementer\t: 0x41
"""


def test_the_targets_of_the_surface_are_all_there() -> None:
    assert tuple(TARGETS) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_every_target_is_complete(name: str) -> None:
    spec = find_target(name)
    assert spec is TARGETS[name]
    assert spec.name == name
    assert spec.title
    assert set(spec.compilers) <= set(COMPILERS)
    assert set(spec.precisions) <= set(PRECISIONS)
    assert spec.precisions[0] == "fp32"
    assert spec.compilers or "compiled on the device" in spec.note


@pytest.mark.parametrize("name", NAMES)
def test_gpus_get_typed_graphs_and_cpus_get_them_as_exported(name: str) -> None:
    spec = find_target(name)
    if name == "cpu":
        assert (spec.precisions, spec.attention, spec.opset) == (("fp32", "bf16"), None, None)
        return
    assert spec.precisions == ("fp32", "fp16")
    assert FORMS[spec.attention] is not None
    assert OPSETS[-1] <= spec.opset == min(lowering.OPSETS.values())


@pytest.mark.parametrize("spec", [spec for spec in TARGETS.values() if spec.compute_capability], ids=lambda s: s.name)
def test_figures_of_gpus_are_plausible(spec: TargetSpec) -> None:
    assert spec.compute_capability is not None
    assert 7.5 <= float(spec.compute_capability) <= 12.1
    assert 1 <= (spec.multiprocessors or 0) <= 200
    assert 4 <= (spec.memory_gb or 0) <= 200
    assert 50 <= (spec.bandwidth_gbs or 0) <= 10_000


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("orinnx", "orin-nx"), ("Orin", "orin"), ("jetson-orin", "orin"), ("ornano", "orin-nano"), ("CPU", "cpu"),
        ("a10", "a100"), ("H100", "h100"), ("rtx4090", "rtx"), ("thro", "thor"),
    ],
)  # fmt: skip
def test_an_unknown_target_names_the_nearest(name: str, near: str) -> None:
    with pytest.raises(UsageError, match=f"no target '{name}'") as caught:
        find_target(name)
    assert near in str(caught.value.expected).removeprefix("one of ").split(", ")
    assert caught.value.fix == "evit-deploy targets lists all of them"


@pytest.mark.parametrize("name", ["", "zzzz", "42"])
def test_a_name_like_none_lists_all(name: str) -> None:
    with pytest.raises(UsageError) as caught:
        find_target(name)
    assert caught.value.expected == f"one of {', '.join(NAMES)}"


@given(st.text().filter(lambda name: name not in NAMES))
def test_any_other_name_is_refused(name: str) -> None:
    with pytest.raises(UsageError):
        find_target(name)


@pytest.mark.parametrize(
    ("text", "name", "features"),
    [
        (EPYC, "AMD EPYC 9654 96-Core Processor", ["avx2", "avx512f", "avx512_vnni", "avx512_bf16"]),
        (ORIN, platform.processor() or platform.machine(), ["asimd", "bf16", "i8mm"]),
        ("", platform.processor() or platform.machine(), []),
    ],
    ids=["x86", "arm", "unknown"],
)
def test_cpuinfo_is_read(text: str, name: str, features: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_cpuinfo", lambda: text)
    assert machine.cpu_name() == name
    assert machine.cpu_features() == features
    description = machine.describe()
    assert description["processor"] == name
    assert description["features"] == " ".join(features)


def test_this_machine_is_described() -> None:
    description = machine.describe()
    assert set(description) == {"processor", "architecture", "features", "system"}
    assert description["architecture"] == platform.machine()
    assert description["processor"]
    assert machine.describe() == description


class Driver:
    """As much of NVIDIA's driver as is asked."""

    def __init__(self, init: int, fails: int) -> None:
        self.init, self.fails = init, fails

    def cuInit(self, flags: int) -> int:  # noqa: N802
        return self.init

    def cuDeviceGetAttribute(self, value, attribute: int, device: int) -> int:  # noqa: N802
        assert device == 0
        value._obj.value = {75: 12, 76: 1}[attribute]
        return self.fails


@pytest.mark.parametrize(("init", "fails", "found"), [(0, 0, "12.1"), (100, 0, None), (0, 101, None)])
def test_the_gpu_is_asked(init: int, fails: int, found: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine.ctypes, "CDLL", lambda name: Driver(init, fails))
    assert machine.gpu_compute_capability() == found


def test_a_machine_without_a_driver_has_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise OSError(name)

    monkeypatch.setattr(machine.ctypes, "CDLL", missing)
    assert machine.gpu_compute_capability() is None


def test_memory_is_in_gigabytes(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 2_000_000}
    monkeypatch.setattr(os, "sysconf", sizes.__getitem__)
    assert machine.memory_gb() == pytest.approx(8.192)


def test_unknown_memory_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(name: str) -> int:
        raise ValueError(name)

    monkeypatch.setattr(os, "sysconf", unknown)
    assert machine.memory_gb() is None
