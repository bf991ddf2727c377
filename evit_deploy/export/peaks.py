# SPDX-License-Identifier: Apache-2.0
"""How large the attention's q, k and v get, and the powers of two that bring them where FP16 has room.

The attention does not change when a head's q or k is scaled, and scaling its v scales its output, which the projection
takes back. So weights whose activations are near FP16's ends can be moved to its middle, exactly and for nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from evit_deploy.models.attention import MultiScaleLinearAttention

LARGEST_SEEN, SMALLEST_SEEN = 125.0, 1.0
"""Peaks outside are moved: ATTENTION_BOUND / 8 leaves eight times what the reference frames needed."""

MIDDLE = 16.0
"""Where peaks are moved to, up to the rounding of the factor to a power of two."""

Peaks = Mapping[str, Tensor]
"""By module: largest magnitudes [heads, 3] of q, k and v over both scales."""


@contextmanager
def record_peaks(model: nn.Module) -> Iterator[dict[str, Tensor]]:
    """Note the largest |q|, |k| and |v| of every head while a model runs.

    Args:
        model: A network as built, in eval mode.

    Yields:
        A mapping that fills while the model is called.
    """
    peaks: dict[str, Tensor] = {}
    hooks = []
    for name, module in model.named_modules():
        if isinstance(module, MultiScaleLinearAttention):
            for part in (module.qkv, module.aggreg[0]):
                hooks.append(part.register_forward_hook(_recorder(peaks, name, module.head_dim)))
    try:
        yield peaks
    finally:
        for hook in hooks:
            hook.remove()


def _recorder(peaks: dict[str, Tensor], name: str, dim: int) -> Callable[[nn.Module, object, Tensor], None]:
    def record(_module: nn.Module, _inputs: object, output: Tensor) -> None:
        largest = output.detach().abs().amax(dim=(0, 2, 3)).reshape(-1, 3, dim).amax(dim=2)
        peaks[name] = torch.maximum(peaks[name], largest) if name in peaks else largest

    return record


def balance(attention: MultiScaleLinearAttention, peaks: Tensor) -> None:
    """Scale a module's weights by powers of two, per head, so that q, k and v stay in the middle of FP16.

    Args:
        attention: Changed in place; its projection has no BatchNorm any more. Its function stays the same.
        peaks: Largest magnitudes [heads, 3] seen.
    """
    factors = torch.tensor([[_factor(float(peak)) for peak in head] for head in peaks])  # [heads, 3]
    heads, dim = len(factors), attention.head_dim
    with torch.no_grad():
        qkv = attention.qkv.conv.weight
        qkv.copy_((qkv.view(heads, 3, dim, -1) * factors[:, :, None, None]).view_as(qkv))
        projection = attention.proj.conv.weight  # columns: both scales, each all heads
        columns = projection.view(len(projection), 2, heads, dim) / factors[:, 2, None]
        projection.copy_(columns.view_as(projection))


def _factor(peak: float) -> float:
    """Power of two for a peak; 1 where it is fine, zero, or not finite."""
    if SMALLEST_SEEN <= peak <= LARGEST_SEEN or peak == 0 or not math.isfinite(peak):
        return 1.0
    return 2.0 ** round(math.log2(MIDDLE / peak))
