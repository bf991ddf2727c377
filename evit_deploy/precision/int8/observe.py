# SPDX-License-Identifier: Apache-2.0
"""Look at many tensors of a graph at once, frame by frame, without the tensors leaving the session.

What comes out of a run is the largest magnitude of each tensor, exact, and a sample of its values: every fourth row and
column of a map, beginning where the frame's number says, so that sixteen frames have seen every position. That is one
value in sixteen; copying out all of them would take longer than running the network, and gigabytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from evit_deploy.errors import CheckFailedError
from evit_deploy.precision.graph import drop_unused
from evit_deploy.precision.probe import Feed, in_words, open_in_order

STRIDE = 4
_START = "observe@start"
_SLICED = {"end": [np.iinfo(np.int64).max] * 2, "axes": [2, 3], "steps": [STRIDE, STRIDE]}


@dataclass(frozen=True)
class Seen:
    """What one run showed of a tensor.

    Attributes:
        largest: Largest magnitude.
        values: Float32, a sample, of any shape.
    """

    largest: float
    values: npt.NDArray[np.float32]


class Observer:
    """A graph whose tensors are looked at.

    Args:
        model: FP32 graph.
        tensors: Names of inner tensors.
    """

    def __init__(self, model: onnx.ModelProto, tensors: Sequence[str]) -> None:
        self.tensors = tuple(tensors)
        self._session = open_in_order(_observed(model, self.tensors))

    def look(self, feed: Feed, number: int) -> list[Seen]:
        """Run a frame.

        Args:
            feed: The frame.
            number: Its number, which decides where samples begin.

        Returns:
            One entry for each tensor.

        Raises:
            CheckFailedError: A tensor is not finite.
        """
        row, column = divmod(number % STRIDE**2, STRIDE)
        with in_words():
            found = self._session.run(None, {**feed, _START: np.array([row, column], np.int64)})
        each = iter(found)
        seen = [Seen(float(largest), values) for largest, values in zip(each, each, strict=True)]
        for name, one in zip(self.tensors, seen, strict=True):
            if not np.isfinite(one.largest) or not np.isfinite(one.values).all():
                raise CheckFailedError(
                    f"the tensor '{name}' is not finite on frame {number + 1}", found="NaN or infinity",
                    fix="the checkpoint is broken, or made for another normalisation: try other weights",
                )  # fmt: skip
        return seen


def observe(observer: Observer, feeds: Iterable[Feed], first: int = 0) -> Iterator[list[Seen]]:
    """Look at frames one after the other, counted from `first`."""
    for number, feed in enumerate(feeds, first):
        yield observer.look(feed, number)


def _observed(model: onnx.ModelProto, tensors: Sequence[str]) -> onnx.ModelProto:
    """The graph up to the last of the tensors, a probe right behind each."""
    result = onnx.ModelProto()
    result.CopyFrom(model)
    graph, wanted = result.graph, set(tensors)
    ranks = _ranks(model)
    nodes: list[onnx.NodeProto] = []
    for node in model.graph.node:
        nodes.append(node)
        for name in node.output:
            if name in wanted:
                nodes += _probe(name, ranks.get(name, 4))
    del graph.node[:], graph.output[:], graph.value_info[:]
    graph.node.extend(nodes)
    graph.input.append(helper.make_tensor_value_info(_START, TensorProto.INT64, [2]))
    constants: dict[str, Any] = _SLICED
    graph.initializer.extend(
        numpy_helper.from_array(np.array(value, np.int64), f"observe@{name}") for name, value in constants.items()
    )
    for name in tensors:
        graph.output.extend(onnx.ValueInfoProto(name=each) for each in (f"{name}@largest", f"{name}@sample"))
    drop_unused(result)
    return result


def _probe(name: str, rank: int) -> list[onnx.NodeProto]:
    nodes = [
        helper.make_node("Abs", [name], [f"{name}@size"]),
        helper.make_node("ReduceMax", [f"{name}@size"], [f"{name}@largest"], keepdims=0),
    ]
    if rank != 4:
        return [*nodes, helper.make_node("Identity", [name], [f"{name}@sample"])]
    inputs = [name, _START, "observe@end", "observe@axes", "observe@steps"]
    return [*nodes, helper.make_node("Slice", inputs, [f"{name}@sample"])]


def _ranks(model: onnx.ModelProto) -> dict[str, int]:
    values = onnx.shape_inference.infer_shapes(model).graph.value_info
    return {value.name: len(value.type.tensor_type.shape.dim) for value in values}
