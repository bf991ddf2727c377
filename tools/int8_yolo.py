# SPDX-License-Identifier: Apache-2.0
"""YOLOv7, YOLOv8 and YOLO11 at 640x640 as graphs without weights, from the configuration files that describe them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import onnx
from int8_graphs import Map, Network


class Yolo(Network):
    """Blocks of Ultralytics' YOLOv8 and YOLO11."""

    def bottleneck(self, x: Map, inner: int) -> Map:
        """Two 3x3 convolutions and what went in."""
        return self.add(x, self.conv(self.conv(x, inner, 3), x[1], 3))

    def c2f(self, x: Map, out: int, number: int, inner: int, block: Callable[[Map], Map]) -> Map:
        """Halves, of which one goes through blocks; all of them side by side."""
        parts = list(self.split(self.conv(x, 2 * inner)))
        for _ in range(number):
            parts.append(block(parts[-1]))
        return self.conv(self.concat(*parts), out)

    def c3k(self, x: Map) -> Map:
        """Two bottlenecks beside a shortcut."""
        inner = x[1] // 2
        y = self.conv(x, inner)
        for _ in range(2):
            y = self.bottleneck(y, inner)
        return self.conv(self.concat(y, self.conv(x, inner)), x[1])

    def sppf(self, x: Map) -> Map:
        """Three pools one after the other, side by side."""
        parts = [self.conv(x, x[1] // 2)]
        for _ in range(3):
            parts.append(self.pool(parts[-1], 5, 1))
        return self.conv(self.concat(*parts), x[1])

    def attention(self, x: Map, side: int) -> Map:
        """C2PSA's softmax attention, with a depthwise convolution of the values and a pair of convolutions after it."""
        heads, batch = max(x[1] // 64, 1), self.shape[0]
        size, key = x[1] // heads, x[1] // heads // 2
        qkv = self.conv(x, x[1] + 2 * key * heads, act=None)
        tokens = self.op("Reshape", [qkv[0], self.constant([batch, heads, 2 * key + size, side * side])])
        cut = self.op("Split", [tokens, self.constant([key, key, size])], 3, axis=2)
        query = self.op("Transpose", [cut], perm=[0, 1, 3, 2])
        weights = self.op("Softmax", [self.op("MatMul", [query, f"{cut}.1"])], axis=-1)
        seen = self.op("MatMul", [f"{cut}.2", self.op("Transpose", [weights], perm=[0, 1, 3, 2])])
        shape = self.constant([batch, x[1], side, side])
        values = (self.op("Reshape", [f"{cut}.2", shape]), x[1])
        there = self.conv(values, x[1], 3, 1, x[1], act=None)
        y = self.add((self.op("Reshape", [seen, shape]), x[1]), there)
        x = self.add(x, self.conv(y, x[1], act=None))
        return self.add(x, self.conv(self.conv(x, 2 * x[1]), x[1], act=None))

    def detect(self, maps: Sequence[Map], light: bool) -> onnx.ModelProto:
        """Boxes and classes at every scale, and the boxes' mean distances."""
        box, score = max(16, maps[0][1] // 4, 64), max(maps[0][1], 80)
        found, batch = [], self.shape[0]
        for x in maps:
            boxes = self.conv(self.conv(self.conv(x, box, 3), box, 3), 64, act=None)
            if light:
                y = self.conv(self.conv(x, x[1], 3, 1, x[1]), score)
                y = self.conv(self.conv(y, score, 3, 1, score), score)
            else:
                y = self.conv(self.conv(x, score, 3), score, 3)
            whole = self.concat(boxes, self.conv(y, 80, act=None))
            found.append((self.op("Reshape", [whole[0], self.constant([batch, 144, -1])]), 144))
        all_maps = self.op("Concat", [name for name, _ in found], axis=2)
        cut = self.op("Split", [all_maps, self.constant([64, 80])], 2, axis=1)
        bins = self.op("Reshape", [cut, self.constant([batch, 4, 16, -1])])
        weights = self.op("Softmax", [self.op("Transpose", [bins], perm=[0, 2, 1, 3])], axis=1)
        mean = self.op("Conv", [weights, self.weight(1, 16, 1, 1)], kernel_shape=[1, 1])
        return self.model((mean, 1), (self.op("Sigmoid", [f"{cut}.1"]), 80))


def _repeats(depth: float) -> Callable[[int], int]:
    return lambda number: max(round(number * depth), 1)


def _channels(width: float, most: int) -> Callable[[int], int]:
    return lambda number: math.ceil(min(number, most) * width / 8) * 8


def yolo_v8(batch: int, depth: float, width: float, most: int) -> onnx.ModelProto:
    """YOLOv8 at 640x640, from its configuration file: scales of depth and width, and most channels."""
    net, repeats, channels = Yolo(batch, 640, "SiLU"), _repeats(depth), _channels(width, most)

    def c2f(x: Map, out: int, number: int) -> Map:
        inner = channels(out) // 2
        return net.c2f(x, channels(out), repeats(number), inner, lambda y: net.bottleneck(y, inner))

    x = net.conv(net.conv(net.picture, channels(64), 3, 2), channels(128), 3, 2)
    x = net.conv(c2f(x, 128, 3), channels(256), 3, 2)
    eighth = c2f(x, 256, 6)
    sixteenth = c2f(net.conv(eighth, channels(512), 3, 2), 512, 6)
    last = net.sppf(c2f(net.conv(sixteenth, channels(1024), 3, 2), 1024, 3))
    up = c2f(net.concat(net.upsample(last), sixteenth), 512, 3)
    fine = c2f(net.concat(net.upsample(up), eighth), 256, 3)
    middle = c2f(net.concat(net.conv(fine, channels(256), 3, 2), up), 512, 3)
    coarse = c2f(net.concat(net.conv(middle, channels(512), 3, 2), last), 1024, 3)
    return net.detect([fine, middle, coarse], light=False)


def yolo_11(batch: int, depth: float, width: float, most: int, deep: bool) -> onnx.ModelProto:
    """YOLO11 at 640x640, from its configuration file; ``deep`` (from scale m on): nested blocks everywhere."""
    net, repeats, channels = Yolo(batch, 640, "SiLU"), _repeats(depth), _channels(width, most)

    def c3k2(x: Map, out: int, nested: bool, share: float = 0.5) -> Map:
        inner = int(channels(out) * share)
        block = net.c3k if nested or deep else lambda y: net.bottleneck(y, inner // 2)
        return net.c2f(x, channels(out), repeats(2), inner, block)

    x = net.conv(net.conv(net.picture, channels(64), 3, 2), channels(128), 3, 2)
    x = net.conv(c3k2(x, 256, False, 0.25), channels(256), 3, 2)
    eighth = c3k2(x, 512, False, 0.25)
    sixteenth = c3k2(net.conv(eighth, channels(512), 3, 2), 512, True)
    last = net.sppf(c3k2(net.conv(sixteenth, channels(1024), 3, 2), 1024, True))
    kept, seen = net.split(net.conv(last, last[1]))
    for _ in range(repeats(2)):
        seen = net.attention(seen, 20)
    last = net.conv(net.concat(kept, seen), last[1])
    up = c3k2(net.concat(net.upsample(last), sixteenth), 512, False)
    fine = c3k2(net.concat(net.upsample(up), eighth), 256, False)
    middle = c3k2(net.concat(net.conv(fine, channels(256), 3, 2), up), 512, False)
    coarse = c3k2(net.concat(net.conv(middle, channels(512), 3, 2), last), 1024, True)
    return net.detect([fine, middle, coarse], light=True)


def yolo_v7(batch: int) -> onnx.ModelProto:
    """YOLOv7 at 640x640 (arXiv 2207.02696), for inference: its re-parameterised convolutions are plain ones."""
    net = Yolo(batch, 640, "SiLU")

    def elan(x: Map, inner: int, out: int) -> Map:
        parts = [net.conv(x, inner), net.conv(x, inner)]
        y = parts[1]
        for _ in range(2):
            y = net.conv(net.conv(y, inner, 3), inner, 3)
            parts.append(y)
        return net.conv(net.concat(*parts), out)

    def wide_elan(x: Map, inner: int, out: int) -> Map:
        parts = [net.conv(x, inner), net.conv(x, inner)]
        for _ in range(4):
            parts.append(net.conv(parts[-1], inner // 2, 3))
        return net.conv(net.concat(*parts), out)

    def halve(x: Map, out: int) -> tuple[Map, Map]:
        return net.conv(net.pool(x, 2, 2), out), net.conv(net.conv(x, out), out, 3, 2)

    x = net.conv(net.conv(net.picture, 32, 3), 64, 3, 2)
    x = elan(net.conv(net.conv(x, 64, 3), 128, 3, 2), 64, 256)
    eighth = elan(net.concat(*halve(x, 128)), 128, 512)
    sixteenth = elan(net.concat(*halve(eighth, 256)), 256, 1024)
    x = elan(net.concat(*halve(sixteenth, 512)), 256, 1024)
    y = net.conv(net.conv(net.conv(x, 512), 512, 3), 512)
    y = net.conv(net.conv(net.concat(y, *(net.pool(y, side, 1) for side in (5, 9, 13))), 512), 512, 3)
    last = net.conv(net.concat(y, net.conv(x, 512)), 512)
    up = wide_elan(net.concat(net.conv(sixteenth, 256), net.upsample(net.conv(last, 256))), 256, 256)
    fine = wide_elan(net.concat(net.conv(eighth, 128), net.upsample(net.conv(up, 128))), 128, 128)
    middle = wide_elan(net.concat(*halve(fine, 128), up), 256, 256)
    coarse = wide_elan(net.concat(*halve(middle, 256), last), 512, 512)
    heads = [(fine, 256), (middle, 512), (coarse, 1024)]
    found = [net.activate(net.conv(net.conv(x, out, 3), 255, act=None), "Sigmoid") for x, out in heads]
    return net.model(*found)
