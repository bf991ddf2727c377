# SPDX-License-Identifier: Apache-2.0
"""What TensorRT for RTX makes of a graph, and what an AGX Orin would need for it by a model of published latencies."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import onnx
from onnx import TensorProto

from evit_deploy.engines.compiler import Job
from evit_deploy.engines.flops import graph_math
from evit_deploy.engines.plan import Plan, read_plan
from evit_deploy.engines.tensorrt_rtx import COMPILER
from evit_deploy.precision.arrange import apply_pass
from evit_deploy.precision.fp16 import lower_fp16
from evit_deploy.precision.graph import GraphView
from evit_deploy.progress import silent

ARCH, GRAPH = "sm80", "model.onnx"
_FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16)
_WEIGHT_BYTES = 2


@dataclass(frozen=True)
class Cost:
    """What one run of an engine costs.

    Attributes:
        kernels: Kernels that run on the device.
        traffic: Bytes of activations that they read and write.
        macs: Multiply-adds of convolutions and matrix products.
        weights: Bytes of weights, two each.
        transfer: Bytes of the engine's inputs and outputs.
    """

    kernels: int
    traffic: int
    macs: int
    weights: int
    transfer: int

    def __add__(self, other: Cost) -> Cost:
        """Cost of running both, one after the other."""
        return Cost(
            self.kernels + other.kernels,
            self.traffic + other.traffic,
            self.macs + other.macs,
            self.weights + other.weights,
            self.transfer + other.transfer,
        )

    @property
    def orin_ms(self) -> float:
        """Predicted milliseconds on a Jetson AGX Orin: a prediction, not a measurement.

        Least squares over the FP16 latencies that the authors published for it, transfer of FP32 input and output
        included: traffic over 204.8 GB/s, operations over 42.6 Tflop/s, kernels, and bytes moved to and from the
        device. Median error over those models 2.6 %, largest 14 %.
        """
        moved = (self.traffic + self.weights) / 204.8e9 * 1e3
        computed = 2 * self.macs / 42.6e12 * 1e3
        return 2.257 * moved + 0.594 * computed + 0.00723 * self.kernels + 0.0570 * self.transfer / 1e6


def applied(model: onnx.ModelProto, *changes: Callable[[GraphView], None]) -> onnx.ModelProto:
    """A copy of a graph with changes made to it, one after the other."""
    result = onnx.ModelProto()
    result.CopyFrom(model)
    for change in changes:
        result = apply_pass(result, change)
    onnx.checker.check_model(result, full_check=True)
    return result


def compile_fp16(model: onnx.ModelProto, io: str = "fp32") -> tuple[Cost, Plan]:
    """Type an FP32 graph in FP16, compile it, and read cost and plan."""
    typed, _ = lower_fp16(model, io)
    return compile_typed(typed)


def compile_typed(typed: onnx.ModelProto) -> tuple[Cost, Plan]:
    """Compile a graph of whatever types, and read cost and plan."""
    with tempfile.TemporaryDirectory() as name:
        plan = compiled_plan(typed, Path(name))
        macs = sum(graph_math(Path(name) / GRAPH).flops.values()) // 2
    return Cost(len(plan.working), plan.traffic, macs, _weights(typed), _transfer(typed)), plan


def compiled_plan(typed: onnx.ModelProto, folder: Path) -> Plan:
    """Write a graph of whatever types into a folder, compile it there for `ARCH`, and read the plan."""
    onnx.save(typed, folder / GRAPH)
    COMPILER.compile(Job(folder / GRAPH, folder, "fp16", ARCH), silent)
    return read_plan(folder)


def _weights(model: onnx.ModelProto) -> int:
    tensors = [tensor for tensor in model.graph.initializer if tensor.data_type in _FLOATS]
    return _WEIGHT_BYTES * sum(_size(tensor.dims) for tensor in tensors)


def _transfer(model: onnx.ModelProto) -> int:
    kinds = [value.type.tensor_type for value in (*model.graph.input, *model.graph.output)]
    return sum(
        _size(dim.dim_value for dim in kind.shape.dim) * onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type).itemsize
        for kind in kinds
    )


def _size(dims: Iterable[int]) -> int:
    return math.prod(dims)
