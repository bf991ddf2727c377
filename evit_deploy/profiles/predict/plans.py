# SPDX-License-Identifier: Apache-2.0
"""From a typed graph of fixed sizes to a plan: compiled by TensorRT for RTX, or, without it, guessed.

An Orin is SM 8.7, for which TensorRT for RTX compiles nothing; 8.0 is next of kin.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from evit_deploy.engines.compiler import Job
from evit_deploy.engines.plan import Plan, read_plan
from evit_deploy.engines.tensorrt_rtx import COMPILER
from evit_deploy.errors import extra
from evit_deploy.profiles.predict.fusion import RULES, plan_from_graph
from evit_deploy.profiles.predict.subject import COMPILED, FALLBACK
from evit_deploy.progress import Progress, silent

if TYPE_CHECKING:
    import onnx

ARCH = "sm80"

READER = 1
"""Raised whenever something else is read from a compiler's plan, so that kept plans are made again."""


def maker() -> str:
    """Who makes plans here."""
    version = COMPILER.version()
    return FALLBACK if version is None else f"{COMPILED} {version}, {ARCH}"


def planner() -> str:
    """What a kept plan depends on besides its graph."""
    return f"{FALLBACK}, rules {RULES}" if maker() == FALLBACK else maker()


def plan_of(graph: onnx.ModelProto, precision: str = "fp16", progress: Progress = silent) -> tuple[Plan, str]:
    """Compile a typed graph of fixed sizes, or guess its plan; and who did it.

    Args:
        graph: The graph.
        precision: What it is typed in.
        progress: Told about every step.
    """
    origin = maker()
    if origin == FALLBACK:
        return plan_from_graph(graph), origin
    with extra("export", "Compiling a graph"):
        import onnx
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "model.onnx"
        onnx.save(graph, path)
        COMPILER.compile(Job(path, path.parent, precision, ARCH), progress)
        return read_plan(path.parent), origin


def io_bytes(values: Iterable[onnx.ValueInfoProto]) -> int:
    """Bytes of the inputs or outputs of a graph of fixed sizes."""
    from onnx.helper import tensor_dtype_to_np_dtype

    kinds = [value.type.tensor_type for value in values]
    sides = ([dim.dim_value for dim in kind.shape.dim] for kind in kinds)
    return sum(
        math.prod(side) * tensor_dtype_to_np_dtype(kind.elem_type).itemsize
        for kind, side in zip(kinds, sides, strict=True)
    )
