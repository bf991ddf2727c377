# SPDX-License-Identifier: Apache-2.0
"""Figures of machines and power modes, and what has none."""

from __future__ import annotations

import pytest

from evit_deploy.errors import UsageError
from evit_deploy.profiles.predict.machine import conditions, in_fp32, predictable


def test_the_machine_of_the_published_latencies() -> None:
    orin = conditions("orin")
    assert (orin.variant, orin.mode, orin.multiprocessors, orin.clock_mhz) == ("64 GB", "MAXN", 16, 1301)
    assert (orin.bandwidth_gbs, orin.peak_tflops, orin.integrated) == (204.8, 42.6, True)
    assert orin.uncertain == ("FP16 peak (derived)",)


@pytest.mark.parametrize(("mode", "units", "clock", "peak"), [("50W", 16, 816, 26.7), ("30W", 8, 612, 10.0)])
def test_power_modes(mode: str, units: int, clock: float, peak: float) -> None:
    """The peaks are NVIDIA's sparse INT8 figures of the modes, over four: 109 and 41."""
    for name in (mode, mode.lower(), f"MODE_{mode}"):
        found = conditions("orin", name)
        assert (found.mode, found.multiprocessors, found.clock_mhz) == (mode, units, clock)
        assert found.peak_tflops == pytest.approx(peak, rel=0.01)


@pytest.mark.parametrize("name", predictable())
def test_every_machine_with_figures(name: str) -> None:
    found = conditions(name)
    assert min(found.multiprocessors, found.bandwidth_gbs, found.peak_tflops) > 0
    assert found.integrated == (name in ("orin", "orin-nx", "orin-nano", "thor"))


@pytest.mark.parametrize(("name", "tflops"), [("orin", 5.3), ("a100", 19.5), ("h100", 62), ("thor", 8.1)])
def test_fp32_without_tensor_cores(name: str, tflops: float) -> None:
    """Data sheets: 5.3 and 19.5; what an H100 and a Thor reach follows from cores, clocks and figures not checked."""
    assert in_fp32(conditions(name)).peak_tflops == pytest.approx(tflops, rel=0.01)


@pytest.mark.parametrize("name", predictable())
def test_every_machine_computes_in_fp32(name: str) -> None:
    assert 0 < in_fp32(conditions(name)).peak_tflops < conditions(name).peak_tflops


def test_a_clock_from_the_peak() -> None:
    assert conditions("a100").clock_mhz == pytest.approx(1410, rel=0.001)


@pytest.mark.parametrize("name", ["32 GB", "32gb"])
def test_sizes(name: str) -> None:
    assert conditions("orin", variant=name).multiprocessors == 14


@pytest.mark.parametrize(
    ("target", "options", "message"),
    [
        ("orin", {"mode": "20W"}, "one of MAXN, 50W, 30W, 15W"),
        ("a100", {"mode": "MAXN"}, "it has none"),
        ("orin", {"variant": "16 GB"}, "one of 64 GB, 32 GB"),
        ("a100", {"copies": "zero-copy"}, "must be copied"),
        ("cpu", {}, "measured, not predicted"),
        ("rtx", {}, "it is many machines"),
        ("orinn", {}, "there is no target"),
    ],
)
def test_what_has_no_figures(target: str, options: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        conditions(target, **options)  # type: ignore[arg-type]
