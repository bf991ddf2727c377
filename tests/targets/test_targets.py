# SPDX-License-Identifier: Apache-2.0
"""The machines as data, and the machine at hand."""

from __future__ import annotations

import os
import platform

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evit_deploy.engines import COMPILERS
from evit_deploy.errors import UsageError
from evit_deploy.export.options import OPSETS
from evit_deploy.precision.attention import FORMS
from evit_deploy.targets import PRECISIONS, TARGETS, Figure, TargetSpec, Variant, find_target, jetpack, machine

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
    assert spec.compilers


@pytest.mark.parametrize("name", NAMES)
def test_gpus_get_typed_graphs_and_cpus_get_them_as_exported(name: str) -> None:
    spec = find_target(name)
    if name == "cpu":
        assert (spec.precisions, spec.attention, spec.opset) == (("fp32", "bf16"), None, None)
        return
    assert spec.precisions == ("fp32", "fp16", *(() if name == "rtx" else ("int8",)))
    assert FORMS[spec.attention] is not None
    assert OPSETS[-1] <= spec.opset == min(jetpack.OPSETS.values())


@pytest.mark.parametrize("spec", [spec for spec in TARGETS.values() if spec.compute_capability], ids=lambda s: s.name)
def test_figures_of_gpus_are_plausible(spec: TargetSpec) -> None:
    assert spec.compute_capability is not None
    assert 7.5 <= float(spec.compute_capability) <= 12.1
    assert spec.variants


SIZES = [(spec, size) for spec in TARGETS.values() for size in spec.variants]


@pytest.mark.parametrize(("spec", "size"), SIZES, ids=lambda value: value.name)
def test_figures_of_sizes_are_plausible(spec: TargetSpec, size: Variant) -> None:
    assert 4 <= size.memory_gb.value <= 200
    assert 4 <= size.multiprocessors.value <= 200
    assert 34 <= size.bandwidth_gbs.value <= 10_000
    if size.fp16_tflops and size.int8_tops:
        assert size.int8_tops.value == pytest.approx(2 * size.fp16_tflops.value, rel=0.01)
    assert bool(size.modes) == spec.jetson
    for mode in size.modes:
        assert 1 <= mode.multiprocessors.value <= size.multiprocessors.value
        assert mode.clock_mhz is None or size.clock_mhz is None or mode.clock_mhz <= size.clock_mhz.value
    if size.modes:
        assert size.modes[0].name.startswith("MAXN")
        assert size.modes[0].multiprocessors.value == size.multiprocessors.value
    assert sum(mode.default for mode in size.modes) <= 1


@pytest.mark.parametrize(
    ("figure", "text"),
    [
        (find_target("orin").variants[0].memory_gb, "64"),
        (find_target("orin-nano").variants[1].memory_gb, "?4"),
        (find_target("orin-nano").variants[1].multiprocessors, "?4"),
        (find_target("orin-nano").variants[1].fp16_tflops, "?8.4"),
        (find_target("thor").variants[0].memory_gb, "?128"),
        (find_target("h100").variants[2].memory_gb, "?141"),
        *((mode.multiprocessors, "?6") for size in find_target("orin").variants for mode in size.modes[-1:]),
    ],
)
def test_figures_on_which_sources_differ_or_are_silent_are_marked(figure: Figure, text: str) -> None:
    assert str(figure) == text


def test_orin_peaks_are_those_of_the_formula_and_marked() -> None:
    """The published sparse figures of the GPU are twice the dense ones: 171 and 108 INT8 TOPS."""
    large, small = find_target("orin").variants
    assert large.int8_tops is not None
    assert small.int8_tops is not None
    assert 2 * large.int8_tops.value == pytest.approx(171, rel=0.01)
    assert 2 * small.int8_tops.value == pytest.approx(108, rel=0.02)
    assert str(large.fp16_tflops) == "~42.6"


@pytest.mark.parametrize(
    ("figure", "text"),
    [(Figure(204.8), "204.8"), (Figure(42.6, "derived"), "~42.6"), (Figure(132, "unchecked"), "?132")],
)
def test_a_figure_that_is_not_certain_is_marked(figure: Figure, text: str) -> None:
    assert str(figure) == text
    assert figure.certain == text[0].isdigit()


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


def test_memory_is_in_gigabytes(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 2_000_000}
    monkeypatch.setattr(os, "sysconf", sizes.__getitem__)
    assert machine.memory_gb() == pytest.approx(8.192)


def test_unknown_memory_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(name: str) -> int:
        raise ValueError(name)

    monkeypatch.setattr(os, "sysconf", unknown)
    assert machine.memory_gb() is None
