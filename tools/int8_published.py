# SPDX-License-Identifier: Apache-2.0
"""Latencies in FP16 and in INT8 of the same network on the same Orin, as others published them.

Each was taken from the page that it names, in November 2026. Only Orins, only the GPU, only TensorRT; pairs whose
network, precision or board a page leaves open were left out.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from evit_deploy.profiles.predict.machine import conditions
from evit_deploy.profiles.predict.prediction import Conditions

ONNXSIM = "https://github.com/onnxsim/onnxsim/blob/master/scripts/nvidia/README.md (pull request 1742)"
ULTRALYTICS = "https://docs.ultralytics.com/guides/nvidia-jetson/ (Ultralytics 8.3.157)"
CHOI = "https://github.com/hokwangchoi/jetson-orin-nano-benchmarks"
THE0807 = "https://github.com/the0807/YOLOv8-ONNX-TensorRT"
NVIDIA = "https://github.com/NVIDIA-AI-IOT/yolo_deepstream/tree/main/yolov7_qat"


@dataclass(frozen=True)
class Pair:
    """One network on one board.

    Attributes:
        network: Its name in `int8_networks.NETWORKS`.
        board: One of `BOARDS`.
        batch: Frames.
        fp16_ms: Published milliseconds in FP16.
        int8_ms: Published milliseconds in INT8.
        source: Where.
    """

    network: str
    board: str
    batch: int
    fp16_ms: float
    int8_ms: float
    source: str

    @property
    def ratio(self) -> float:
        """INT8 over FP16."""
        return self.int8_ms / self.fp16_ms

    @property
    def family(self) -> str:
        """What is held out together: one kind of network."""
        return self.network.split("-")[0].rstrip("nsmlx")


def boards() -> dict[str, Conditions]:
    """Machines by name. An Orin Nano before JetPack 6.2 and an Orin NX in MAXN have lower clocks than the tables'."""
    nano, nx = conditions("orin-nano"), conditions("orin-nx")
    return {
        "AGX Orin": conditions("orin"),
        "AGX Orin, CUDA graph": conditions("orin", cuda_graph=True),
        "Orin Nano Super": nano,
        "Orin Nano": replace(_slower(nano, 625), bandwidth_gbs=68.0),
        "Orin NX": _slower(nx, 918),
    }


def _slower(machine: Conditions, mhz: float) -> Conditions:
    assert machine.clock_mhz is not None
    return replace(machine, clock_mhz=mhz, peak_tflops=machine.peak_tflops * mhz / machine.clock_mhz)


PAIRS = (
    Pair("ResNet-18", "Orin Nano Super", 1, 0.758, 0.485, ONNXSIM),
    Pair("ResNet-18", "Orin Nano Super", 8, 3.537, 1.927, ONNXSIM),
    Pair("ResNet-50", "Orin Nano Super", 1, 1.814, 1.190, ONNXSIM),
    Pair("ResNet-50", "Orin Nano Super", 8, 8.816, 4.930, ONNXSIM),
    Pair("MobileNetV2", "Orin Nano Super", 1, 0.850, 0.781, ONNXSIM),
    Pair("MobileNetV2", "Orin Nano Super", 8, 3.925, 2.446, ONNXSIM),
    Pair("YOLOv7", "AGX Orin, CUDA graph", 1, 1000 / 140, 1000 / 207, NVIDIA),
    Pair("YOLOv7", "AGX Orin, CUDA graph", 16, 16000 / 168, 16000 / 266, NVIDIA),
    Pair("YOLOv8n", "Orin Nano Super", 1, 4.43, 3.49, CHOI),
    Pair("YOLOv8n", "Orin Nano", 1, 7.3, 5.8, THE0807),
    Pair("YOLOv8s", "Orin Nano", 1, 11.4, 8.2, THE0807),
    Pair("YOLOv8m", "Orin Nano", 1, 23.6, 17.1, THE0807),
    Pair("YOLO11n", "AGX Orin", 1, 2.55, 2.18, ULTRALYTICS),
    Pair("YOLO11s", "AGX Orin", 1, 3.65, 2.81, ULTRALYTICS),
    Pair("YOLO11m", "AGX Orin", 1, 6.25, 4.69, ULTRALYTICS),
    Pair("YOLO11l", "AGX Orin", 1, 8.08, 6.12, ULTRALYTICS),
    Pair("YOLO11x", "AGX Orin", 1, 13.55, 9.40, ULTRALYTICS),
    Pair("YOLO11n", "Orin Nano Super", 1, 4.53, 3.70, ULTRALYTICS),
    Pair("YOLO11s", "Orin Nano Super", 1, 6.93, 5.08, ULTRALYTICS),
    Pair("YOLO11m", "Orin Nano Super", 1, 13.50, 9.12, ULTRALYTICS),
    Pair("YOLO11l", "Orin Nano Super", 1, 17.48, 11.87, ULTRALYTICS),
    Pair("YOLO11x", "Orin Nano Super", 1, 32.58, 19.90, ULTRALYTICS),
    Pair("YOLO11n", "Orin NX", 1, 4.73, 3.90, ULTRALYTICS),
    Pair("YOLO11s", "Orin NX", 1, 7.31, 5.33, ULTRALYTICS),
    Pair("YOLO11m", "Orin NX", 1, 14.48, 9.74, ULTRALYTICS),
    Pair("YOLO11l", "Orin NX", 1, 18.59, 12.60, ULTRALYTICS),
    Pair("YOLO11x", "Orin NX", 1, 35.78, 21.60, ULTRALYTICS),
)
