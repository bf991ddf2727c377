# SPDX-License-Identifier: Apache-2.0
"""INT8 as stock tools do it beside ours, for every segmenter: the table of docs/int8.md.

    python tools/int8_table.py --out table.json b0-seg b1-seg      # the demo weights: 200 scenes with labels
    python tools/int8_table.py --frames 8 b2-seg l1-seg            # random weights: agreement and error only

"stock" is ONNX Runtime's quantize_static with its defaults for Q/DQ (per-channel symmetric weights, min-max, every
operator it knows); ModelOpt's ONNX quantisation wraps the same function, and `--modelopt FILE` takes its output. "ours"
is every convolution that may be INT8, calibrated tensor by tensor; the search can only give up layers of it.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from evit_deploy.data.metrics import ConfusionMatrix
from evit_deploy.data.resize import upsample_bicubic
from evit_deploy.data.scenes import render_scene
from evit_deploy.export import ExportOptions, export_model
from evit_deploy.manifest import Manifest
from evit_deploy.precision.arrange import arrange
from evit_deploy.precision.graph import load_graph
from evit_deploy.precision.int8.calibrate import calibrate
from evit_deploy.precision.int8.layers import find_layers, mac_share
from evit_deploy.precision.int8.place import place
from evit_deploy.runtime.backends.onnxruntime import session_options
from evit_deploy.runtime.engine import available_cores

CALIBRATED, JUDGED = 4_000_000, 5_000_000
"""Numbers of the first scene to calibrate with, and of the first to judge with: neither was trained on."""

Array = npt.NDArray[Any]


class _Reader(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, feeds: Iterator[dict[str, Array]]) -> None:
        self._feeds = feeds

    def get_next(self) -> dict[str, Array] | None:
        """The next feed."""
        return next(self._feeds, None)


def scenes(first: int, count: int, size: tuple[int, int]) -> Iterator[dict[str, Array]]:
    """Scenes as feeds of a graph that takes images."""
    for number in range(first, first + count):
        yield {"image": render_scene(number, *size).image[None]}


def stock(source: Path, result: Path, size: tuple[int, int], count: int) -> onnx.ModelProto:
    """What ONNX Runtime's quantisation makes of an export by default."""
    quantize_static(
        source, result, _Reader(scenes(CALIBRATED, count, size)), quant_format=QuantFormat.QDQ, per_channel=True,
        activation_type=QuantType.QInt8, weight_type=QuantType.QInt8,
        extra_options={"ActivationSymmetric": True, "WeightSymmetric": True},
    )  # fmt: skip
    return onnx.load(result)


def logits_of(model: onnx.ModelProto) -> ort.InferenceSession:
    """A session that gives the logits of a graph, computed as its Q/DQ say."""
    options = session_options(available_cores())
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def compare(graphs: dict[str, onnx.ModelProto], size: tuple[int, int], count: int, labelled: bool) -> dict[str, Any]:
    """mIoU in points, where there are labels; equal classes and relative L2 of the logits against FP32."""
    sessions = {name: logits_of(graph) for name, graph in graphs.items()}
    matrices: dict[str, ConfusionMatrix] = {}
    rows: dict[str, list[tuple[float, float]]] = {name: [] for name in graphs}
    for number in range(JUDGED, JUDGED + count):
        scene = render_scene(number, *size)
        found = {
            name: session.run(["logits"], {"image": scene.image[None]})[0][0] for name, session in sessions.items()
        }
        exact = found["FP32"]
        for name, logits in found.items():
            same = float((logits.argmax(0) == exact.argmax(0)).mean())
            rows[name].append((same, float(np.linalg.norm(logits - exact) / np.linalg.norm(exact))))
            if labelled:
                matrix = matrices.setdefault(name, ConfusionMatrix(len(logits)))
                matrix.update(upsample_bicubic(logits, *size).argmax(0), scene.labels)
    answer: dict[str, Any] = {}
    for name, pairs in rows.items():
        agreement, error = np.mean(pairs, axis=0)
        answer[name] = {"agreement": float(agreement), "relative_l2": float(error)}
        if labelled:
            answer[name]["miou"] = 100 * matrices[name].mean_iou()
    return answer


def row(name: str, size: tuple[int, int], calibrated: int, judged: int, others: Sequence[Path]) -> dict[str, Any]:
    """One segmenter."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / name
        weights = "demo" if name in ("b0-seg", "b1-seg") else "random"
        manifest, _ = export_model(name, folder, ExportOptions(weights=weights, resolution=size, output="logits"))
        assert isinstance(manifest, Manifest)
        path = folder / manifest.graph.file
        exported = load_graph(path)
        arranged = arrange(exported, "conv")
        layers = find_layers(arranged)
        chosen = [layer.name for layer in layers]
        tensors = list(dict.fromkeys(layer.source for layer in layers))
        feeds = scenes(CALIBRATED, calibrated, size)
        calibration = calibrate(arranged, tensors, feeds, total=calibrated)
        graphs = {
            "FP32": exported,
            "stock": stock(path, Path(scratch) / "stock.onnx", size, calibrated),
            "ours": place(arranged, chosen, calibration.scales),
        }
        graphs |= {other.stem: onnx.load(other) for other in others}
        answer = compare(graphs, size, judged, weights == "demo")
    share = mac_share(exported, arranged, chosen)
    return {"weights": weights, "size": size, "frames": judged, "int8_mac_share": share, **answer}


def main() -> None:
    """Print and write the rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+")
    parser.add_argument("--size", default="256x512")
    parser.add_argument("--calibration", type=int, default=32)
    parser.add_argument("--frames", type=int, default=200)
    parser.add_argument("--modelopt", type=Path, action="append", default=[], help="a graph that ModelOpt quantised")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    height, width = (int(side) for side in options.size.split("x"))
    table = {}
    for name in options.models:
        table[name] = row(name, (height, width), options.calibration, options.frames, options.modelopt)
        print(name, json.dumps(table[name]), flush=True)
        if options.out:
            options.out.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
