# SPDX-License-Identifier: Apache-2.0
"""Measure the last step of segmentation, logits to class map, in the three forms it could have been exported in.

``python tools/measure_class_map.py [--size 512x1024]`` prints median milliseconds in ONNX Runtime and OpenVINO, all
forms timed in turns, and how many pixels agree with PyTorch. The table is in docs/performance.md.
"""

from __future__ import annotations

import argparse
import io
import warnings
from collections.abc import Callable

import numpy as np
import onnxruntime as ort
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from evit_deploy.export.graph import LOGITS_STRIDE, PixelClassifier
from evit_deploy.export.rewrite import PhaseUpsample
from evit_deploy.profiles.latency import Subject, measure_together
from evit_deploy.runtime.backends.openvino import core
from evit_deploy.runtime.engine import available_cores

CLASSES, RUNS = 19, 20


class Resize(nn.Module):
    """Bicubic Resize, then argmax: what tracing the reference gives."""

    def forward(self, logits: Tensor) -> Tensor:
        """Map [1, C, h, w] to uint8 [1, H, W]."""
        full = F.interpolate(logits, scale_factor=float(LOGITS_STRIDE), mode="bicubic", align_corners=False)
        return full.argmax(1).to(torch.uint8)


class InterleaveFirst(nn.Module):
    """Upsampling as a convolution, interleaved into an image, then argmax."""

    def __init__(self) -> None:
        super().__init__()
        self.upsample = PhaseUpsample(LOGITS_STRIDE)

    def forward(self, logits: Tensor) -> Tensor:
        """Map [1, C, h, w] to uint8 [1, H, W]."""
        return self.upsample(logits).argmax(1).to(torch.uint8)  # type: ignore[no-any-return]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", default="512x1024")
    height, width = (int(side) // LOGITS_STRIDE for side in parser.parse_args().size.split("x"))
    logits = torch.randn(1, CLASSES, height, width, generator=torch.Generator().manual_seed(0))
    forms = {"Resize, argmax": Resize(), "convolution, interleave, argmax": InterleaveFirst(),
             "convolution, argmax, interleave": PixelClassifier(LOGITS_STRIDE, confidence=False)}  # fmt: skip
    expected = Resize()(logits).numpy()
    calls: dict[tuple[str, str], Callable[[], np.ndarray]] = {}
    for name, form in forms.items():
        graph = _export(form, logits)
        calls[name, "onnxruntime"] = _onnxruntime(graph, logits.numpy())
        calls[name, "openvino"] = _openvino(graph, logits.numpy())
    subjects = [Subject(" ".join(key), call, RUNS) for key, call in calls.items()]
    medians = dict(zip(calls, (latency.p50 for latency in measure_together(subjects)), strict=True))
    print("| form | ONNX Runtime ms | OpenVINO FP32 ms | pixels equal |\n|---|---|---|---|")
    for name in forms:
        cells = [f"{medians[name, backend]:.1f}" for backend in ("onnxruntime", "openvino")]
        print(f"| {name} | {' | '.join(cells)} | {(calls[name, 'onnxruntime']() == expected).mean():.4%} |")


def _export(form: nn.Module, logits: Tensor) -> bytes:
    buffer = io.BytesIO()
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.onnx.export(form.eval(), (logits,), buffer, dynamo=False, opset_version=17, input_names=["x"])  # type: ignore[arg-type]
    return buffer.getvalue()


def _onnxruntime(graph: bytes, x: np.ndarray) -> Callable[[], np.ndarray]:
    options = ort.SessionOptions()
    options.intra_op_num_threads = available_cores()
    session = ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, {"x": x})[0]


def _openvino(graph: bytes, x: np.ndarray) -> Callable[[], np.ndarray]:
    openvino = core()
    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": available_cores()}
    request = openvino.compile_model(openvino.read_model(graph, b""), "CPU", settings).create_infer_request()
    return lambda: request.infer({0: x}, share_inputs=True, share_outputs=True)[0]


if __name__ == "__main__":
    main()
