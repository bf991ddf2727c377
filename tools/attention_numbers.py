# SPDX-License-Identifier: Apache-2.0
"""What FP16 does to one attention block: run every formulation under faithful emulation on hard queries and keys.

The block's input is q, k and v themselves: its first convolution only hands groups of channels on (head h takes q, k
and v from groups h, h + 1 and h + 2), the second scale is the first, the projection is orthogonal, and the shortcut is
left out. Whatever differs from the exact result in FP64 is the attention's own doing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnx
import onnxruntime as ort
import torch
from torch import Tensor, nn

from evit_deploy.export.rewrite import ATTENTION_BOUND, deployable
from evit_deploy.export.trace import trace
from evit_deploy.models.attention import MultiScaleLinearAttention
from evit_deploy.models.blocks import Residual
from evit_deploy.precision.emulate import emulate
from evit_deploy.precision.fp16 import lower_fp16
from evit_deploy.precision.graph import Array
from evit_deploy.runtime.backends.onnxruntime import session_options
from evit_deploy.runtime.engine import available_cores

HEADS, DIM, SIZE = 4, 16, (64, 128)
"""Heads of one scale, channels of a head, and tokens: the third stage of b1 at 1024×2048, with half the heads."""

BENIGN = "unit"
_WRONG = 0.05


@dataclass(frozen=True)
class Verdict:
    """How one formulation fares in FP16.

    Attributes:
        error: Relative L2 error on normal random numbers, in units of what rounding input and output alone costs.
        worst: The largest such ratio over all hard cases; infinite where a result is not finite.
        failed: Hard cases with NaN, infinity or a result that is wrong by more than 5 %.
    """

    error: float
    worst: float
    failed: tuple[str, ...]


class _Context(nn.Module):
    """The first half of `EfficientViTBlock`, under its name."""

    def __init__(self, attention: nn.Module) -> None:
        super().__init__()
        self.context_module = Residual(attention)

    def forward(self, x: Tensor) -> Tensor:
        """Map [1, C, H, W] to [1, C, H, W]."""
        return self.context_module(x)  # type: ignore[no-any-return]


class _Block(nn.Module):
    """One attention block around given weights."""

    def __init__(self) -> None:
        super().__init__()
        channels = HEADS * DIM
        attention = MultiScaleLinearAttention(channels, DIM, 5, 1e-5)
        identity = torch.eye(channels).reshape(HEADS, DIM, channels)
        qkv = torch.stack([identity.roll(-shift, 0) for shift in range(3)], dim=1)
        depthwise, mixing = (layer for layer in attention.aggreg[0].modules() if isinstance(layer, nn.Conv2d))
        with torch.no_grad():
            attention.qkv.conv.weight.copy_(qkv.reshape(3 * channels, channels, 1, 1))
            depthwise.weight.zero_()[:, :, 2, 2] = 1
            mixing.weight.copy_(torch.eye(DIM).repeat(3 * HEADS, 1)[:, :, None, None])
            attention.proj.conv.weight.copy_(torch.from_numpy(projection())[:, :, None, None])
        attention.proj.norm = None
        attention.proj.conv.bias = nn.Parameter(torch.zeros(channels))
        self.block = _Context(attention)

    def forward(self, x: Tensor) -> Tensor:
        """Map [1, C, H, W] to [1, C, H, W]."""
        return self.block(x)  # type: ignore[no-any-return]


def projection() -> Array:
    """Weights [C, 2C] of orthogonal rows, all ±2^-n: exact in FP16."""
    signs = np.ones((1, 1))
    while len(signs) < 2 * HEADS * DIM:
        signs = np.block([[signs, signs], [signs, -signs]])
    half = signs[: HEADS * DIM] / np.float64(2 ** round(np.log2(len(signs)) / 2))
    return np.asarray(half, np.float32)


def hard_cases() -> dict[str, Array]:
    """Inputs [HEADS, DIM, N] within the bound that the attention is made for, by name."""
    tokens = SIZE[0] * SIZE[1]
    rng = np.random.default_rng(0)
    normal = rng.standard_normal((HEADS, DIM, tokens))
    uneven = normal * np.exp(2 * rng.standard_normal((HEADS, DIM, 1)))
    large = np.clip(300 * normal, -ATTENTION_BOUND, ATTENTION_BOUND)
    spikes = normal * (rng.random(normal.shape) < 1e-3) * 200
    dead = normal * (np.arange(HEADS) > 0)[:, None, None] * (np.arange(tokens) % 7 > 0)
    tiny = 1e-4 * normal
    even, low = (np.arange(HEADS) % 2 == 0)[:, None, None], (np.arange(HEADS) < 2)[:, None, None]
    return {
        BENIGN: normal,
        "mean 3": normal + 3,
        "uneven channels": np.clip(uneven, -ATTENTION_BOUND, ATTENTION_BOUND),
        "large": large,
        "all at the bound": np.full_like(normal, ATTENTION_BOUND),
        "tiny": tiny,
        "large and tiny by turns": np.where(even, large, tiny),
        "tiny q and k, large v": np.where(low, tiny, large),
        "spikes": spikes,
        "zeros here and there": dead,
        "all zero": np.zeros_like(normal),
    }


def judge(changes: dict[str, Callable[[onnx.ModelProto], onnx.ModelProto]]) -> dict[str, Verdict]:
    """Run every formulation on every hard case."""
    base = trace(deployable(_Block().eval()), torch.zeros(1, HEADS * DIM, *SIZE), ("logits",), 17, False)
    cases = {name: x.astype(np.float32) for name, x in hard_cases().items()}
    exact = {name: _exact(x) for name, x in cases.items()}
    plain = {name: _distance(_half(_exact(_half(x))), exact[name]) for name, x in cases.items()}
    verdicts = {}
    for name, change in changes.items():
        run = _emulated(change(base))
        errors = {case: _distance(run(x), exact[case]) for case, x in cases.items()}
        ratios = {case: error / plain[case] if plain[case] else error for case, error in errors.items()}
        failed = tuple(case for case, error in errors.items() if not error <= max(_WRONG, 4 * plain[case]))
        worst = max(ratio if np.isfinite(ratio) else np.inf for ratio in ratios.values())
        verdicts[name] = Verdict(ratios[BENIGN], worst, failed)
    return verdicts


def _exact(x: Array) -> Array:
    """The block's output [C, N] in FP64; where no key meets the query, zero."""
    q, k, v = (np.roll(x.astype(np.float64), -shift, axis=0) for shift in range(3))
    q, k = np.maximum(q, 0), np.maximum(k, 0)
    total = np.einsum("hdn,hd->hn", q, k.sum(axis=2))[:, None]
    sums = np.einsum("hen,hdn->hed", v, k)
    heads = np.einsum("hed,hdn->hen", sums, q) / np.where(total > 0, total, 1)
    both = np.concatenate([heads, heads]).reshape(2 * HEADS * DIM, -1)
    result: Array = projection() @ both
    return result


def _emulated(model: onnx.ModelProto) -> Callable[[Array], Array]:
    """The block without its shortcut, in typed FP16."""
    _drop_shortcut(model)
    typed, _ = lower_fp16(model)
    options = session_options(available_cores())
    session = ort.InferenceSession(emulate(typed).SerializeToString(), options, providers=["CPUExecutionProvider"])

    def run(x: Array) -> Array:
        half = x.reshape(1, HEADS * DIM, *SIZE).astype(np.float16)
        result: Array = session.run(None, {"image": half})[0].reshape(HEADS * DIM, -1)
        return result

    return run


def _drop_shortcut(model: onnx.ModelProto) -> None:
    (result,) = model.graph.output
    (add,) = [node for node in model.graph.node if result.name in node.output]
    (inner,) = [name for name in add.input if name != model.graph.input[0].name]
    (maker,) = [node for node in model.graph.node if inner in node.output]
    maker.output[:] = [result.name if name == inner else name for name in maker.output]
    model.graph.node.remove(add)


def _half(x: Array) -> Array:
    return x.astype(np.float16).astype(np.float64)


def _distance(found: Array, expected: Array) -> float:
    """Relative L2 distance; absolute where nothing is expected."""
    with np.errstate(invalid="ignore", over="ignore"):
        size = float(np.linalg.norm(expected)) or 1.0
        return float(np.linalg.norm(found.astype(np.float64) - expected)) / size
