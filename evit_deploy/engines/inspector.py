# SPDX-License-Identifier: Apache-2.0
"""The plan of a finished engine, read from TensorRT's engine inspector.

Its JSON is ``{"Layers": [...], "Bindings": [name, ...]}`` up to TensorRT 10 and ``{"Layers": [...], "I/O Tensors":
[{"Name": ..., ...}, ...]}`` from 11 on. A layer's tensors have a name, dimensions and one field "Format/Datatype" of
both, or two fields. Layers of the graph compiler give a type there ("Half"); others a phrase that names one ("Row major
linear FP16 format").

Sizes are those of the dimensions: what a vectorised format adds for padding is not told.
Sources: NVIDIA, "Migrating IEngineInspector Usage from TensorRT 10.x to 11.x"; the inspector's section in the TensorRT
developer guide.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from evit_deploy.engines.build_log import onnx_nodes
from evit_deploy.engines.plan import Kernel, PlanTensor, byte_size

_TYPES = {
    "float": "Float", "fp32": "Float", "half": "Half", "fp16": "Half", "bfloat16": "BFloat16", "bf16": "BFloat16",
    "fp8": "FP8", "fp4": "FP4", "int4": "Int4", "int8": "Int8", "uint8": "UInt8", "bool": "Bool", "int32": "Int32",
    "int64": "Int64",
}  # fmt: skip
_TYPE_FIELDS = ("Datatype", "DataType", "Format/Datatype")


class UnreadableError(ValueError):
    """The inspector's answer has a form that is not known here."""


def parse_inspector(text: str) -> tuple[Kernel, ...]:
    """Read the kernels of an engine; their operations are not in the answer and stay 0.

    Args:
        text: What `EngineInspector.get_engine_information` gives as JSON, with shapes that are fixed.

    Raises:
        UnreadableError: It is something else.
    """
    try:
        data = json.loads(text)
    except ValueError as error:
        raise UnreadableError(f"not JSON: {error}") from error
    if not isinstance(data, dict) or not isinstance(data.get("Layers"), list):
        raise UnreadableError("no list 'Layers'")
    if "Bindings" not in data and "I/O Tensors" not in data:
        raise UnreadableError("neither 'Bindings' (TensorRT 10) nor 'I/O Tensors' (11)")
    return tuple(_kernel(layer) for layer in data["Layers"])


def _kernel(layer: Any) -> Kernel:
    if not isinstance(layer, dict):
        raise UnreadableError(f"a layer without details: {str(layer)[:100]}")
    name = layer.get("Name")
    try:
        return Kernel(
            name=str(layer["Name"]),
            type=str(layer["LayerType"]),
            inputs=_tensors(layer["Inputs"]),
            outputs=_tensors(layer["Outputs"]),
            constants=_constants(layer),
            layers=onnx_nodes(layer.get("Metadata", "")),
        )
    except KeyError as error:
        raise UnreadableError(f"no field {error.args[0]} in layer '{name}'") from error
    except (ValueError, TypeError, AttributeError) as error:
        raise UnreadableError(f"{error}, in layer '{name}'") from error


def _tensors(items: Iterable[Mapping[str, Any]]) -> tuple[PlanTensor, ...]:
    found = []
    for item in items:
        shape, dtype = tuple(int(size) for size in item["Dimensions"]), _dtype(item)
        found.append(PlanTensor(str(item["Name"]), shape, dtype, byte_size(shape, dtype)))
    return tuple(found)


def _dtype(item: Mapping[str, Any]) -> str:
    """The type of a tensor in the plan's words."""
    text = next((str(item[field]) for field in _TYPE_FIELDS if field in item), None)
    if text is None:
        raise KeyError("Format/Datatype")
    known = [_TYPES[word] for word in re.findall(r"[a-z]+\d*", text.lower()) if word in _TYPES]
    if not known:
        raise ValueError(f"a tensor of unknown type '{text}'")
    return known[0]


def _constants(layer: Mapping[str, Any]) -> int:
    """Bytes of weights: given as tensors by the graph compiler, as type and count by other layers."""
    listed = sum(tensor.bytes for tensor in _tensors(layer.get("Constants", ())))
    counted = [layer[field] for field in ("Weights", "Bias") if isinstance(layer.get(field), dict)]
    return listed + sum(byte_size((int(item["Count"]),), _dtype({"Datatype": item["Type"]})) for item in counted)
