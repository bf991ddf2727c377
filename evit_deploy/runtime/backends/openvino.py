# SPDX-License-Identifier: Apache-2.0
"""OpenVINO on the CPU, with the precision said aloud.

OpenVINO's own default on a CPU with BF16 instructions is BF16, without saying so: two "FP32" runs of one model then
differ by 1e-2. Here the manifest decides.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import Any

import numpy.typing as npt

from evit_deploy.errors import MissingExtraError, UnavailableError
from evit_deploy.manifest import Manifest
from evit_deploy.runtime.backends import BufferSets, Place, output_buffers

PRECISION_HINTS = {"fp32": "f32", "bf16": "bf16"}

_MAKING = Lock()


class OpenVinoBackend:
    """An infer request for each of the last few shapes; outputs are numpy arrays owned here."""

    def __init__(self, compiled: Any, manifest: Manifest, version: str) -> None:
        self._compiled, self._manifest, self.version = compiled, manifest, version
        self._requests = BufferSets(self._bind)

    def run(self, inputs: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
        """Run on the caller's arrays, without copying them."""
        request, outputs = self._requests.of(inputs)
        request.infer(dict(inputs), share_inputs=True, share_outputs=True)
        return outputs

    def _bind(self, inputs: Mapping[str, npt.NDArray[Any]]) -> tuple[Any, dict[str, npt.NDArray[Any]]]:
        import openvino as ov

        request = self._compiled.create_infer_request()
        outputs = output_buffers(self._manifest, inputs)
        for name, array in outputs.items():
            request.set_tensor(name, ov.Tensor(array, shared_memory=True))
        return request, outputs

    def close(self) -> None:
        """Free the compiled graph."""
        self._requests.clear()
        self._compiled = None


def core() -> Any:
    """OpenVINO's core of this process; there must be one only, and it must stay.

    Each core gives the thread that makes it a stack for signal handlers (for AMX, on every CPU), and takes it away when
    it goes. Where several go in any order but the reverse one, the thread keeps a stack that is not there any more,
    and the next Ctrl-C ends the process with a segmentation fault: an engine of two parts is enough.
    """
    with _MAKING:
        return _core()


@lru_cache(maxsize=1)
def _core() -> Any:
    import openvino as ov

    return ov.Core()


def settings(precision: str, threads: int) -> dict[str, str | int]:
    """OpenVINO properties for the lowest latency at exactly this precision."""
    return {
        "INFERENCE_PRECISION_HINT": PRECISION_HINTS[precision],
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
    }


def open_backend(folder: Path, manifest: Manifest, place: Place) -> OpenVinoBackend:
    """Load an engine compiled by OpenVINO."""
    try:
        import openvino as ov
    except ImportError:
        raise MissingExtraError("openvino", "openvino", "This engine") from None
    assert manifest.engine is not None
    path = folder / manifest.engine.entry
    hint = settings(manifest.engine.precision, place.threads)
    try:
        compiled = core().compile_model(str(path), "CPU", hint)
    except RuntimeError as error:
        raise UnavailableError(
            f"OpenVINO {ov.__version__} cannot load {path}",
            found=str(error).strip().splitlines()[-1],
            expected=f"OpenVINO {manifest.engine.compiler_version}",
            fix=f"build it on this machine: evit-deploy build {manifest.model.name} --target cpu",
        ) from error
    used = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
    if used != hint["INFERENCE_PRECISION_HINT"]:
        raise UnavailableError(
            f"this CPU cannot run the engine in {manifest.engine.precision}",
            found=f"OpenVINO would compute in {used}",
            fix=f"evit-deploy build {manifest.model.name} --target cpu --fp32",
        )
    return OpenVinoBackend(compiled, manifest, ov.__version__.partition("-")[0])
