# SPDX-License-Identifier: Apache-2.0
"""Ask a graph about its inner tensors: numbers are computed beside the tensors, and only they leave the session.

Activations never come out, so memory stays near that of a plain run. That takes care of two things. Probes stand right
behind the node they look at, and the session runs nodes in the order given: by default ONNX Runtime walks back from the
last output, and every tensor would live until its probe's turn comes at the end (2.2 GB instead of 0.6 for b1-seg at
512×1024). And its layout optimisation (NCHWc) stays off, because the nodes it inserts come last in that order.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from evit_deploy.errors import UsageError
from evit_deploy.runtime.backends.onnxruntime import session_options
from evit_deploy.runtime.engine import available_cores

Feed = Mapping[str, npt.NDArray[Any]]
Readings = dict[str, dict[str, float]]
"""Numbers of one run: ``readings[tensor][quantity]``."""

# What these make has exactly the values of their first input.
MOVES = {
    "DepthToSpace", "Flatten", "Identity", "Reshape", "SpaceToDepth", "Squeeze", "Transpose", "Unsqueeze",
}  # fmt: skip


class ProbedGraph:
    """A graph under construction: nodes in the order they will run, each perhaps with probes behind it.

    Args:
        model: Gives the graph's inputs, initializers and opset; its nodes and outputs are not taken over.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        graph = model.graph
        self._opsets, self._ir_version = list(model.opset_import), model.ir_version
        self._inputs, self._initializers = list(graph.input), list(graph.initializer)
        self._nodes: list[onnx.NodeProto] = []
        self._outputs: dict[str, tuple[str, str]] = {}
        self._constants: dict[tuple[str, float], str] = {}

    def add(self, node: onnx.NodeProto) -> None:
        """Append a node of the graph itself."""
        self._nodes.append(node)

    def op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """Append a node of a probe. Returns the tensor it makes."""
        name = f"probe@{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, list(inputs), [name], name=name, **attributes))
        return name

    def constant(self, value: float, dtype: str = "float32") -> str:
        """A constant: a scalar if it is a float, else [1] for axes."""
        return self._constants.setdefault((dtype, value), f"constant@{len(self._constants)}")

    def largest(self, tensor: str) -> str:
        """The largest value of a tensor; NaN may be passed over."""
        return self.op("ReduceMax", tensor, keepdims=0)

    def smallest(self, tensor: str) -> str:
        """The smallest value of a tensor; NaN may be passed over."""
        return self.op("ReduceMin", tensor, keepdims=0)

    def count(self, condition: str) -> str:
        """How often a bool tensor is true: float64.

        Ones are added in FP32, which stops at 2^24, so only along the last axis; the rest is added in FP64.
        """
        ones = self.op("Unsqueeze", self.op("Cast", condition, to=TensorProto.FLOAT), self.constant(0, "int64"))
        rows = self.op("ReduceSum", ones, self.constant(-1, "int64"), keepdims=1)
        return self.op("ReduceSum", self.op("Cast", rows, to=TensorProto.DOUBLE), keepdims=0)

    def keep(self, tensor: str, quantity: str, number: str) -> None:
        """Let a number come out as ``readings[tensor][quantity]``."""
        self._outputs[number] = (tensor, quantity)

    def run(self, feeds: Iterable[Feed]) -> Iterator[Readings]:
        """Run the graph, once per feed.

        Raises:
            UsageError: ONNX Runtime refuses the graph, or a feed does not fit it.
        """
        session, names = self._session(), list(self._outputs)
        for feed in feeds:
            with _in_words():
                numbers = session.run(names, dict(feed))
            yield self._readings(numbers)

    def _session(self) -> Any:
        import onnxruntime as ort

        options = session_options(available_cores())
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
        options.execution_order = ort.ExecutionOrder.PRIORITY_BASED
        options.enable_mem_pattern = False  # a plan of one block, made beside the memory of the first run
        with _in_words():
            graph = self._model().SerializeToString()
            return ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])

    def _readings(self, numbers: list[Any]) -> Readings:
        readings: Readings = {}
        for (tensor, quantity), number in zip(self._outputs.values(), numbers, strict=True):
            readings.setdefault(tensor, {})[quantity] = float(number)
        return readings

    def _model(self) -> onnx.ModelProto:
        constants = [
            numpy_helper.from_array(np.array([value] if dtype == "int64" else value, dtype), name)
            for (dtype, value), name in self._constants.items()
        ]
        outputs = [onnx.ValueInfoProto(name=name) for name in self._outputs]  # ONNX Runtime infers the types
        graph = helper.make_graph(self._nodes, "probed", self._inputs, outputs, [*self._initializers, *constants])
        return helper.make_model(graph, opset_imports=self._opsets, ir_version=self._ir_version)


@contextmanager
def _in_words() -> Iterator[None]:
    try:
        yield
    except Exception as error:  # ONNX Runtime raises many kinds of its own
        raise UsageError("ONNX Runtime cannot run the graph", found=str(error).splitlines()[0]) from error


def source_of(node: onnx.NodeProto, known: Mapping[str, str]) -> str | None:
    """The probed tensor that has the very values of what a node makes, if the node only moves values.

    Args:
        node: A node of the graph.
        known: For every tensor seen so far, the probed tensor that stands for it.
    """
    return known.get(node.input[0]) if node.op_type in MOVES else None
