# SPDX-License-Identifier: Apache-2.0
"""The physical model: laws that hold whatever the constants are."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evit_deploy.engines.plan import Kernel, PlanTensor
from evit_deploy.profiles.predict.cost import (
    DENSE,
    DENSE_INTENSITY,
    LIGHT,
    MOVING,
    Work,
    calibration,
    kernel_cost,
    run_ms,
)
from evit_deploy.profiles.predict.machine import conditions

ORIN = conditions("orin")
CONSTANTS = calibration().constants
AMOUNTS = st.floats(1e3, 1e9)
WORKS = st.lists(st.tuples(AMOUNTS, st.floats(0, 1e8), st.one_of(st.just(0.0), AMOUNTS)), min_size=1, max_size=8).map(
    lambda rows: Work(*np.array(rows, float).T)
)


def work(activations: float, weights: float = 0.0, flops: float = 0.0) -> Work:
    return Work(np.array([activations]), np.array([weights]), np.array([flops]))


@given(WORKS, st.floats(0, 1e8))
def test_a_run_is_its_kernels_launches_and_copies(some: Work, copied: float) -> None:
    cost = kernel_cost(some, ORIN, CONSTANTS)
    parts = np.maximum(cost.traffic, cost.arithmetic).sum()
    launches = len(some.flops) * CONSTANTS.launch_us / 1e3
    assert run_ms(some, copied, ORIN, CONSTANTS) == pytest.approx(parts + launches + copied * CONSTANTS.copy(ORIN))


@given(WORKS, st.sampled_from(["bandwidth_gbs", "peak_tflops", "clock_mhz", "multiprocessors"]), st.integers(2, 4))
def test_a_better_machine_is_never_slower(some: Work, figure: str, times: int) -> None:
    better = replace(ORIN, **{figure: getattr(ORIN, figure) * times})
    assert run_ms(some, 1e6, better, CONSTANTS) <= run_ms(some, 1e6, ORIN, CONSTANTS) * (1 + 1e-12)


@given(WORKS)
def test_no_kernel_beats_memory_or_the_peak(some: Work) -> None:
    cost = kernel_cost(some, ORIN, CONSTANTS)
    assert (cost.traffic >= (some.activations + some.weights) / (ORIN.bandwidth_gbs * 1e6)).all()
    assert (cost.arithmetic >= some.flops / (ORIN.peak_tflops * 1e9)).all()


@pytest.mark.parametrize(
    ("flops", "kind"), [(0, MOVING), (1, LIGHT), (DENSE_INTENSITY * 1e6 - 1, LIGHT), (DENSE_INTENSITY * 1e6, DENSE)]
)
def test_kinds(flops: float, kind: int) -> None:
    assert list(work(1e6, flops=flops).kinds) == [kind]


def test_light_kernels_are_the_slowest_at_moving() -> None:
    times = [kernel_cost(work(1e8, flops=flops), ORIN, CONSTANTS).traffic[0] for flops in (0, 1e8, 1e10)]
    assert times[0] < times[2] < times[1]


def test_half_the_multiprocessors_slow_convolutions_and_not_copies() -> None:
    half = conditions("orin", "30W")
    assert half.multiprocessors * 2 == ORIN.multiprocessors
    for flops, slower in ((0, 1.0), (1e8, 16 * 1301 / (8 * 612)), (1e9 * DENSE_INTENSITY, 16 * 1301 / (8 * 612))):
        ratio = (
            kernel_cost(work(1e8, flops=flops), half, CONSTANTS).traffic
            / kernel_cost(work(1e8, flops=flops), ORIN, CONSTANTS).traffic
        )
        assert ratio[0] == pytest.approx(slower)


def test_without_a_clock_convolutions_follow_memory() -> None:
    unknown = replace(ORIN, clock_mhz=None)
    assert run_ms(work(1e8, flops=1e8), 0, unknown, CONSTANTS) == pytest.approx(
        run_ms(work(1e8, flops=1e8), 0, ORIN, CONSTANTS)
    )


def test_copies() -> None:
    assert CONSTANTS.copy(replace(ORIN, copies="zero-copy")) == 0
    assert 1 / CONSTANTS.copy(conditions("a100")) == pytest.approx(CONSTANTS.pcie_gbs * 1e6)
    assert 1 / CONSTANTS.copy(ORIN) < ORIN.bandwidth_gbs * 1e6 / 2


def test_a_graph_launches_faster() -> None:
    assert CONSTANTS.launch(replace(ORIN, cuda_graph=True)) < CONSTANTS.launch(ORIN)


def test_a_tensor_that_is_listed_twice_moves_once() -> None:
    tensor = PlanTensor("x", (1, 4), "Half", 8)
    kernel = Kernel("k", "kgen", (tensor, tensor), (PlanTensor("y", (1, 8), "Half", 16),), 5, (), 7)
    some = Work.of([kernel])
    assert (some.activations[0], some.weights[0], some.flops[0]) == (24, 5, 7)


def test_constants_are_physically_possible() -> None:
    assert 0.5 < CONSTANTS.memory_efficiency < 1
    assert 0.5 < CONSTANTS.arithmetic_efficiency < 1
    assert 0 < CONSTANTS.light_bytes < CONSTANTS.dense_bytes < 64  # of its path to L2
    assert 2 < CONSTANTS.launch_us < 15
    assert 10 < CONSTANTS.pcie_gbs < 32  # PCI Express 4.0, 16 lanes
