# SPDX-License-Identifier: Apache-2.0
"""Does bias correction buy accuracy? Measured for docs/int8.md; what it found is why the package has none.

    python tools/int8_bias.py b0-seg b1-seg

Each INT8 convolution's mean error per output channel, on calibration frames and with exact inputs, is taken off its
bias (Nagel et al., "Data-free quantization through weight equalization and bias correction", ICCV 2019, the empirical
form).
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
from int8_table import CALIBRATED, compare, scenes
from onnx import helper, numpy_helper

from evit_deploy.export import ExportOptions, export_model
from evit_deploy.precision.arrange import arrange
from evit_deploy.precision.graph import drop_unused, load_graph
from evit_deploy.precision.int8.calibrate import calibrate
from evit_deploy.precision.int8.layers import Layer, find_layers
from evit_deploy.precision.int8.place import place

Array = npt.NDArray[Any]


def corrected(
    model: onnx.ModelProto, layers: Sequence[Layer], scales: dict[str, float], feeds: Sequence[dict[str, Array]]
) -> onnx.ModelProto:
    """The graph with all layers in INT8 and their mean errors taken off."""
    result = place(model, [layer.name for layer in layers], scales)
    for layer in layers:
        exact = _channel_means(model, layer.result, feeds)
        found = _channel_means(place(model, [layer.name], scales, check=False), layer.result, feeds)
        _add_to_bias(result, layer.name, exact - found)
    return result


def _channel_means(model: onnx.ModelProto, tensor: str, feeds: Sequence[dict[str, Array]]) -> Array:
    cut = onnx.ModelProto()
    cut.CopyFrom(model)
    cut.graph.node.append(helper.make_node("GlobalAveragePool", [tensor], ["mean@"]))
    del cut.graph.output[:]
    cut.graph.output.append(onnx.ValueInfoProto(name="mean@"))
    drop_unused(cut)
    options = ort.SessionOptions()
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    session = ort.InferenceSession(cut.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return np.asarray(np.mean([session.run(None, feed)[0] for feed in feeds], axis=0).ravel())


def _add_to_bias(model: onnx.ModelProto, layer: str, change: Array) -> None:
    node = next(node for node in model.graph.node if node.name == layer)
    tensor = next((one for one in model.graph.initializer if len(node.input) > 2 and one.name == node.input[2]), None)
    bias = (0 if tensor is None else numpy_helper.to_array(tensor)) + change
    name = f"{layer}.bias@corrected"
    model.graph.initializer.append(numpy_helper.from_array(bias.astype(np.float32), name))
    node.input[:] = [*node.input[:2], name]


def main() -> None:
    """Print mIoU on 200 scenes with and without."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+")
    size, frames = (256, 512), 200
    for name in parser.parse_args().models:
        with tempfile.TemporaryDirectory() as scratch:
            options = ExportOptions(weights="demo", resolution=size, output="logits")
            export_model(name, Path(scratch) / name, options)
            model = arrange(load_graph(Path(scratch) / name / "model.onnx"))
        layers = find_layers(model)
        tensors = list(dict.fromkeys(layer.source for layer in layers))
        scales = calibrate(model, tensors, scenes(CALIBRATED, 32, size), total=32).scales
        graphs = {
            "FP32": model,
            "INT8": place(model, [layer.name for layer in layers], scales),
            "corrected": corrected(model, layers, scales, list(scenes(CALIBRATED, 16, size))),
        }
        print(name, compare(graphs, size, frames, labelled=True), flush=True)


if __name__ == "__main__":
    main()
