# SPDX-License-Identifier: Apache-2.0
"""Small tools to read and rewrite ONNX graphs that ``evit-deploy export`` wrote."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

from evit_deploy.errors import ArtifactError, first_line

Array = npt.NDArray[Any]
Shape = tuple[int, ...]

SMALL = 1024
"""Bytes up to which an initializer may hold a shape or the like."""


def load_graph(path: Path) -> onnx.ModelProto:
    """Read an ONNX file.

    Raises:
        ArtifactError: Missing or damaged.
    """
    try:
        return onnx.load(path)
    except Exception as error:  # protobuf and onnx have many kinds
        raise ArtifactError(f"{path} cannot be read", found=first_line(error), fix="write it again") from error


class GraphView:
    """A graph with its shapes, constants and consumers looked up once; nodes are added and dropped in `finish`.

    Args:
        model: Rewritten in place.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = model
        self.graph = model.graph
        self.opset = next(entry.version for entry in model.opset_import if entry.domain == "")
        self.shapes = _shapes(model)
        self.initializers = {tensor.name: tensor for tensor in self.graph.initializer}
        self.producers = {name: node for node in self.graph.node for name in node.output}
        self._uses = Counter(name for node in self.graph.node for name in node.input)
        self._uses.update(value.name for value in self.graph.output)
        self._dropped: set[int] = set()
        self._replacements: dict[int, list[onnx.NodeProto]] = {}

    def array(self, name: str) -> Array:
        """Value of an initializer."""
        return numpy_helper.to_array(self.initializers[name])

    def consumers(self, name: str) -> list[onnx.NodeProto]:
        """All nodes that read a tensor."""
        return [node for node in self.graph.node if name in node.input and id(node) not in self._dropped]

    def dropped(self, node: onnx.NodeProto) -> bool:
        """Whether a node has been replaced."""
        return id(node) in self._dropped

    def used_once(self, name: str) -> bool:
        """Whether exactly one node input, and no graph output, is this tensor."""
        return self._uses[name] == 1

    def replace(self, nodes: Iterable[onnx.NodeProto], by: list[onnx.NodeProto]) -> None:
        """Drop nodes and put others where the last of them stood."""
        old = list(nodes)
        last = max(old, key=lambda node: next(i for i, other in enumerate(self.graph.node) if other is node))
        self._dropped.update(id(node) for node in old)
        self._replacements[id(last)] = by

    def finish(self) -> onnx.ModelProto:
        """Apply all replacements, drop what nobody reads, and return the model."""
        nodes: list[onnx.NodeProto] = []
        for node in self.graph.node:
            nodes += self._replacements.get(id(node), [])
            if id(node) not in self._dropped:
                nodes.append(node)
        del self.graph.node[:]
        self.graph.node.extend(nodes)
        del self.graph.value_info[:]
        drop_unused(self.model)
        return self.model


class Scope:
    """Makes nodes and constants whose names begin with one prefix."""

    def __init__(self, view: GraphView, prefix: str) -> None:
        self.view, self.prefix = view, prefix
        self.nodes: list[onnx.NodeProto] = []
        self._names: Counter[str] = Counter()

    def op(self, kind: str, *inputs: str, result: str | None = None, **attributes: Any) -> str:
        """Add a node and return its output; `result` names the output, and otherwise the node's name does."""
        name = self._name(kind)
        self.nodes.append(helper.make_node(kind, list(inputs), [result or name], name=name, **attributes))
        return result or name

    def split(self, x: str, parts: int, size: int, axis: int) -> list[str]:
        """Split a tensor into equal parts of a size."""
        name = self._name("Split")
        outputs = [f"{name}.{index}" for index in range(parts)]
        sizes = self.constant("sizes", np.full(parts, size, np.int64))
        self.nodes.append(helper.make_node("Split", [x, sizes], outputs, name=name, axis=axis))
        return outputs

    def reduce(self, kind: str, x: str, axis: int) -> str:
        """A reduction that keeps its axis; the axes moved from attribute to input with opset 18 (ReduceSum: 13)."""
        if kind == "ReduceSum" or self.view.opset >= 18:
            return self.op(kind, x, self.constant("axes", np.array([axis], np.int64)), keepdims=1)
        return self.op(kind, x, axes=[axis], keepdims=1)

    def reshape(self, x: str, *shape: int) -> str:
        """Reshape; -1 stands for the dimension that follows from the others."""
        return self.op("Reshape", x, self.constant("shape", np.array(shape, np.int64)))

    def constant(self, name: str, value: Array | float) -> str:
        """Add an initializer; Python numbers become float32."""
        full = self._name(name)
        array = np.asarray(value, np.float32) if isinstance(value, float) else value
        self.view.graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(array), full))
        return full

    def _name(self, kind: str) -> str:
        self._names[kind] += 1
        count = self._names[kind]
        return f"{self.prefix}.{kind}" + (f"_{count}" if count > 1 else "")


def drop_unused(model: onnx.ModelProto) -> None:
    """Remove nodes whose outputs nobody reads, and initializers nobody reads.

    One by one: refilling the lists would copy all weights.
    """
    graph = model.graph
    needed = {value.name for value in graph.output}
    for index in reversed(range(len(graph.node))):
        node = graph.node[index]
        if needed & set(node.output):
            needed |= set(node.input)
        else:
            del graph.node[index]
    for index in reversed(range(len(graph.initializer))):
        if graph.initializer[index].name not in needed:
            del graph.initializer[index]


def _shapes(model: onnx.ModelProto) -> dict[str, Shape]:
    """Shape of every tensor; -1 where a dimension is open."""
    graph = onnx.shape_inference.infer_shapes(_without_weights(model), strict_mode=True, data_prop=True).graph
    shapes = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    for value in (*graph.input, *graph.value_info, *graph.output):
        dims = value.type.tensor_type.shape.dim
        shapes[value.name] = tuple(d.dim_value if d.HasField("dim_value") else -1 for d in dims)
    return shapes


def _without_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy in which large initializers are inputs: inference would serialise them only to look at small ones."""
    bare = onnx.ModelProto(ir_version=model.ir_version, opset_import=model.opset_import)
    graph = bare.graph
    graph.name = model.graph.name
    for field in ("node", "input", "output"):
        getattr(graph, field).extend(getattr(model.graph, field))
    for tensor in model.graph.initializer:
        if len(tensor.raw_data) <= SMALL:
            graph.initializer.append(tensor)
        else:
            graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    return bare
