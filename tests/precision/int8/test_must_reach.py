# SPDX-License-Identifier: Apache-2.0
"""What INT8 must reach on whole networks: points lost, numbers kept, memory taken."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Collection, Iterator
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch

from evit_deploy.data.images import installed_photos, read_image
from evit_deploy.data.metrics import ConfusionMatrix
from evit_deploy.data.resize import upsample_bicubic
from evit_deploy.data.scenes import render_scene
from evit_deploy.export import ExportOptions, export_model
from evit_deploy.manifest import Manifest
from evit_deploy.precision.arrange import arrange
from evit_deploy.precision.int8.answers import Judge
from evit_deploy.precision.int8.calibrate import calibrate
from evit_deploy.precision.int8.curve import Goal
from evit_deploy.precision.int8.layers import Layer, conv_macs, find_layers, mac_share
from evit_deploy.precision.int8.oracle import Cost
from evit_deploy.precision.int8.place import place
from evit_deploy.precision.int8.search import search
from evit_deploy.runtime.preprocess import fit_frame
from tests.sam import specs
from tests.synthetic import make_weights

pytestmark = pytest.mark.slow

CALIBRATED, JUDGED, HELD_OUT = 4_000_000, 5_000_000, 6_000_000
SIZE = (256, 512)


def calibrated(model: onnx.ModelProto, feeds: list[dict]) -> tuple[tuple[Layer, ...], dict[str, float]]:
    layers = find_layers(model)
    tensors = list(dict.fromkeys(layer.source for layer in layers))
    return layers, calibrate(model, tensors, feeds, total=len(feeds)).scales


def session(model: onnx.ModelProto) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("name", ["b0-seg", "b1-seg"])
def test_two_hundred_scenes_lose_at_most_half_a_point(name: str, tmp_path: Path) -> None:
    """Demo weights, every layer that may be INT8: at least 70 % of all multiply-adds of convolutions."""
    manifest, _ = export_model(name, tmp_path / name, ExportOptions(weights="demo", resolution=SIZE, output="logits"))
    exported = onnx.load(tmp_path / name / "model.onnx")
    model = arrange(exported)
    feeds = [{"image": render_scene(CALIBRATED + i, *SIZE).image[None]} for i in range(32)]
    layers, scales = calibrated(model, feeds)
    names = [layer.name for layer in layers]
    assert mac_share(exported, model, names) >= 0.7
    graphs = {"FP32": session(model), "INT8": session(place(model, names, scales))}
    matrices = {key: ConfusionMatrix(manifest.model.classes) for key in graphs}
    for number in range(200):
        scene = render_scene(JUDGED + number, *SIZE)
        for key, graph in graphs.items():
            logits = graph.run(["logits"], {"image": scene.image[None]})[0][0]
            matrices[key].update(upsample_bicubic(logits, *SIZE).argmax(0), scene.labels)
    points = {key: 100 * matrix.mean_iou() for key, matrix in matrices.items()}
    print(name, points)
    assert points["FP32"] > 60  # weights that have learned something
    assert points["FP32"] - points["INT8"] <= 0.5


class Arithmetic:
    """Costs are the multiply-adds that stay in FP16."""

    words = key = "multiply-adds in FP16"

    def __init__(self, model: onnx.ModelProto, layers: Collection[Layer]) -> None:
        self._all, self._own = sum(conv_macs(model).values()), {layer.name: layer.macs for layer in layers}

    def cost(self, layers: Collection[str]) -> Cost:
        ratio = 1 - sum(self._own[name] for name in layers) / self._all
        return Cost(ratio, ratio, ratio, ratio)


class Frames:
    """Frames without labels."""

    def __init__(self, feeds: list[dict]) -> None:
        self._feeds = feeds

    def __len__(self) -> int:
        return len(self._feeds)

    def __iter__(self) -> Iterator[dict]:
        return iter(self._feeds)

    def labels(self, index: int) -> None:
        return None


def pictures(manifest: Manifest, first: int, count: int, side: slice) -> list[dict]:
    """Scenes, and one half of every photo that comes with installed packages."""
    photos = [read_image(path)[:, side] for path in installed_photos()]
    assert photos
    frames = [*photos, *(render_scene(first + i, 224, 448).image for i in range(count))]
    return [{"image": fit_frame(frame, manifest.preprocess, *manifest.graph.resolution)[None]} for frame in frames]


@pytest.mark.parametrize("name", ["b0-cls", "b1-cls", "l1-cls"])
def test_classifiers_keep_their_numbers(name: str, tmp_path: Path) -> None:
    """Random weights have no margins to hide behind: logits themselves are held to 5 %, by giving up layers."""
    weights = make_weights(specs()[name]["state_dict"], 0)
    torch.save({key: torch.from_numpy(value) for key, value in weights.items()}, tmp_path / "weights.pt")
    manifest, _ = export_model(name, tmp_path / name, ExportOptions(weights=str(tmp_path / "weights.pt")))
    exported = onnx.load(tmp_path / name / "model.onnx")
    model = arrange(exported)
    left, right = slice(None, 200), slice(200, None)
    layers, scales = calibrated(model, pictures(manifest, CALIBRATED, 32, left))
    judge = Judge(model, scales, Frames(pictures(manifest, JUDGED, 9, left)), "cls")
    goal = Goal(max_drop=100, max_error=0.035)  # judged on few frames, so with a margin
    found = search(layers, Arithmetic(exported, layers), judge, goal, minutes=2).chosen
    assert found is not None
    plain, quantised = session(model), session(place(model, found.layers, scales))
    errors = []
    for feed in pictures(manifest, HELD_OUT, 9, right):
        exact, ours = (graph.run(["logits"], feed)[0] for graph in (plain, quantised))
        errors.append(float(np.linalg.norm(ours - exact) / np.linalg.norm(exact)))
    share = mac_share(exported, model, found.layers)
    print(name, f"{share:.3f} of multiply-adds, relative L2 {np.mean(errors):.4f}, worst {max(errors):.4f}")
    assert np.mean(errors) <= 0.05
    assert share > 0.3


def test_calibration_is_flat_in_memory(tmp_path: Path) -> None:
    """b1-seg at 512×1024: the peak of 30 frames is that of 10, and far below 1.5 GB; so it is for 500."""
    export_model("b1-seg", tmp_path / "b1", ExportOptions(weights="demo", resolution=(512, 1024)))
    program = """
import re, sys
from pathlib import Path
import onnx
from evit_deploy.data.scenes import render_scene
from evit_deploy.precision.arrange import arrange
from evit_deploy.precision.int8.calibrate import calibrate
from evit_deploy.precision.int8.layers import find_layers
model = arrange(onnx.load(sys.argv[1]))
tensors = list(dict.fromkeys(layer.source for layer in find_layers(model)))
peaks = []
def peak():  # getrusage would tell that of the process that began this one
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
def frames():
    for number in range(30):
        peaks.append(peak())
        yield {"image": render_scene(number, 512, 1024).image[None]}
calibrate(model, tensors, frames(), total=30)
print(peaks[10], peak())
"""
    command = [sys.executable, "-c", program, str(tmp_path / "b1" / "model.onnx")]
    answer = subprocess.run(command, capture_output=True, text=True, check=True)
    ten, thirty = (int(kilobytes) / 1024 for kilobytes in answer.stdout.split())
    print(f"{ten:.0f} MB after 10 frames, {thirty:.0f} MB after 30")
    assert thirty < 1536 and thirty - ten < 50
