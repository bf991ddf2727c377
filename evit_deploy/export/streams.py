# SPDX-License-Identifier: Apache-2.0
"""Powers of two that keep an image encoder's activations within FP16, whatever the checkpoint.

A residual *stream* is what the blocks of one stage add to: every block reads all of it and writes into it. Some
checkpoints of Segment Anything carry streams and hidden layers beyond 65,504, where FP16 ends. A convolution is
linear, so a tensor can be held in another unit: the convolutions that write it are divided by a power of two, those
that read it are multiplied by it, and the GELU of a hidden layer multiplies back inside (`BoundedGelu`). That is exact
in FP32, bit by bit (its subnormal numbers aside), and costs one multiplication per GELU that needs it. The last
LayerNorm takes any unit.

Only tensors that come too close to the end on the reference frames are moved, so most checkpoints stay as they are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from evit_deploy.export.rewrite import BoundedGelu, PhaseUpsample, StaticAttention
from evit_deploy.models.blocks import ConvLayer, EfficientViTBlock, Residual, Upsample

LARGEST = 8192.0
"""Peaks above are moved below it: FP16 ends at eight times as much."""

_FARTHEST = 14
"""Largest power of two by which a tensor is moved: its inverse is an FP16 number of full precision."""

StreamPeaks = Mapping[str, float]
"""By module: the largest magnitude that came out of it."""


@contextmanager
def record_streams(encoder: nn.Module) -> Iterator[dict[str, float]]:
    """Note how large the output of every convolution, norm, block and upsampling gets while an encoder runs.

    Args:
        encoder: An image encoder as built, in eval mode.

    Yields:
        A mapping that fills while the encoder is called.
    """
    peaks: dict[str, float] = {}
    watched = (nn.Conv2d, nn.BatchNorm2d, Residual, Upsample)
    hooks = [
        module.register_forward_hook(_recorder(peaks, name))
        for name, module in encoder.named_modules()
        if isinstance(module, watched)
    ]
    try:
        yield peaks
    finally:
        for hook in hooks:
            hook.remove()


def _recorder(peaks: dict[str, float], name: str) -> Callable[[nn.Module, object, Tensor], None]:
    def record(_module: nn.Module, _inputs: object, output: Tensor) -> None:
        low, high = torch.aminmax(output.detach())
        peaks[name] = max(peaks.get(name, 0.0), -float(low), float(high))

    return record


def balance_streams(encoder: nn.Module, peaks: StreamPeaks) -> dict[str, int]:
    """Change the units of an encoder's tensors so that what was seen fits FP16 with eight times as much to spare.

    Args:
        encoder: An `evit_deploy.models.sam.ImageEncoder` with all rewrites applied
            (`evit_deploy.export.rewrite.deployable`). Changed in place; its function stays the same.
        peaks: What `record_streams` saw of it as built.

    Returns:
        By convolution: the power of two that its output was divided by, where that is not 1.
    """
    balance = _Balance(encoder, peaks)
    streams = [0]  # the picture is as it is
    for stage in encoder.backbone.stages:  # type: ignore[union-attr]
        blocks, own = _blocks(stage), balance.unit_of_stage(stage)
        for index, block in enumerate(blocks):
            balance.move(block, own if index else streams[-1], own)
        streams.append(own)
    neck = encoder.neck
    own = balance.unit_of_neck(neck)  # type: ignore[arg-type]
    for chain, stream in zip(neck.input_ops, reversed(streams), strict=False):  # type: ignore[union-attr,arg-type]
        balance.move(chain.op_list[0], stream, own)
    for block in _blocks(neck.middle):  # type: ignore[union-attr,arg-type]
        balance.move(block, own, own)
    last = neck.output_ops[0].op_list[-1]  # type: ignore[union-attr,index]
    unit = _exponent(balance.peak(last))
    balance.move(last, own, unit)
    encoder.norm.root /= 2.0**unit  # type: ignore[operator,union-attr]
    return {name: exponent for name, exponent in balance.moved.items() if exponent}


def _blocks(chain: nn.Module) -> list[nn.Module]:
    """What adds to a stage's stream, in order; the first one begins it."""
    blocks: list[nn.Module] = []
    for part in chain.op_list:  # type: ignore[union-attr]
        if isinstance(part, EfficientViTBlock):
            blocks += [part.context_module.main, part.local_module.main]
        else:
            blocks.append(part.main if isinstance(part, Residual) else part)
    return blocks


def _layers(block: nn.Module) -> list[ConvLayer]:
    """Convolutions of a block, in order; of an attention the first and the last."""
    if isinstance(block, ConvLayer):
        return [block]
    if isinstance(block, StaticAttention):
        return [block.qkv, block.proj]
    return [layer for layer in block.children() if isinstance(layer, ConvLayer)]


def _exponent(peak: float) -> int:
    """Power of two that brings a peak below `LARGEST`; 0 where it is, or is not finite."""
    if peak <= LARGEST or not math.isfinite(peak):
        return 0
    return min(math.ceil(math.log2(peak / LARGEST)), _FARTHEST)


class _Balance:
    """Moves the convolutions of one encoder.

    Args:
        encoder: The rewritten encoder.
        peaks: What was seen of it as built.
    """

    def __init__(self, encoder: nn.Module, peaks: StreamPeaks) -> None:
        self.peaks, self.moved = peaks, dict[str, int]()
        self.names = {id(module): name for name, module in encoder.named_modules()}

    def peak(self, layer: ConvLayer) -> float:
        """Largest output of a convolution, BatchNorm included, before its activation."""
        name = self.names[id(layer)]
        return self.peaks.get(f"{name}.norm", self.peaks.get(f"{name}.conv", 0.0))

    def unit_of_stage(self, stage: nn.Module) -> int:
        """Exponent of the unit of a stage's stream: of its sums, and of all that is added."""
        added = [self.peak(_layers(block)[-1]) for block in _blocks(stage)]
        return _exponent(max([*added, *self._outputs(stage, Residual)]))

    def unit_of_neck(self, neck: nn.Module) -> int:
        """The same of the neck, which begins with a sum of three: it is at most the sum of their peaks."""
        chains = list(neck.input_ops)  # type: ignore[arg-type]
        inputs = [max([self.peak(chain.op_list[0]), *self._outputs(chain, PhaseUpsample)]) for chain in chains]
        return max(_exponent(sum(inputs)), self.unit_of_stage(neck.middle))  # type: ignore[arg-type]

    def _outputs(self, module: nn.Module, kind: type[nn.Module]) -> list[float]:
        """Peaks of what modules of a kind gave."""
        return [self.peaks.get(self.names[id(part)], 0.0) for part in module.modules() if isinstance(part, kind)]

    def move(self, block: nn.Module, reads: int, writes: int) -> None:
        """Let a block read a stream of one unit and write one of another; hidden layers get units of their own."""
        layers = _layers(block)
        if isinstance(block, StaticAttention):  # q, k and v have units of their own in between
            self._move_layer(layers[0], reads, 0)
            self._move_layer(layers[1], 0, writes)
            return
        for layer in layers[:-1]:
            hidden = _exponent(self.peak(layer))
            self._move_layer(layer, reads, hidden)
            reads = hidden
        self._move_layer(layers[-1], reads, writes)

    def _move_layer(self, layer: ConvLayer, reads: int, writes: int) -> None:
        """Convolve what is in units of 2^reads into units of 2^writes."""
        self.moved[self.names[id(layer)]] = writes
        conv = layer.conv
        with torch.no_grad():
            conv.weight.mul_(2.0 ** (reads - writes))
            if conv.bias is not None:
                conv.bias.mul_(2.0**-writes)
        if writes and layer.act is not None:
            layer.act = BoundedGelu(2.0**writes)
