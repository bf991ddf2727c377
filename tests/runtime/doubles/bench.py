# SPDX-License-Identifier: Apache-2.0
"""What the GPU tests stand on: the double, or a real GPU with a real TensorRT. The tests do not know which."""

from __future__ import annotations

import ctypes
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

from evit_deploy.manifest import GraphInfo, Manifest, TensorInfo, write_artifact
from tests.manifest.sample import sample_engine, sample_manifest

HEIGHT, WIDTH, CLASSES = 32, 64, 5


def small_graph(batch: int | str = 1) -> bytes:
    """From an image to the class of every pixel and its score: one convolution."""
    draw = np.random.default_rng(3)
    weights = [
        numpy_helper.from_array(draw.standard_normal((CLASSES, 3, 3, 3)).astype(np.float32) / 128, "w"),
        numpy_helper.from_array(np.array([128], np.float32), "middle"),
    ]
    nodes = [
        helper.make_node("Cast", ["image"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Sub", ["float", "middle"], ["centred"]),
        helper.make_node("Transpose", ["centred"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["planes", "w"], ["logits"], pads=[1, 1, 1, 1]),
        helper.make_node("ArgMax", ["logits"], ["best"], axis=1, keepdims=0),
        helper.make_node("Cast", ["best"], ["classes"], to=TensorProto.UINT8),
        helper.make_node("ReduceMax", ["logits"], ["confidence"], axes=[1], keepdims=0),
    ]
    inputs = [helper.make_tensor_value_info("image", TensorProto.UINT8, (batch, HEIGHT, WIDTH, 3))]
    outputs = [
        helper.make_tensor_value_info("classes", TensorProto.UINT8, (batch, HEIGHT, WIDTH)),
        helper.make_tensor_value_info("confidence", TensorProto.FLOAT, (batch, HEIGHT, WIDTH)),
    ]
    graph = helper.make_graph(nodes, "small", inputs, outputs, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return model.SerializeToString()  # type: ignore[no-any-return]


def frame(seed: int, batch: int = 1) -> np.ndarray:
    """Any picture."""
    return np.random.default_rng(seed).integers(0, 256, (batch, HEIGHT, WIDTH, 3), np.uint8)


_expected = ort.InferenceSession(small_graph("n"), providers=["CPUExecutionProvider"])


def expected(image: np.ndarray) -> dict[str, np.ndarray]:
    """What ONNX Runtime says."""
    return dict(zip(("classes", "confidence"), _expected.run(["classes", "confidence"], {"image": image}), strict=True))


def agree(found: dict[str, Any], image: np.ndarray) -> bool:
    """Whether outputs, on the host or on the GPU, are those of an image."""
    arrays = {name: value if isinstance(value, np.ndarray) else value.numpy() for name, value in found.items()}
    wanted = expected(image)
    same = float(np.mean(arrays["classes"] == wanted["classes"])) > 0.99
    return same and np.allclose(arrays["confidence"], wanted["confidence"], atol=1e-2)


def write_engine(
    folder: Path, plan: bytes, *, batch: tuple[int, int] = (1, 1), version: str = "10.3.0", backend: str = "tensorrt",
    machine: dict[str, str] | None = None,
) -> Manifest:  # fmt: skip
    """An engine folder around a plan of `small_graph`."""
    first = batch[0] if batch[0] == batch[1] else -1
    base = sample_manifest("engine")
    graph = GraphInfo(
        file="model.onnx", opset=17, precision="fp32", resolution=(HEIGHT, WIDTH), batch=batch, input="image",
        output="confidence",
        inputs=(TensorInfo("image", "uint8", (first, HEIGHT, WIDTH, 3)),),
        outputs=(TensorInfo("classes", "uint8", (first, HEIGHT, WIDTH)),
                 TensorInfo("confidence", "float32", (first, HEIGHT, WIDTH))),
    )  # fmt: skip
    engine = replace(
        sample_engine(), target="orin" if backend == "tensorrt" else "rtx", compiler=backend, backend=backend,
        compiler_version=version, entry="engine.plan", machine=machine or {"compute capability": "8.7"},
    )  # fmt: skip
    with write_artifact(folder) as writer:
        (writer.folder / "model.onnx").write_bytes(small_graph(first if first > 0 else "n"))
        (writer.folder / "engine.plan").write_bytes(plan)
        return writer.commit(replace(base, graph=graph, engine=engine, key="0" * 64))


def modules() -> tuple[Any, Any]:
    """The bindings that are in force: the double's, or NVIDIA's."""
    import cuda.bindings

    return cuda.bindings.runtime, cuda.bindings.driver


class Foreign:
    """Memory of another library on the GPU, with ``__cuda_array_interface__``."""

    def __init__(self, array: np.ndarray, stream: Any = None, *, lazy: bool = False, **changes: Any) -> None:
        self.cudart, _ = modules()
        self.nbytes = array.nbytes
        self.pointer = int(self._ok(self.cudart.cudaMalloc(array.nbytes)))
        self.interface = {
            "version": 3, "shape": array.shape, "typestr": array.dtype.str, "data": (self.pointer, False),
            "strides": None, "stream": None if stream is None else int(stream), **changes,
        }  # fmt: skip
        self.host = self.staged = None
        if lazy:
            self.put_later(array, stream)
        else:
            self.put(array)

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return self.interface

    def put(self, array: np.ndarray) -> None:
        """Copy values in, at once."""
        kind = self.cudart.cudaMemcpyKind.cudaMemcpyHostToDevice
        self._ok(self.cudart.cudaMemcpy(self.pointer, array.ctypes.data, array.nbytes, kind))

    def put_later(self, array: np.ndarray, stream: Any) -> None:
        """Copy values in as work on a stream that nobody waits for."""
        if self.host is None:
            self.host = int(self._ok(self.cudart.cudaHostAlloc(array.nbytes, 0)))
        ctypes.memmove(self.host, array.ctypes.data, array.nbytes)
        kind = self.cudart.cudaMemcpyKind.cudaMemcpyHostToDevice
        self._ok(self.cudart.cudaMemcpyAsync(self.pointer, self.host, array.nbytes, kind, stream))

    def free(self) -> None:
        """Give the memory back."""
        self._ok(self.cudart.cudaFree(self.pointer))
        if self.host is not None:
            self._ok(self.cudart.cudaFreeHost(self.host))

    @staticmethod
    def _ok(result: tuple[Any, ...]) -> Any:
        assert not result[0], result[0]
        return result[1] if len(result) > 1 else None
