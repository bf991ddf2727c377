# SPDX-License-Identifier: Apache-2.0
"""The plan of an INT8 graph that was not compiled on its device yet: that of the same graph in FP16, changed.

TensorRT for RTX does not help here: what it makes of Q/DQ is no likeness of TensorRT's (docs/int8.md). So Q/DQ is taken
out, the FP16 graph is planned, and its kernels get the types that `int8_cost` gives them.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from evit_deploy.engines.plan import Kernel, Plan, PlanTensor
from evit_deploy.errors import extra
from evit_deploy.profiles.predict.int8_cost import Int8Model, int8_calibration
from evit_deploy.profiles.predict.int8_flow import flow_of
from evit_deploy.profiles.predict.plans import plan_of
from evit_deploy.progress import Progress, silent

if TYPE_CHECKING:
    import onnx

QUANTISE = "quantise"
"""Type of a kernel that only quantises."""


def int8_plan_of(graph: onnx.ModelProto, progress: Progress = silent) -> tuple[Plan, str]:
    """The plan of a typed INT8 graph of fixed sizes, and who made that of its FP16 graph.

    Args:
        graph: The graph, with Q/DQ.
        progress: Told about every step.

    Raises:
        MissingExtraError: onnx is not installed.
    """
    with extra("export", "Reading a graph"):
        from evit_deploy.profiles.predict.typed_graph import TypedGraph
    half, layers = without_quantisation(graph)
    plan, origin = plan_of(half, progress=progress)
    return quantised_plan(plan, Int8Model(flow_of(TypedGraph(half), plan.working), _channels()), layers), origin


def quantised_plan(plan: Plan, model: Int8Model, layers: set[str]) -> Plan:
    """A plan with some convolutions in INT8. A kernel has one tensor for all that it moves in FP16, one for INT8."""
    mixed, kernels = model.mixed(layers), list[Kernel]()
    makers = {one.name: one.maker for one in model.flow.passed}
    added = {name: number for number, name in enumerate(mixed.added, start=len(model.flow.kernels))}
    for number, kernel in enumerate((None, *model.flow.kernels), start=-1):  # what is given is quantised first
        if kernel is not None:
            moved = _tensors(kernel.name, mixed.half.activations[number], mixed.eight.activations[number])
            weights = mixed.half.weights[number] + mixed.eight.weights[number]
            kernels.append(replace(kernel, inputs=moved, outputs=(), constants=round(weights)))
        for name in (name for name in added if makers[name] == number):
            amounts = mixed.half.activations[added[name]], mixed.eight.activations[added[name]]
            wide, narrow = _tensors(name, *amounts)
            kernels.append(Kernel(f"{QUANTISE} {name}", QUANTISE, (wide,), (narrow,), 0, (f"{name}.quantise",)))
    return replace(plan, kernels=tuple(kernels))


def _tensors(name: str, half: float, eight: float) -> tuple[PlanTensor, ...]:
    made = (("Half", round(half), 2), ("Int8", round(eight), 1))
    return tuple(PlanTensor(f"{name}, {dtype}", (size // each,), dtype, size) for dtype, size, each in made if size)


def _channels() -> int:
    return int8_calibration().constants.channels


def without_quantisation(graph: onnx.ModelProto) -> tuple[onnx.ModelProto, set[str]]:
    """The typed FP16 graph of an INT8 one, with small numbers for quantised weights, and its INT8 convolutions."""
    import onnx
    from onnx import helper, numpy_helper

    from evit_deploy.precision.graph import drop_unused

    result = onnx.ModelProto()
    result.CopyFrom(graph)
    constants = {tensor.name: tensor for tensor in result.graph.initializer}
    before = {node.output[0]: node.input[0] for node in result.graph.node if node.op_type == "QuantizeLinear"}
    names, draw = dict[str, str](), np.random.default_rng(0)
    for node in (node for node in result.graph.node if node.op_type == "DequantizeLinear"):
        weight = constants.get(node.input[0])
        if weight is None:
            names[node.output[0]] = before[node.input[0]]
        else:
            dtype = helper.tensor_dtype_to_np_dtype(constants[node.input[1]].data_type)
            values = draw.uniform(-0.02, 0.02, tuple(weight.dims)).astype(dtype)
            result.graph.initializer.append(numpy_helper.from_array(values, node.output[0]))
    kept = [node for node in result.graph.node if node.op_type not in ("QuantizeLinear", "DequantizeLinear")]
    layers = {node.name for node in kept if node.op_type == "Conv" and node.input[0] in names}
    for node in kept:
        node.input[:] = [names.get(name, name) for name in node.input]
    del result.graph.node[:]
    result.graph.node.extend(kept)
    drop_unused(result)
    return result, layers
