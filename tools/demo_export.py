# SPDX-License-Identifier: Apache-2.0
"""Export and held-out evaluation of the demo checkpoints."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from demo_data import CLASSES, model_input
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm

from evit_deploy.data.cityscapes import CLASSES as NAMES
from evit_deploy.data.metrics import ConfusionMatrix
from evit_deploy.data.scenes import render_scene
from evit_deploy.errors import ArtifactError
from evit_deploy.models import create_model

EXPORTS = Path(__file__).parents[1] / "evit_deploy" / "models" / "demo"
HELD_OUT = 1_000_000  # first seed that is never trained on
NOTE = "trained on procedural scenes of evit-deploy"


def export(name: str, model: nn.Module, folder: Path, recipe: str, steps: int) -> Path:
    """Write the weights as FP16 safetensors under the official key names."""
    state = {key: _half(key, value) for key, value in tame_attention(model.state_dict()).items()}
    metadata = {"model": name, "recipe": recipe, "steps": str(steps), "note": NOTE}
    return _write(folder / f"{name}.safetensors", state, metadata)


def tame_attention(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Scale attention blocks so that FP16 holds their weights, statistics and products; outputs stay the same.

    A linear attention block passes a factor on its qkv convolution through unchanged, and the norm behind its
    projection takes it out again. Training leaves that factor free, and it grows to hundreds. A power of two makes the
    change exact (the norm's eps apart).
    """
    tamed = dict(state)
    for key in [key for key in state if key.endswith("main.qkv.conv.weight")]:
        norm = key.replace("qkv.conv.weight", "proj.norm.")
        spread = float(state[f"{norm}running_var"].max()) ** 0.5
        factor = 2.0 ** -max(0, round(math.log2(max(spread, 1.0))))
        tamed[key] = state[key] * factor
        tamed[f"{norm}running_mean"] = state[f"{norm}running_mean"] * factor
        tamed[f"{norm}running_var"] = state[f"{norm}running_var"] * factor**2
    return tamed


def _write(path: Path, state: dict[str, Tensor], metadata: dict[str, str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    save_file(state, partial, metadata)
    partial.chmod(0o644)
    partial.replace(path)
    return path


def _half(key: str, value: Tensor) -> Tensor:
    """FP16 of a float tensor; a value FP16 cannot hold is an error, not an infinity."""
    if not value.is_floating_point():
        return value.contiguous().clone()
    rounded = value.detach().to(torch.float16).contiguous()
    if not bool(torch.isfinite(rounded).all()):
        raise ArtifactError(f"{key} does not fit FP16", found=f"up to {float(value.abs().max()):g}", expected="< 65504")
    if key.endswith("running_var"):
        # a variance that rounds to nothing is harmless only because the norm adds its eps
        lost = float((value - rounded.float()).abs().max() / value.abs().max())
        if lost > 1e-3:
            raise ArtifactError(f"{key} loses precision in FP16", found=f"{lost:g} of its largest value")
    return rounded


def evaluate_file(name: str, folder: Path, heights: list[int], scenes: int) -> None:
    """Evaluate the exported checkpoint, print the table, and write it beside the checkpoint and into its metadata."""
    path = folder / f"{name}.safetensors"
    model = create_model(name, weights=str(path)).eval()
    results = {}
    for height in heights:
        matrix = evaluate(model, height, scenes)
        results[f"{height}x{2 * height}"] = {
            "scenes": scenes,
            "first_seed": HELD_OUT,
            "mean_iou": round(matrix.mean_iou(), 4),
            "pixel_accuracy": round(matrix.accuracy(), 4),
            "iou": {label: round(float(iou), 4) for label, iou in zip(NAMES, matrix.iou(), strict=True)},
        }
        _print_table(name, f"{height}x{2 * height}", matrix)
    _record(path, results)


def evaluate(model: nn.Module, height: int, scenes: int) -> ConfusionMatrix:
    """Count held-out scenes by the model's evaluation rule: bicubic upsampling to label size, then argmax."""
    matrix = ConfusionMatrix(CLASSES)
    for seed in tqdm(range(HELD_OUT, HELD_OUT + scenes), desc=f"{height}x{2 * height}", mininterval=10.0):
        scene = render_scene(seed, height, 2 * height)
        with torch.inference_mode():
            logits = model(torch.from_numpy(model_input(scene.image)))
            full = functional.interpolate(logits, scene.labels.shape, mode="bicubic", align_corners=False)
            matrix.update(full[0].argmax(dim=0).to(torch.uint8).numpy(), scene.labels)
    return matrix


def _print_table(name: str, size: str, matrix: ConfusionMatrix) -> None:
    present = matrix.present()
    for label, iou, found in zip(NAMES, matrix.iou(), present, strict=True):
        print(f"  {label:<14}{iou:.3f}" if found else f"  {label:<14}absent")
    print(f"{name} {size}: mIoU {matrix.mean_iou():.4f} over {int(np.sum(present))} classes")


def _record(path: Path, results: dict[str, dict[str, object]]) -> None:
    with safe_open(path, framework="pt") as file:
        metadata = dict(file.metadata() or {})
        state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    metadata["held_out_miou"] = ", ".join(f"{size}: {result['mean_iou']}" for size, result in results.items())
    _write(path, state, metadata)
    summary = {**{key: value for key, value in metadata.items() if key != "held_out_miou"}, "held_out": results}
    path.with_suffix(".json").write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
