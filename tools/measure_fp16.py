# SPDX-License-Identifier: Apache-2.0
"""What FP16 costs in accuracy: mIoU of the demo weights on held-out scenes, exported FP32 graph against typed graph.

    python tools/measure_fp16.py b1-seg --resolution 512x1024 --scenes 40

Both graphs end in a class map. The typed one is emulated faithfully on the CPU, as `build` does.
"""

from __future__ import annotations

import argparse

import numpy as np
from demo_export import HELD_OUT

from evit_deploy.data.metrics import ConfusionMatrix
from evit_deploy.data.scenes import render_scene
from evit_deploy.export.exporter import preprocess_rules
from evit_deploy.export.graph import trace_deployed
from evit_deploy.models import create_model, find_model
from evit_deploy.precision.faithful import FaithfulGraph
from evit_deploy.precision.lower import lower


def measure(name: str, size: tuple[int, int], scenes: int) -> dict[str, float]:
    """mIoU of both graphs against the scenes' labels, and the part of pixels on which they agree.

    Args:
        name: A segmenter with demo weights.
        size: (height, width).
        scenes: How many held-out scenes.
    """
    spec = find_model(name)
    graph = trace_deployed(create_model(name, weights="demo"), preprocess_rules(spec), size, "image", "classes")
    exported, typed = FaithfulGraph(graph), FaithfulGraph(lower(graph, "fp16", "conv").model)
    matrices = ConfusionMatrix(spec.classes), ConfusionMatrix(spec.classes)
    agreement = []
    for seed in range(HELD_OUT, HELD_OUT + scenes):
        scene = render_scene(seed, *size)
        maps = [run.infer({"image": scene.image[None]})["classes"][0] for run in (exported, typed)]
        for matrix, found in zip(matrices, maps, strict=True):
            matrix.update(found, scene.labels)
        agreement.append(float((maps[0] == maps[1]).mean()))
    fp32, fp16 = (float(np.nanmean(matrix.iou())) for matrix in matrices)
    return {"fp32": fp32, "fp16": fp16, "worst agreement": min(agreement), "agreement": float(np.mean(agreement))}


def main() -> None:
    """Print one row of docs/numerics.md."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--resolution", default="512x1024")
    parser.add_argument("--scenes", type=int, default=40)
    arguments = parser.parse_args()
    height, width = (int(side) for side in arguments.resolution.split("x"))
    row = measure(arguments.model, (height, width), arguments.scenes)
    print(
        f"| {arguments.model} | {arguments.resolution} | {arguments.scenes} | {row['fp32']:.4f} | {row['fp16']:.4f} "
        f"| {100 * (row['fp16'] - row['fp32']):+.3f} | {row['agreement']:.4%} | {row['worst agreement']:.4%} |"
    )


if __name__ == "__main__":
    main()
