# SPDX-License-Identifier: Apache-2.0
"""Subjects made by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from evit_deploy.engines.plan import Kernel, Plan, PlanTensor
from evit_deploy.profiles.predict.subject import Subject


def tensor(name: str, elements: int, dtype: str = "Half") -> PlanTensor:
    return PlanTensor(name, (1, elements), dtype, elements * {"Half": 2, "Float": 4, "UInt8": 1}[dtype])


def kernel(layer: str, elements: int, flops: int = 0, weights: int = 0, type: str = "kgen") -> Kernel:
    """A kernel that reads and writes as many elements."""
    return Kernel(
        layer, type, (tensor(f"{layer}.in", elements),), (tensor(f"{layer}.out", elements),), weights, (layer,), flops
    )


def subject(**changes: Any) -> Subject:
    """A network of five kernels, one that waits, and one that computes."""
    kernels = (
        kernel("image.Cast", 1_000_000),
        kernel("backbone.input_stem.conv", 4_000_000, flops=100_000_000, weights=1_000),
        Kernel("wait", "wait", (tensor("a", 5),), (), 0, ()),
        kernel("backbone.stages.0.conv", 1_000_000, flops=20_000_000_000, weights=50_000),
        kernel("head.conv", 100, flops=1_000),
        kernel("classify.Resize", 2_000_000),
    )
    made = Subject(
        name="b1-seg", model="b1-seg", resolution=(512, 1024), batch=1, precision="fp16", input="image",
        output="classes", plan=Plan("tensorrt_rtx", "1.7.1.116", "sm80", kernels), inputs=1_572_864, outputs=524_288,
        origin="TensorRT for RTX 1.7.1.116, sm80",
    )  # fmt: skip
    return replace(made, **changes)
