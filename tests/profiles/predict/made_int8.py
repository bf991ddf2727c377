# SPDX-License-Identifier: Apache-2.0
"""An inverted bottleneck, and what is predicted of it."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx

sys.path.insert(0, str(Path(__file__).parents[3] / "tools"))

from int8_graphs import Network

from evit_deploy.precision.int8.layers import find_layers
from evit_deploy.profiles.predict import conditions
from evit_deploy.profiles.predict.fusion import plan_from_graph
from evit_deploy.profiles.predict.int8 import PredictedOracle
from evit_deploy.profiles.predict.int8_flow import Flow, flow_of
from evit_deploy.profiles.predict.plans import io_bytes
from evit_deploy.profiles.predict.subject import Subject
from evit_deploy.profiles.predict.typed_graph import TypedGraph
from tests.profiles.predict.made import subject

ORIN = conditions("orin")
SIDE, WIDTH, INNER = 64, 32, 128
STEM, EXPAND, DEPTH, PROJECT, LAST = (f"Conv_{number}" for number in (1, 3, 5, 7, 9))
ALL = (EXPAND, DEPTH, PROJECT)


def block(*, width: int = WIDTH) -> onnx.ModelProto:
    """Stem, an inverted bottleneck with its residual, and a head: nodes are numbered as they come."""
    net = Network(1, 2 * SIDE, "Relu")
    x = net.conv(net.picture, width, 3, 2)
    inner = net.conv(net.conv(x, INNER), INNER, 3, groups=INNER)
    y = net.add(net.conv(inner, width, act=None), x)
    return net.model(net.conv(y, 8, act=None))


def planned(model: onnx.ModelProto) -> Flow:
    return flow_of(TypedGraph(model), plan_from_graph(model).working)


def made(model: onnx.ModelProto) -> Subject:
    inputs, outputs = io_bytes(model.graph.input), 2 * 8 * SIDE * SIDE
    return subject(plan=plan_from_graph(model), inputs=inputs, outputs=outputs)


def oracle(model: onnx.ModelProto, machine=ORIN) -> PredictedOracle:
    return PredictedOracle(made(model), model, [layer.name for layer in find_layers(model)], machine)


def filled(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same with numbers for weights, which quantising needs."""
    for tensor in model.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT16:
            values = np.full(tuple(tensor.dims), 0.01, np.float16)
            tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    model.opset_import[0].version, model.ir_version = 17, 8
    return onnx.shape_inference.infer_shapes(model)
