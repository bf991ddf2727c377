# SPDX-License-Identifier: Apache-2.0
"""Which part of the network a kernel belongs to, from the names of the ONNX nodes that it computes.

The paper (arXiv 2205.14756) counts an input stem and four stages; the XL backbones of Segment Anything have five. The B
backbones name the stem, and number the stages after it from 0; the L backbones number the stem 0.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from evit_deploy.engines.plan import Kernel

INPUT, OUTPUT = "input", "output"
_STEM, _DECODER = "stem", "decoder"
_STAGE = re.compile(r"backbone\.stages\.(\d+)\.")
_PARTS = (
    ("backbone.input_stem.", _STEM), ("head.", "head"), ("neck.", "neck"), ("norm.", "neck"), ("classify.", OUTPUT)
)  # fmt: skip


def stages_of(kernels: Sequence[Kernel], input: str) -> list[str]:
    """Name the stage of every kernel.

    Args:
        kernels: In the order they run in.
        input: What the graph takes; of a mask decoder, "prompts", everything is its decoder.

    Returns:
        One name for each: "input", "stem", "stage 1" to "stage 5", "head", "neck", "output" or "decoder". A kernel
        whose nodes tell nothing belongs where the one before it does.
    """
    if input == "prompts":
        return [_DECODER] * len(kernels)
    named_stem = any(layer.startswith("backbone.input_stem.") for kernel in kernels for layer in kernel.layers)
    stages: list[str] = []
    for kernel in kernels:
        found = (_stage(layer, named_stem) for layer in kernel.layers)
        stages.append(next(filter(None, found), stages[-1] if stages else INPUT))
    return stages


def _stage(layer: str, named_stem: bool) -> str | None:
    """The stage that a node's name tells of."""
    match = _STAGE.match(layer)
    if match:
        number = int(match[1]) + named_stem
        return f"stage {number}" if number else _STEM
    return next((name for prefix, name in _PARTS if layer.startswith(prefix)), None)
