# SPDX-License-Identifier: Apache-2.0
"""The plan of an engine: its sums, its file, and whose operations are whose."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evit_deploy.engines.plan import (
    ORDERS,
    PLAN,
    Kernel,
    Plan,
    PlanTensor,
    byte_size,
    ranked,
    read_plan,
    to_json,
    with_flops,
    write_plan,
)
from evit_deploy.errors import ArtifactError

WIDTHS = {
    "Float": 4, "Half": 2, "BFloat16": 2, "FP8": 1, "E8M0": 1, "Int8": 1, "UInt8": 1, "Bool": 1, "Int32": 4, "Int64": 8,
}  # fmt: skip
NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\n"), max_size=12)


@st.composite
def tensors(draw: st.DrawFn) -> PlanTensor:
    shape = tuple(draw(st.lists(st.integers(0, 64), max_size=4)))
    dtype = draw(st.sampled_from(sorted(WIDTHS)))
    return PlanTensor(draw(NAMES), shape, dtype, byte_size(shape, dtype))


KERNELS = st.builds(
    Kernel,
    name=NAMES,
    type=st.sampled_from(["gemm", "kgen", "correlation", "wait", "signal"]),
    inputs=st.lists(tensors(), max_size=3).map(tuple),
    outputs=st.lists(tensors(), max_size=3).map(tuple),
    constants=st.integers(0, 10**9),
    layers=st.lists(NAMES, max_size=3).map(tuple),
    flops=st.integers(0, 10**12),
)
PLANS = st.builds(
    Plan, NAMES, NAMES, st.sampled_from(["sm80", "sm120"]), kernels=st.lists(KERNELS, max_size=4).map(tuple)
)


def kernel(name: str, type: str = "gemm", read: int = 1, written: int = 1, layers: tuple[str, ...] = ()) -> Kernel:
    """A kernel that reads and writes a number of bytes."""
    first, second = PlanTensor("x", (read,), "Int8", read), PlanTensor("y", (written,), "Int8", written)
    return Kernel(name, type, (first,), (second,), 5, layers)


# Sizes and sums


@given(st.lists(st.integers(0, 50), max_size=5), st.sampled_from(sorted(WIDTHS)))
def test_sizes_of_tensors(shape: list[int], dtype: str) -> None:
    assert byte_size(shape, dtype) == math.prod(shape) * WIDTHS[dtype]


@pytest.mark.parametrize(("shape", "size"), [((3,), 2), ((4,), 2), ((), 1), ((0,), 0)])
def test_half_bytes_are_rounded_up(shape: tuple[int, ...], size: int) -> None:
    assert byte_size(shape, "FP4") == byte_size(shape, "Int4") == size


@pytest.mark.parametrize(
    ("shape", "dtype", "words"), [((2,), "Quarter", "type 'Quarter'"), ((-1, 2), "Half", r"fixed size: \[-1, 2\]")]
)
def test_a_size_that_cannot_be_told(shape: tuple[int, ...], dtype: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        byte_size(shape, dtype)


def test_sums_count_what_works() -> None:
    plan = Plan(
        "c", "1", "sm80", (kernel("a", "gemm", 10, 20), kernel("b", "wait", 99, 99), kernel("c", "kgen", 1, 2),
                           kernel("d", "gemm", 0, 0)),
    )  # fmt: skip
    plan = replace(plan, kernels=tuple(replace(each, flops=7) for each in plan.kernels))
    assert [each.name for each in plan.working] == ["a", "c"]
    assert (plan.bytes_read, plan.bytes_written, plan.traffic, plan.flops) == (11, 22, 33, 14)
    assert to_json(plan)["totals"] == {"kernels": 2, "bytes_read": 11, "bytes_written": 22, "flops": 14}


@given(PLANS, st.sampled_from(ORDERS))
def test_every_order_shows_every_working_kernel(plan: Plan, order: str) -> None:
    rows = ranked(plan, order)
    assert sorted(number for number, _ in rows) == [number for number, each in enumerate(plan.kernels) if each.works]
    assert all(plan.kernels[number] is each for number, each in rows)
    keys = {"bytes": [-each.traffic for _, each in rows], "flops": [-each.flops for _, each in rows]}
    values = keys.get(order, [number for number, _ in rows])
    assert values == sorted(values)


# Whose operations


def test_a_node_belongs_to_the_kernel_that_computes_it() -> None:
    kernels = (
        kernel("reshape", "kgen", layers=("conv", "input")),
        kernel("product", "runtime_fusion", layers=("conv", "relu", "last")),
        kernel("more", "gemm", layers=("last",)),
        kernel("alone", "kgen", layers=("small",)),
        kernel("after", "kgen", layers=("small",)),
    )
    counted = with_flops(kernels, {"conv": 100, "last": 10, "small": 1, "folded away": 1000})
    assert [each.flops for each in counted] == [0, 110, 0, 1, 0]
    assert [replace(each, flops=0) for each in counted] == list(kernels)


@given(PLANS, st.dictionaries(NAMES, st.integers(1, 1000)))
def test_no_operation_counts_twice(plan: Plan, node_flops: dict[str, int]) -> None:
    counted = with_flops(plan.kernels, node_flops)
    named = {layer for each in plan.kernels for layer in each.layers}
    assert sum(each.flops for each in counted) == sum(node_flops[name] for name in named & node_flops.keys())


# The file


@given(plan=PLANS)
def test_a_plan_survives_its_file(plan: Plan, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("plan")
    write_plan(folder, plan)
    assert read_plan(folder) == plan


@pytest.mark.parametrize(
    "change",
    [
        lambda text: "",
        lambda text: "[1]",
        lambda text: "{}",
        lambda text: text[:-20],
        lambda text: text.replace('"kernels": [', '"kernels": [3, '),
        lambda text: text.replace('"dtype"', '"kind"'),
        lambda text: text.replace('"constants"', '"constance"'),
        lambda text: "[" * 100_000,
    ],
)
def test_a_damaged_plan_is_refused(change, tmp_path: Path) -> None:
    write_plan(tmp_path, Plan("c", "1", "sm80", (kernel("a"),)))
    path = tmp_path / PLAN
    path.write_text(change(path.read_text(encoding="utf-8")), encoding="utf-8")
    with pytest.raises(ArtifactError, match="is not a plan") as caught:
        read_plan(tmp_path)
    assert "build the engine again" in str(caught.value.fix)


def test_a_plan_of_another_format_is_refused(tmp_path: Path) -> None:
    (tmp_path / PLAN).write_text(json.dumps({"format": 99, "graph": "other"}), encoding="utf-8")
    with pytest.raises(ArtifactError, match="another evit-deploy") as caught:
        read_plan(tmp_path)
    assert caught.value.found == "plan format 99"
