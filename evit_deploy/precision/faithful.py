# SPDX-License-Identifier: Apache-2.0
"""Runs a typed graph on the CPU so that its outputs are those of the target, up to the order of sums."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort

from evit_deploy.precision.emulate import emulate, tensor_types
from evit_deploy.runtime.backends.onnxruntime import session_options
from evit_deploy.runtime.engine import available_cores

LOGITS = "logits"
METHOD = f"faithful emulation of the typed graph, ONNX Runtime {ort.__version__}, CPU"
"""How outputs came about, for manifests and reports."""


class FaithfulGraph:
    """A typed graph behind the call of an engine: named arrays in, named arrays out.

    Where the graph ends in a class map, its logits are given as well, so that they can be checked.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        shown = with_logits(model)
        session = ort.InferenceSession(
            emulate(shown).SerializeToString(), session_options(available_cores()), providers=["CPUExecutionProvider"]
        )
        self._session, self._names = session, [output.name for output in session.get_outputs()]

    def infer(self, inputs: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
        """Run the graph on arrays of the types its inputs declare."""
        with np.errstate(over="ignore"):
            return dict(zip(self._names, self._session.run(self._names, dict(inputs)), strict=True))


def with_logits(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of a graph whose inner tensor "logits", if it has one, is an output."""
    result = onnx.ModelProto()
    result.CopyFrom(model)
    made = {name for node in model.graph.node for name in node.output}
    if LOGITS in made and all(value.name != LOGITS for value in model.graph.output):
        result.graph.output.append(onnx.helper.make_tensor_value_info(LOGITS, tensor_types(model)[LOGITS], None))
    return result
