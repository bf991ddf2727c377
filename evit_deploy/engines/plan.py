# SPDX-License-Identifier: Apache-2.0
"""What a compiler made of a graph: the kernels of the finished engine, in order, with what they read and write.

Compilers that show their plan store it next to the engine as ``plan.json``; ``evit-deploy inspect`` prints it. Where a
plan comes from is not this file's business: `evit_deploy.engines.build_log` reads it from a build log,
`evit_deploy.engines.inspector` from the engine itself.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from evit_deploy.errors import ArtifactError

PLAN = "plan.json"
FORMAT = 1

_BITS = {
    "Float": 32, "Half": 16, "BFloat16": 16, "FP8": 8, "E8M0": 8, "FP4": 4, "Int4": 4,
    "Int8": 8, "UInt8": 8, "Bool": 8, "Int32": 32, "Int64": 64,
}  # fmt: skip

_IDLE = frozenset({"signal", "wait", "shape_call", "host_to_device", "device_to_host", "NoOp", "Constant"})
"""Entries of a plan that order others, handle sizes or name what is there: no kernel runs on the device for them."""

_PREPARING = frozenset({"kgen", "Reformat"})


@dataclass(frozen=True)
class PlanTensor:
    """One activation that a kernel reads or writes.

    Attributes:
        name: The compiler's name for it.
        shape: Its dimensions.
        dtype: Its type in the compiler's words: "Half", "Float", …
        bytes: What it takes in memory.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    bytes: int


@dataclass(frozen=True)
class Kernel:
    """One entry of a plan.

    Attributes:
        name: The compiler's name for it.
        type: Its kind in the compiler's words: "gemm", "correlation", "kgen", …
        inputs: Activations it reads.
        outputs: Activations it writes.
        constants: Bytes of weights and other constants it reads.
        layers: Names of the ONNX nodes it computes, or computes a part of.
        flops: Floating-point operations of the convolutions and matrix products among them.
    """

    name: str
    type: str
    inputs: tuple[PlanTensor, ...]
    outputs: tuple[PlanTensor, ...]
    constants: int
    layers: tuple[str, ...]
    flops: int = 0

    @property
    def bytes_read(self) -> int:
        """Bytes of activations it reads."""
        return sum(tensor.bytes for tensor in self.inputs)

    @property
    def bytes_written(self) -> int:
        """Bytes of activations it writes."""
        return sum(tensor.bytes for tensor in self.outputs)

    @property
    def traffic(self) -> int:
        """Bytes of activations it reads and writes."""
        return self.bytes_read + self.bytes_written

    @property
    def distinct_traffic(self) -> int:
        """The same, each tensor once: a kernel that upsamples lists its input for each of 16 taps."""
        return sum({tensor.name: tensor.bytes for tensor in (*self.inputs, *self.outputs)}.values())

    @property
    def works(self) -> bool:
        """Whether it runs on the device and moves anything there."""
        return self.type not in _IDLE and self.traffic > 0


@dataclass(frozen=True)
class Plan:
    """A finished engine, kernel by kernel.

    Attributes:
        compiler: Name of the compiler.
        version: Its version.
        arch: GPU architecture it compiled for, such as "sm86".
        kernels: All entries in the order they run in; totals count those that work.
    """

    compiler: str
    version: str
    arch: str
    kernels: tuple[Kernel, ...]

    @property
    def working(self) -> tuple[Kernel, ...]:
        """The entries that run on the device: no waits, no signals."""
        return tuple(kernel for kernel in self.kernels if kernel.works)

    @property
    def bytes_read(self) -> int:
        """Bytes of activations that all kernels read."""
        return sum(kernel.bytes_read for kernel in self.working)

    @property
    def bytes_written(self) -> int:
        """Bytes of activations that all kernels write."""
        return sum(kernel.bytes_written for kernel in self.working)

    @property
    def traffic(self) -> int:
        """Bytes of activations that all kernels read and write."""
        return self.bytes_read + self.bytes_written

    @property
    def flops(self) -> int:
        """Floating-point operations of all convolutions and matrix products."""
        return sum(kernel.flops for kernel in self.working)


_BY: dict[str, Callable[[tuple[int, Kernel]], float]] = {
    "bytes": lambda numbered: -numbered[1].traffic,
    "flops": lambda numbered: -numbered[1].flops,
    "order": lambda numbered: numbered[0],
}
ORDERS = tuple(_BY)
"""What kernels can be sorted by."""


def ranked(plan: Plan, order: str) -> list[tuple[int, Kernel]]:
    """The working kernels with their numbers in the plan (from 0), sorted by one of `ORDERS`; largest first."""
    return sorted(((number, kernel) for number, kernel in enumerate(plan.kernels) if kernel.works), key=_BY[order])


def byte_size(shape: Iterable[int], dtype: str) -> int:
    """Bytes of a tensor, rounded up to whole ones.

    Raises:
        ValueError: A type of unknown size, or a dimension that is not fixed.
    """
    sizes = tuple(shape)
    if dtype not in _BITS:
        raise ValueError(f"tensors of type '{dtype}', whose size is not known here")
    if any(size < 0 for size in sizes):
        raise ValueError(f"a tensor without a fixed size: {list(sizes)}")
    return -(-math.prod(sizes) * _BITS[dtype] // 8)


def with_flops(kernels: Iterable[Kernel], node_flops: Mapping[str, int]) -> tuple[Kernel, ...]:
    """Give every node's operations to the kernel that computes it.

    Several kernels may name one node. Generated and reformatting ones among them only prepare or reorder its data, so
    it belongs to the first of another type; among those alone, to the first.
    """
    known = tuple(kernels)
    owner: dict[str, int] = {}
    for index, kernel in sorted(enumerate(known), key=lambda numbered: numbered[1].type in _PREPARING):
        for node in kernel.layers:
            owner.setdefault(node, index)
    totals = [0] * len(known)
    for node, flops in node_flops.items():
        if node in owner:
            totals[owner[node]] += flops
    return tuple(replace(kernel, flops=flops) for kernel, flops in zip(known, totals, strict=True))


def to_json(plan: Plan) -> dict[str, Any]:
    """The plan and its totals as plain JSON values."""
    totals = {
        "kernels": len(plan.working),
        "bytes_read": plan.bytes_read,
        "bytes_written": plan.bytes_written,
        "flops": plan.flops,
    }
    return {"format": FORMAT, "totals": totals, **asdict(plan)}


def write_plan(folder: Path, plan: Plan) -> None:
    """Write ``plan.json`` into a folder."""
    (folder / PLAN).write_text(json.dumps(to_json(plan), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def read_plan(folder: Path) -> Plan:
    """Read the ``plan.json`` of an engine.

    Raises:
        ArtifactError: It is damaged, or of a newer version.
    """
    path = folder / PLAN
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if (found := data["format"]) == FORMAT:
            return from_json(data)
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise ArtifactError(f"{path} is not a plan", found=reason, fix="build the engine again") from error
    raise ArtifactError(
        f"{path} was written by another evit-deploy",
        found=f"plan format {found}",
        expected=f"plan format {FORMAT}",
        fix="build the engine again",
    )


def from_json(data: Mapping[str, Any]) -> Plan:
    """A plan from what `to_json` made of it; KeyError, TypeError or ValueError if it is something else."""
    kernels = tuple(_kernel(**kernel) for kernel in data["kernels"])
    return Plan(data["compiler"], data["version"], data["arch"], kernels)


def _kernel(inputs: Any, outputs: Any, layers: Any, **rest: Any) -> Kernel:
    return Kernel(inputs=_tensors(inputs), outputs=_tensors(outputs), layers=tuple(layers), **rest)


def _tensors(items: Any) -> tuple[PlanTensor, ...]:
    return tuple(PlanTensor(**{**item, "shape": tuple(item["shape"])}) for item in items)
