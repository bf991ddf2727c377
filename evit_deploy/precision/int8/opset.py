# SPDX-License-Identifier: Apache-2.0
"""Raise a graph to the opset that INT8 needs: Q/DQ take FP16 scales from 19 on.

Exports are of opset 17 by default, which every TensorRT reads. Of the operators they hold, only reductions changed up
to 19: their axes are an input since 18. onnx's own version converter does the same, but infers all shapes on the way
and gives nodes new names.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper, numpy_helper

OPSET = 19
_AXES_AS_INPUT = {"ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2", "ReduceSumSquare"}


def raise_opset(model: onnx.ModelProto) -> None:
    """Raise a model to opset 19 in place, where it is of an earlier one."""
    entry = next(entry for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    if entry.version >= OPSET:
        return
    if entry.version < 18:
        for node in model.graph.node:
            if node.op_type in _AXES_AS_INPUT:
                _move_axes(model.graph, node)
            elif node.op_type == "Split" and len(node.input) < 2:
                node.attribute.append(helper.make_attribute("num_outputs", len(node.output)))
    entry.version = OPSET


def _move_axes(graph: onnx.GraphProto, node: onnx.NodeProto) -> None:
    axes = next((item for item in node.attribute if item.name == "axes"), None)
    if axes is None:
        return
    name = f"{node.name}.axes"
    graph.initializer.append(numpy_helper.from_array(np.array(axes.ints, np.int64), name))
    node.input.append(name)
    node.attribute.remove(axes)
