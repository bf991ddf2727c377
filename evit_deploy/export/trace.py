# SPDX-License-Identifier: Apache-2.0
"""From a module to an ONNX model: traced, simplified, named, checked.

PyTorch has two exporters. This uses the TorchScript one (``dynamo=False``): it writes the opset asked for, where the
newer one writes opset 18 and converts, and it names nodes after the modules they come from. The rewritten module has
static shapes, so tracing loses nothing.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Mapping, Sequence

import onnx
import onnxsim
import torch
from torch import Tensor, nn

from evit_deploy.errors import CheckFailedError, first_line

_TRAINING_OPS = {"BatchNormalization", "Dropout", "Identity"}


Axes = Mapping[str, Mapping[int, str]]
"""By tensor: the dimensions that stay open, and what to call them."""


def trace(
    module: nn.Module,
    example: Tensor | Mapping[str, Tensor],
    outputs: Sequence[str],
    opset: int,
    dynamic_batch: bool,
    axes: Axes | None = None,
) -> onnx.ModelProto:
    """Trace a module into ONNX.

    Args:
        module: A `DeployGraph`, or another module on static shapes.
        example: An input of the right shape and dtype, which is called "image", or several by their names, in the order
            of the module's arguments.
        outputs: Names of the outputs, in order.
        opset: ONNX opset, 17 to 20.
        dynamic_batch: Whether the first dimension of every tensor stays open.
        axes: Which dimensions stay open instead, where it is not the first one of every tensor.

    Returns:
        A simplified model of exactly that opset that passes ONNX's full check.

    Raises:
        CheckFailedError: The graph is not the one that was meant.
    """
    inputs = {"image": example} if isinstance(example, Tensor) else dict(example)
    if dynamic_batch and axes is None:
        axes = {name: {0: "batch"} for name in (*inputs, *outputs)}
    # Without onnxsim's own check on random input: the result is compared with PyTorch on real frames anyway.
    model, _ = onnxsim.simplify(_traced(module, inputs, outputs, opset, axes), check_n=0)
    lift_constants(model)
    tidy_names(model)
    check_graph(model, opset)
    return model  # type: ignore[no-any-return]


def _traced(
    module: nn.Module, inputs: Mapping[str, Tensor], outputs: Sequence[str], opset: int, axes: Axes | None
) -> onnx.ModelProto:
    buffer = io.BytesIO()
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # deprecation of the exporter, and tracer warnings about int(shape)
        torch.onnx.export(
            module, tuple(inputs.values()), buffer, dynamo=False, opset_version=opset,  # type: ignore[arg-type]
            input_names=list(inputs), output_names=list(outputs), dynamic_axes=axes, do_constant_folding=True,
        )  # fmt: skip
    return onnx.load_from_string(buffer.getvalue())


def lift_constants(model: onnx.ModelProto) -> None:
    """Make the value of every Constant node an initializer, where compilers expect weights and shapes."""
    graph = model.graph
    for node in [node for node in graph.node if node.op_type == "Constant"]:
        tensor = graph.initializer.add()
        tensor.CopyFrom(node.attribute[0].t)
        tensor.name = node.output[0]
        graph.node.remove(node)


def tidy_names(model: onnx.ModelProto) -> None:
    """Name every node after its module and its operator, and every tensor after the node that makes it."""
    graph = model.graph
    kept = {value.name for value in (*graph.input, *graph.output)}
    renamed: dict[str, str] = {}
    taken: dict[str, int] = {}
    for node in graph.node:
        name = _unique(_readable(node.name or node.op_type), taken)
        node.name = name
        for index, output in enumerate(node.output):
            if output and output not in kept:
                renamed[output] = name if index == 0 else f"{name}.{index}"
    for tensor in graph.initializer:
        renamed[tensor.name] = _unique(_readable(tensor.name), taken)
    _rename_tensors(graph, renamed)


def _readable(name: str) -> str:
    """``/network/backbone/stages.0/op_list.1/main/conv/Conv`` → ``backbone.stages.0.op_list.1.main.conv.Conv``."""
    parts = re.sub(r"[^0-9A-Za-z_.]+", ".", name).strip(".")
    return re.sub(r"^network\.", "", parts) or "node"


def _unique(name: str, taken: dict[str, int]) -> str:
    taken[name] = taken.get(name, 0) + 1
    return name if taken[name] == 1 else f"{name}_{taken[name]}"


def _rename_tensors(graph: onnx.GraphProto, renamed: dict[str, str]) -> None:
    for node in graph.node:
        node.input[:] = [renamed.get(name, name) for name in node.input]
        node.output[:] = [renamed.get(name, name) for name in node.output]
    for value in (*graph.initializer, *graph.value_info):
        value.name = renamed.get(value.name, value.name)


def hide_output(model: onnx.ModelProto, name: str) -> None:
    """Make an output an inner tensor again, under the same name."""
    outputs = model.graph.output
    (index,) = [index for index, value in enumerate(outputs) if value.name == name]
    model.graph.value_info.append(outputs[index])
    del outputs[index]


def check_graph(model: onnx.ModelProto, opset: int) -> None:
    """Check a finished graph: valid ONNX, the opset asked for, no leftovers of training.

    Raises:
        CheckFailedError: Any of that is not so.
    """
    found = {entry.domain: entry.version for entry in model.opset_import}
    if found.get("") != opset or len(found) != 1:
        raise CheckFailedError("the graph has the wrong opset", found=str(found), expected=str(opset))
    left = sorted({node.op_type for node in model.graph.node} & _TRAINING_OPS)
    if left:
        raise CheckFailedError("the graph holds operators it should not need", found=", ".join(left))
    try:
        onnx.checker.check_model(model, full_check=True)
    except onnx.checker.ValidationError as error:
        raise CheckFailedError("the graph is not valid ONNX", found=first_line(error)) from error
