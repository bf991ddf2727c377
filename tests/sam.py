# SPDX-License-Identifier: Apache-2.0
"""Segment Anything for tests: models with the golden weights, the golden pictures and files.

The golden files were made with mit-han-lab/efficientvit at commit de7d773 and facebookresearch/segment-anything at
commit dca509f (PyTorch 2.13.0, CPU, FP32) from the synthetic weights and inputs of tests/synthetic.py.
"""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import nn

from evit_deploy.models import find_model
from evit_deploy.models.build import build_model
from tests.synthetic import make_image, make_weights

FOLDER = Path(__file__).parent / "golden"
SAM_MODELS = ("l0-sam", "l1-sam", "l2-sam", "xl0-sam", "xl1-sam")
RULES = json.loads((FOLDER / "sam.json").read_text())
"""Seeds, shapes and tolerances of sam-decoder.npz, sam-predictor.npz and sam-everything.npz."""


@functools.cache
def specs() -> dict[str, dict]:
    """tests/golden/models.json: keys, shapes and tolerances of every model."""
    return json.loads((FOLDER / "models.json").read_text())


@functools.cache
def golden(name: str) -> Mapping[str, np.ndarray]:
    """A golden file, read whole: "l0-sam", "sam-decoder", "sam-predictor", "sam-everything"."""
    with np.load(FOLDER / f"{name}.npz") as file:
        return {key: file[key] for key in file.files}


def golden_image(name: str) -> np.ndarray:
    """Picture "a" (240x333) or "b" (501x300), uint8 [H, W, 3] RGB."""
    return make_image(*RULES["predictor"]["images"][name])


def golden_masks(file: Mapping[str, np.ndarray], key: str) -> np.ndarray:
    """Bool masks that a golden file keeps as bits under `key`, such as "grid.masks": [..., H, W]."""
    shape = file[f"{key}.shape"]
    return np.unpackbits(file[key], axis=1)[:, : shape[-2] * shape[-1]].reshape(shape).astype(bool)


def fresh_model(name: str) -> nn.Module:
    """A SAM model with weights of seed 0 in eval mode, of the caller's own (to change its weights)."""
    model = build_model(find_model(name)).eval().requires_grad_(False)
    weights = make_weights(specs()[name]["state_dict"], 0)
    model.load_state_dict({key: torch.from_numpy(value) for key, value in weights.items()}, strict=True)
    return model


@functools.lru_cache(maxsize=1)
def golden_model(name: str = "l0-sam") -> nn.Module:
    """A SAM model with weights of seed 0 in eval mode; shared, so read only."""
    return fresh_model(name)


@functools.cache
def structured_model() -> nn.Module:
    """l0-sam whose masks follow the picture's rectangles: what sam-everything.npz calls "structured"; read only."""
    model = fresh_model("l0-sam")
    state = dict(model.state_dict())
    for layer in (0, 3):  # all four positions of a kernel alike: regions in place of a 4x4 texture
        weight = state[f"mask_decoder.output_upscaling.{layer}.weight"]
        weight.copy_(weight[:, :, :1, :1].expand_as(weight).clone())
    for key, value in golden("sam-everything").items():
        if key.startswith("override."):
            state[key.removeprefix("override.")].copy_(torch.from_numpy(value))
    return model


def save_checkpoint(model: nn.Module, path: str | os.PathLike[str]) -> Path:
    """Write a model's weights as a checkpoint that ``--weights PATH`` reads (.pt)."""
    torch.save(model.state_dict(), path)
    return Path(path)
