# SPDX-License-Identifier: Apache-2.0
"""What a plan costs with some of its convolutions in INT8: the model of `cost`, extended.

A kernel still takes the larger of the time for its bytes and the time for its operations, and a launch. What INT8
changes is how many bytes, and at what rate:

* A convolution in INT8 reads its source and its weights in INT8, and computes at INT8's peak. Bias, activation and the
  quantisation of its result cost nothing: TensorRT fuses them.
* It writes INT8 if nothing but convolutions in INT8 reads its result. If others do as well, it writes FP16 and a
  kernel of its own quantises that, because a convolution has one output. So it is if it adds a residual in FP16, whose
  type the sum takes (TensorRT's documentation, Working with Quantized Types: residuals), and so it is behind every
  convolution and product in FP16.
* A kernel of pointwise nodes writes INT8 where INT8 is read, FP16 where FP16 is, or both.
* What the graph is given, and what was only moved (resized, put side by side), is quantised by a kernel of its own.
* INT8 maps are stored with their channels filled up to a multiple.

An INT8 byte is not twice as fast as two: units that are limited by what they issue gain nothing by smaller numbers. How
much it costs, by kind of kernel and relative to a byte of FP16, is fitted to published pairs of latencies by
tools/check_int8.py.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from evit_deploy.engines.plan import Kernel
from evit_deploy.profiles.predict.cost import DENSE, LIGHT, MOVING, Array, Constants, Cost, Work, kernel_rates
from evit_deploy.profiles.predict.int8_flow import GRAPH_INPUT, Flow, Passed, Read
from evit_deploy.profiles.predict.prediction import Conditions
from evit_deploy.targets import TARGETS

CALIBRATION = Path(__file__).with_name("int8.json")

FORM = 1
"""Raised whenever the model says something else of the same plan and constants."""

ASSUMED_GAIN = 2.0
"""Peak in INT8 over that in FP16 where it is not known: that of an Orin, an A100 and an H100."""


@dataclass(frozen=True)
class Int8Constants:
    """What INT8 gains.

    Attributes:
        light_byte: What a byte of INT8 costs a light kernel, in bytes of FP16: 1 gains all of it, 2 nothing.
        dense_byte: The same of a dense kernel.
        arithmetic: Share of INT8's peak that kernels reach, over the share of FP16's that they reach.
        channels: INT8 maps have a multiple of so many channels.
    """

    light_byte: float
    dense_byte: float
    arithmetic: float
    channels: int


@dataclass(frozen=True)
class Int8Calibration:
    """The constants and how far they can be trusted.

    Attributes:
        constants: What was fitted.
        margin: The factor within which `coverage` of the published ratios lie that were held out.
        coverage: Share of them.
    """

    constants: Int8Constants
    margin: float
    coverage: float


@lru_cache(maxsize=1)
def int8_calibration() -> Int8Calibration:
    """What tools/check_int8.py found."""
    data: dict[str, Any] = json.loads(CALIBRATION.read_text(encoding="utf-8"))
    return Int8Calibration(Int8Constants(**data["constants"]), data["margin"], data["coverage"])


def int8_gain(machine: Conditions) -> tuple[float, bool]:
    """Peak in INT8 over that in FP16, and whether it is known."""
    for variant in TARGETS[machine.target].variants:
        if variant.name == machine.variant and variant.int8_tops is not None and variant.fp16_tflops is not None:
            return variant.int8_tops.value / variant.fp16_tflops.value, True
    return ASSUMED_GAIN, False


@dataclass(frozen=True)
class Mixed:
    """Kernels as arrays, some of whose bytes and operations are INT8; those that only quantise stand last.

    Attributes:
        half: What they do in FP16.
        eight: What they do in INT8.
        kinds: See `Work.kinds`; a kernel keeps the kind it has in FP16.
        added: The tensors that those quantise.
    """

    half: Work
    eight: Work
    kinds: np.ndarray[tuple[int], np.dtype[np.intp]]
    added: tuple[str, ...]


class Int8Model:
    """Prices assignments of one plan.

    Args:
        flow: Its kernels and what passes between them.
        channels: See `Int8Constants`.
        also: Kernels that read everything in INT8 which they read, sums and pooling too. This package quantises
            nothing but sources of convolutions; other tools, whose published latencies are compared with, do.
    """

    def __init__(self, flow: Flow, channels: int, also: Collection[int] = ()) -> None:
        self.flow, self.channels, self.also = flow, channels, frozenset(also)
        self.work = Work.of(flow.kernels)
        self.products: dict[int, list[str]] = defaultdict(list)
        for name, product in flow.products.items():
            self.products[product.kernel].append(name)
        self.adds = {read.kernel for one in flow.passed for read in one.reads if not read.layer}

    def mixed(self, layers: Collection[str]) -> Mixed:
        """What the kernels do with these convolutions in INT8."""
        chosen = frozenset(layers)
        half = np.stack([self.work.activations, self.work.weights, self.work.flops])
        eight = np.zeros_like(half)
        passed = {one.name: self._pass(one, chosen, half[0], eight[0]) for one in self.flow.passed}
        added = {name: pair for name, pair in passed.items() if pair is not None}
        for name in chosen & self.flow.products.keys():
            product = self.flow.products[name]
            half[1:, product.kernel] -= product.weights, product.flops
            eight[1:, product.kernel] += product.weights / 2, product.flops
        more = np.zeros((2, 3, len(added)))
        more[:, 0] = np.array([*added.values()], float).reshape(-1, 2).T
        halves, eights = (np.concatenate(pair, axis=1).clip(min=0.0) for pair in zip((half, eight), more, strict=True))
        kinds = np.concatenate([self.work.kinds, np.full(len(added), MOVING)])
        return Mixed(Work(*halves), Work(*eights), kinds, tuple(added))

    def _pass(self, one: Passed, chosen: frozenset[str], half: Array, eight: Array) -> tuple[float, float] | None:
        """Let a tensor be INT8 for those who read INT8; the bytes of a kernel that quantises it, if one must."""
        narrow = {read for read in one.reads if self._reads_int8(read, chosen)}
        if not narrow:
            return None
        small = one.elements * (-(-one.channels // self.channels) * self.channels / one.channels)
        wide = {read.kernel for read in one.reads if read not in narrow}
        for number, share in self._shares(narrow).items():
            eight[number] += share * small
            if number not in wide:
                half[number] -= share * one.bytes
        shared = bool(wide) or one.leaves
        if not self._writes_int8(one, chosen) or (shared and one.maker in self.products):
            return float(one.bytes), small
        eight[one.maker] += small
        if not shared:
            half[one.maker] -= one.bytes
        return None

    def _reads_int8(self, read: Read, chosen: frozenset[str]) -> bool:
        return read.layer in chosen if read.layer else read.kernel in self.also

    def _shares(self, reads: Collection[Read]) -> dict[int, float]:
        """How much of a tensor each kernel reads, however often it does."""
        found: dict[int, float] = defaultdict(float)
        for read in reads:
            found[read.kernel] = max(found[read.kernel], read.share)
        return found

    def _writes_int8(self, one: Passed, chosen: frozenset[str]) -> bool:
        """Whether a tensor's maker can quantise it."""
        if one.maker == GRAPH_INPUT:
            return False
        if one.maker not in self.products:
            return one.maker in self.also or not one.moved
        adds = one.maker in self.adds and one.maker not in self.also
        return not adds and all(name in chosen for name in self.products[one.maker])


def mixed_cost(mixed: Mixed, machine: Conditions, constants: Constants, eight: Int8Constants) -> Cost:
    """How long kernels take, without launches.

    Args:
        mixed: The kernels.
        machine: Where they run; its peak is that of FP16.
        constants: How well its kind of machine is used.
        eight: What INT8 gains.
    """
    bytes_ms, flops_ms = kernel_rates(machine, constants)
    costs = np.ones(3)
    costs[LIGHT], costs[DENSE] = eight.light_byte, eight.dense_byte
    wide, small = mixed.half, mixed.eight
    moved = wide.activations + wide.weights + costs[mixed.kinds] * (small.activations + small.weights)
    peak = flops_ms * int8_gain(machine)[0] * eight.arithmetic
    return Cost(moved / bytes_ms[mixed.kinds], wide.flops / flops_ms + small.flops / peak)


def mixed_of(kernels: Iterable[Kernel]) -> Mixed:
    """What the kernels of an INT8 engine do, by the types in its own plan; those that read INT8 compute in INT8."""
    table = []
    for kernel in kernels:
        sizes = {tensor.name: tensor.bytes for tensor in (*kernel.inputs, *kernel.outputs) if tensor.dtype == "Int8"}
        narrow = any(tensor.dtype == "Int8" for tensor in kernel.inputs)
        amounts = np.array([kernel.distinct_traffic - sum(sizes.values()), kernel.constants, kernel.flops], float)
        table.append(([1, not narrow, not narrow] * amounts, np.array([sum(sizes.values()), *(narrow * amounts[1:])])))
    half, eight = (
        Work(*np.array(rows).reshape(-1, 3).T) for rows in ([row[0] for row in table], [row[1] for row in table])
    )
    as_half = Work(half.activations + 2 * eight.activations, half.weights, half.flops + eight.flops)
    return Mixed(half, eight, as_half.kinds, ())
