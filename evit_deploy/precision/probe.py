# SPDX-License-Identifier: Apache-2.0
"""Ask a graph about its inner tensors: numbers are computed beside the tensors, and only they leave the session.

Activations never come out, so memory stays near that of a plain run. That takes care of two things. Probes stand right
behind the node they look at, and the session runs nodes in the order given: by default ONNX Runtime walks back from the
last output, and every tensor would live until its probe's turn comes at the end (2.2 GB instead of 0.6 for b1-seg at
512×1024). And its layout optimisation (NCHWc) stays off, because the nodes it inserts come last in that order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from evit_deploy.errors import UsageError, first_line
from evit_deploy.runtime.backends.onnxruntime import session_options
from evit_deploy.runtime.engine import available_cores

Feed = Mapping[str, npt.NDArray[Any]]
Reading = dict[str, float]
"""Numbers of one tensor in one run, by quantity."""

# What these make has exactly the values of their first input.
MOVES = {
    "DepthToSpace", "Flatten", "Identity", "Reshape", "SpaceToDepth", "Squeeze", "Transpose", "Unsqueeze",
}  # fmt: skip


class ProbedGraph:
    """A graph under construction: nodes in the order they will run, each perhaps with probes behind it.

    Args:
        model: Gives the graph's inputs, initializers and opset; its nodes and outputs are not taken over.
        probe: Adds the probes of one tensor, by `op` and `keep`.
    """

    def __init__(self, model: onnx.ModelProto, probe: Callable[[ProbedGraph, str], None]) -> None:
        graph, self._probe = model.graph, probe
        self._opsets, self._ir_version = list(model.opset_import), model.ir_version
        self._inputs, self._initializers = list(graph.input), list(graph.initializer)
        self._nodes: list[onnx.NodeProto] = []
        self._outputs: dict[str, tuple[str, str]] = {}
        self._constants: dict[tuple[str, float], str] = {}
        self._makers: dict[str, str] = {}
        self._sources: dict[str, str] = {}

    def add(self, node: onnx.NodeProto) -> None:
        """Append a node of the graph itself."""
        self._nodes.append(node)

    def watch(self, tensor: str, maker: onnx.NodeProto | None = None) -> None:
        """Probe a tensor here, unless its maker only moves the values of one that is probed already.

        Args:
            tensor: An input, or made by what was added last.
            maker: The node that makes it; None for an input.
        """
        source = self._sources.get(maker.input[0]) if maker is not None and maker.op_type in MOVES else None
        self._makers[tensor] = "input" if maker is None else maker.op_type
        self._sources[tensor] = source or tensor
        if source is None:
            self._probe(self, tensor)

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
        """Let a number come out as a quantity of a tensor's reading."""
        self._outputs[number] = (tensor, quantity)

    def measure(self, feeds: Iterable[Feed]) -> Iterator[tuple[str, str, list[Reading]]]:
        """Run the graph, once per feed.

        Yields:
            For every tensor watched, in order: its name, the operator that makes it or "input", a reading per run.

        Raises:
            UsageError: No feeds, ONNX Runtime refuses the graph, or a feed does not fit it.
        """
        runs = list(self._run(feeds))
        if not runs:
            raise UsageError("there are no frames to run the graph on")
        for tensor, maker in self._makers.items():
            yield tensor, maker, [readings[self._sources[tensor]] for readings in runs]

    def _run(self, feeds: Iterable[Feed]) -> Iterator[dict[str, Reading]]:
        session, names = self._session(), list(self._outputs)
        for feed in feeds:
            with in_words():
                numbers = session.run(names, dict(feed))
            yield self._readings(numbers)

    def _session(self) -> Any:
        return open_in_order(self._model())

    def _readings(self, numbers: list[Any]) -> dict[str, Reading]:
        readings: dict[str, Reading] = {}
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


def open_in_order(model: onnx.ModelProto) -> Any:
    """A session that runs nodes in the order given, so that a tensor is gone once its last probe behind it has run.

    Raises:
        UsageError: ONNX Runtime refuses the graph.
    """
    import onnxruntime as ort

    options = session_options(available_cores())
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.execution_order = ort.ExecutionOrder.PRIORITY_BASED
    options.enable_mem_pattern = False  # a plan of one block, made beside the memory of the first run
    with in_words():
        return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


@contextmanager
def in_words() -> Iterator[None]:
    """Errors of ONNX Runtime as usage errors."""
    try:
        yield
    except Exception as error:  # ONNX Runtime raises many kinds of its own
        raise UsageError("ONNX Runtime cannot run the graph", found=first_line(error)) from error
