# SPDX-License-Identifier: Apache-2.0
"""ONNX Runtime on the CPU, bound to buffers made once."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from evit_deploy.errors import MissingExtraError, UnavailableError, first_line
from evit_deploy.manifest import Manifest
from evit_deploy.runtime.backends import BufferSets, Place, output_buffers

_Arrays = dict[str, npt.NDArray[Any]]


class OnnxRuntimeBackend:
    """A session whose inputs and outputs are numpy arrays owned here, one set for each of the last few shapes."""

    def __init__(self, session: Any, manifest: Manifest, version: str) -> None:
        self._session, self._manifest, self.version = session, manifest, version
        self._bindings = BufferSets(self._bind)

    def run(self, inputs: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
        """Copy the inputs into the bound buffers and run."""
        binding, buffers, outputs = self._bindings.of(inputs)
        for name, array in inputs.items():
            np.copyto(buffers[name], array)
        self._session.run_with_iobinding(binding)
        return outputs

    def _bind(self, inputs: Mapping[str, npt.NDArray[Any]]) -> tuple[Any, _Arrays, _Arrays]:
        binding = self._session.io_binding()
        buffers = {name: np.empty(array.shape, array.dtype) for name, array in inputs.items()}
        outputs = output_buffers(self._manifest, inputs)
        for name, array in buffers.items():
            binding.bind_input(name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)
        for name, array in outputs.items():
            binding.bind_output(name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)
        return binding, buffers, outputs

    def close(self) -> None:
        """Free the session."""
        self._bindings.clear()
        self._session = None


def session_options(threads: int) -> Any:
    """Options for the lowest latency of one stream of frames.

    Sequential execution on `threads` cores; the memory arena and pattern stay on, so that a steady stream allocates
    nothing.
    """
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = 4  # what goes wrong is raised, and said in our words
    return options


def open_backend(folder: Path, manifest: Manifest, place: Place) -> OnnxRuntimeBackend:
    """Load an engine compiled by ONNX Runtime."""
    try:
        import onnxruntime as ort
    except ImportError:
        raise MissingExtraError("onnxruntime", "onnxruntime", "This engine") from None
    assert manifest.engine is not None
    path = folder / manifest.engine.entry
    cpu = manifest.engine.machine.get("processor", "one")
    try:
        options = session_options(place.threads)
        session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime raises many kinds of its own
        raise UnavailableError(
            f"ONNX Runtime {ort.__version__} cannot load {path}",
            found=first_line(error),
            expected=f"ONNX Runtime {manifest.engine.compiler_version}, on a CPU like the {cpu} it was compiled on",
            fix=f"build it on this machine: evit-deploy build {manifest.model.name} --target cpu",
        ) from error
    return OnnxRuntimeBackend(session, manifest, ort.__version__)
